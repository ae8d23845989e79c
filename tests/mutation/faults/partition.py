"""Deliberate faults in how answers are divided among members, and in how they name their sources."""

from .fault import Fault

DIVIDED = "tests/ensembles/neural/test_partition.py::"
SOURCES = "tests/imitator/test_sources.py::"

FAULTS = [
    Fault(
        "slots-are-shifted-by-sources", "ensembles/neural/_partition",
        "unnamed=shares.unnamed + by_slot)", "unnamed=shares.unnamed + 1)",
        (f"{DIVIDED}test_whose_answer_it_is",),
    ),
    Fault(
        "names-are-hashed-without-a-key", "core/_sources",
        "hmac.digest(key, ", 'hmac.digest(b"key", ',
        (f"{DIVIDED}test_whose_answer_it_is",),
    ),
    Fault(
        "trusted-demonstrations-count-for-one", "ensembles/neural/_partition",
        "np.where(trusted, EVERYBODY, ", "np.where(False, EVERYBODY, ",
        (f"{DIVIDED}test_whose_answer_it_is",),
    ),
    Fault(
        "an-answer-is-everybodys", "ensembles/neural/_partition",
        "    first = jnp.where(everybody, 0, whose)\n", "    everybody, first = True, jnp.zeros_like(whose)\n",
        (f"{DIVIDED}test_one_answer_costs_the_round_of_one_member", f"{DIVIDED}test_so_with_many_settings_at_once"),
    ),
    Fault(
        "temperature-learns-from-all-answers", "ensembles/neural/_partition",
        "_put(temperature, one.temperature.after(inputs, said, answer), n)",
        "learned.temperature.after(inputs, predicted, answer)",
        (f"{DIVIDED}test_so_with_many_settings_at_once",),
    ),
    Fault(
        "caution-counts-everybodys-answers", "ensembles/neural/_partition",
        "stored = Elsewhere(jnp.stack([replay.stored for replay in learned.replay]))",
        "stored = Elsewhere(jnp.full(len(learned.replay), sum(replay.stored for replay in learned.replay)))",
        (f"{DIVIDED}test_caution_is_about_a_members_own_answers",),
    ),
    Fault(
        "what-never-varied-moves-members", "ensembles/neural/_partition",
        "jnp.where(varied, now, first.astype(jnp.asarray(now).dtype))", "jnp.where(True, now, first)",
        (f"{DIVIDED}test_an_input_that_never_varied_is_ignored",),
    ),
    Fault(
        "settings-that-leak-are-taken", "ensembles/neural/settings",
        "            self._check_divided()\n", "            pass\n",
        (f"{DIVIDED}test_what_would_leak_is_refused",),
    ),
    Fault(
        "encoders-that-leak-are-taken", "ensembles/neural/_members",
        "divides(arch.training) and type(arch.encoder) is not Encoder", "False",
        (f"{DIVIDED}test_what_would_leak_is_refused",),
    ),
    Fault(
        "every-quorum-tolerates-poison", "core/certificate",
        "    return _tolerated(learner) // reach if 0 < reach < num_members else 0", "    return _tolerated(learner)",
        (f"{DIVIDED}test_what_is_tolerated",),
    ),
    Fault(
        "sources-are-not-written-down", "imitator/_records",
        "            source=source,\n            latency", "            latency",
        (f"{SOURCES}test_the_journal_keeps_it_and_a_run_done_again_learns_the_same",),
    ),
    Fault(
        "done-again-without-a-source", "imitator/_again",
        "sources[row or 0] = record.source", "sources[row or 0] = None",
        (f"{SOURCES}test_the_journal_keeps_it_and_a_run_done_again_learns_the_same",),
    ),
    Fault(
        "demonstrators-name-nobody", "demonstrators/_base",
        "source_of(self._members[env]) if self._members else None", "None",
        (f"{SOURCES}test_whoever_answers_in_act_may_name_it",),
    ),
    Fault(
        "who-answered-before-is-forgotten", "imitator/_asking",
        "self.sources[row] = action, source", "self.sources[row] = action, None",
        (f"{SOURCES}test_who_answered_before_somebody_failed_keeps_the_source",),
    ),
    Fault(
        "answers-from-outside-name-nobody", "imitator/_shell",
        "self._live.answer(decision, action, source)", "self._live.answer(decision, action, None)",
        (f"{SOURCES}test_answers_from_outside_name_it",),
    ),
    Fault(
        "who-takes-over-is-nobody", "imitator/_live",
        "source = self.panel.source(env or 0) if source is None else check_source(source)", "source = None",
        (f"{SOURCES}test_whoever_takes_over_names_it_or_is_the_demonstrator",),
    ),
]  # fmt: skip
