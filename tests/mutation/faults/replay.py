"""Deliberate faults in how answers are kept for members that learn from them again."""

from .fault import Fault

ROWS = "tests/ensembles/test_rows.py::"
REPLAY = "tests/ensembles/neural/test_replay.py::"
SHELL = "tests/imitator/test_replay.py::"
FILES = "tests/journal/test_files.py::"

FAULTS = [
    Fault(
        "one-branch-writes-over-another", "ensembles/_rows",
        "elif blocks[-1].claim() != offset:", "elif False:",
        (f"{ROWS}test_values_never_change_whoever_goes_on_from_which",),
    ),
    Fault(
        "old-answers-are-kept-for-ever", "ensembles/_rows",
        "return replace(self, blocks=self.blocks[old:]) if old > 0 else self", "return self",
        (f"{ROWS}test_blocks_of_which_nothing_is_left_are_let_go",),
    ),
    Fault(
        "a-place-is-the-first-answer-there", "ensembles/_rows",
        "numbers = last - (last - places) % self.capacity", "numbers = places",
        (f"{ROWS}test_it_holds_what_a_ring_holds",),
    ),
    Fault(
        "a-replay-may-claim-any-number", "ensembles/_rows",
        "if not 0 <= min(stored, capacity) <= length <= capacity:", "if False:",
        (f"{ROWS}test_rows_of_another_kind_are_refused",),
    ),
    Fault(
        "arrays-are-made-for-nobody", "ensembles/neural/replay",
        "        if self.rows is not None:\n            return self.rows\n        ring", "        ring",
        (f"{REPLAY}test_whoever_looks_finds_arrays_and_who_does_not_makes_none",),
    ),
    Fault(
        "room-for-all-that-could-come", "ensembles/neural/replay",
        "rows.ring(min(rows.capacity, room))", "rows.ring(rows.capacity)",
        (f"{REPLAY}test_room_is_for_what_comes_and_not_for_all_that_could",),
    ),
    Fault(
        "members-go-on-without-their-answers", "ensembles/neural/replay",
        "    if sum(_is_elsewhere(node) for node in nodes) != len(rows):", "    if False:",
        (f"{REPLAY}test_answers_are_parted_from_what_was_learned_and_joined_again",),
    ),
    Fault(
        "answers-of-others-are-learned-from", "ensembles/neural/_on_host",
        "    if stored != rows.stored + 1:", "    if False:",
        (f"{SHELL}test_members_without_their_answers_learn_nothing_and_say_so",),
    ),
    Fault(
        "no-round-on-the-host", "ensembles/neural/_on_host",
        "after = round_of(members, light, rows) if due else light", "after = light",
        (f"{REPLAY}test_the_same_is_learned_on_the_host_to_the_bit",),
    ),
    Fault(
        "all-minibatches-at-once", "ensembles/neural/_on_host",
        "max(1, _AT_ONCE // (training.batch_size * max(1, rows.kind.row_bytes)))", "training.updates",
        (f"{REPLAY}test_no_more_than_a_few_minibatches_are_looked_up_at_a_time",),
    ),
    Fault(
        "broken-members-are-kept-on-the-host-in-parts", "ensembles/neural/_on_host",
        "fitted = _without_broken(fitted, before)", "pass",
        (f"{REPLAY}test_a_round_that_leaves_no_numbers_is_not_taken_on_the_host_either",),
    ),
    Fault(
        "what-was-known-before-a-round-is-written-over", "ensembles/neural/_on_host",
        "fitted = jax.tree.map(jnp.copy, before)", "fitted = before",
        (f"{REPLAY}test_minibatches_that_are_looked_up_a_few_at_a_time_teach_the_same",),
    ),
    Fault(
        "large-inputs-count-for-all-as-for-the-first", "ensembles/neural/_rounds",
        "row.counts[:, n]", "row.counts[:, 0]",
        (f"{REPLAY}test_large_inputs_teach_one_member_after_the_other_the_same",),
    ),
    Fault(
        "large-inputs-of-the-first-part-only", "ensembles/neural/_rounds",
        "jax.tree.map(jnp.add, total, of(part))", "jax.tree.map(jnp.add, none, of(part))",
        (f"{REPLAY}test_large_inputs_teach_one_member_after_the_other_the_same",),
    ),
    Fault(
        "broken-members-are-kept-on-the-host", "ensembles/neural/_on_host",
        "return rounds.without_broken(_updated(members, light, before, 0, drawn), before)",
        "return _updated(members, light, before, 0, drawn)",
        (f"{REPLAY}test_a_round_that_leaves_no_numbers_is_not_taken_on_the_host_either",),
    ),
    Fault(
        "programs-take-all-answers", "imitator/_teaching",
        "    if not isinstance(ensemble, LearnsOnHost):\n        return state, ()\n", "    return state, ()\n",
        (f"{SHELL}test_no_program_takes_or_returns_the_answers",),
    ),
    Fault(
        "checkpoints-have-room", "imitator/_teaching",
        "return _each_replay(state, lambda replay: replay.trimmed())", "return state",
        (f"{SHELL}test_checkpoints_grow_with_the_answers_and_not_with_the_capacity",),
    ),
    Fault(
        "restored-with-the-answers-of-now", "imitator/_run",
        "run = self._of(self.setup, restored, rows, queries, self.alarms)",
        "run = self._of(self.setup, restored, self.rows, queries, self.alarms)",
        (f"{SHELL}test_a_state_that_was_given_out_never_changes_and_is_gone_on_from_twice",),
    ),
    Fault(
        "recordings-are-not-kept", "imitator/_warm_start",
        "after = run.moved(state, rows=rows)", "after = run.moved(state)",
        (f"{SHELL}test_recordings_teach_what_they_teach_the_pure_learner",),
    ),
    Fault(
        "a-growing-array-of-any-length", "journal/checkpoint",
        "if length and length[0] <= self.shape[0] else self", "if length else self",
        (f"{FILES}test_an_array_that_grows_has_any_length_up_to_a_number",),
    ),
]  # fmt: skip
