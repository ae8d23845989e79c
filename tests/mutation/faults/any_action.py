"""Deliberate faults in the imitator for any action space."""

from .fault import Fault

_GRID = "tests/imitator/any_action/test_float_grid.py"
_KEPT = "tests/imitator/any_action/test_journal.py"
_OPEN = "tests/imitator/any_action/test_open_questions.py"
_OWN = "tests/imitator/any_action/test_ownership.py"
_TURNS = "tests/imitator/any_action/test_turns.py"

FAULTS: list[Fault] = [
    Fault(
        "a Gaussian may be narrower than the spacing of floats",
        "ensembles/any_action/distributions",
        "    return jnp.maximum(log_std, jnp.log(jnp.maximum(_NARROWEST * largest, _NARROWEST_AT_ZERO)))",
        "    del largest\n    return log_std",
        (f"{_GRID}::test_a_gaussian_sums_to_one_at_most_however_narrow_it_is_meant",),
    ),
    Fault(
        "only the score of a Gaussian has a floor",
        "ensembles/any_action/distributions",
        "        std = jnp.exp(_limited(mean, log_std, self.low, self.high))\n",
        "        std = jnp.exp(log_std)\n",
        (f"{_GRID}::test_a_narrow_gaussian_is_sampled_as_it_is_scored",),
    ),
    Fault(
        "what float32 rounds to a bound is counted twice",
        "ensembles/any_action/distributions",
        "    at_high = log_ndtr((mean - high + _half_spacing(high, -jnp.inf)) / std)",
        "    at_high = log_ndtr((mean - high + 4 * _half_spacing(high, -jnp.inf)) / std)",
        (f"{_GRID}::test_a_gaussian_sums_to_one_at_most_however_narrow_it_is_meant",),
    ),
    Fault(
        "an integer and a half is rounded",
        "ensembles/any_action/distributions",
        "jax.nn.log_sigmoid((distance + 0.5) / scale)",
        "jax.nn.log_sigmoid((action + 0.5 - mean) / scale)",
        (f"{_GRID}::test_logistics_over_integers_sum_to_one_and_are_sampled_as_scored",),
    ),
    Fault(
        "probabilities in half precision",
        "ensembles/any_action/distributions",
        "    return tuple(jnp.asarray(array, jnp.float32) for array in arrays)",
        "    return tuple(jnp.asarray(array) for array in arrays)",
        (f"{_GRID}::test_members_that_compute_in_half_precision_are_scored_in_full",),
    ),
    Fault(
        "a tiny acceptance is rounded",
        "core/rejection",
        "(number[0] == first) & (number[1] < second)",
        "(number[0] == first)",
        ("tests/imitator/any_action/test_law.py::test_the_second_word_decides_within_a_granule_of_the_first",),
    ),
    Fault(
        "a seed has 32 bits",
        "imitator/kernels",
        "    while seed := seed >> 32:\n",
        "    while seed := 0:\n",
        ("tests/imitator/any_action/test_construction.py::test_every_bit_of_a_seed_counts",),
    ),
    Fault(
        "a proposer sees what the draw is made of",
        "core/sampling_learner",
        "jax.random.fold_in(stream.proposals, stream.step)",
        "jax.random.fold_in(stream.key, stream.step)",
        (
            "tests/imitator/any_action/test_construction.py::test_nothing_that_a_proposer_sees_is_computed_from_the_key_of_the_draws",
        ),
    ),
    Fault(
        "what members learn with is made of the key of the draws",
        "imitator/_shell",
        "num_envs, keys.members)",
        "num_envs)",
        ("tests/imitator/any_action/test_construction.py::test_nor_what_members_learn_with",),
    ),
    Fault(
        "nobody looks at the members before the rules are made",
        "core/rules",
        "        check_ensemble(ensemble)\n        return cls(",
        "        return cls(",
        ("tests/imitator/any_action/test_construction.py::test_what_are_no_members_is_refused",),
    ),
    Fault(
        "after silence the second shell draws again",
        "core/sampling_learner",
        "        asks = state.unexplained | (stream.asked > 0) | nobody\n",
        "        asks = state.unexplained | nobody\n",
        (f"{_OPEN}::test_the_next_step_asks_whatever_is_observed",),
    ),
    Fault(
        "the second shell's state does not say that a question waits",
        "imitator/_sampling_run",
        "return replace(run.spent(env), queries=run.queries.wait(waiting), alarms=self.alarms)",
        "return replace(run, queries=run.queries.wait(waiting), alarms=self.alarms)",
        (f"{_OPEN}::test_the_next_step_asks_whatever_is_observed",),
    ),
    Fault(
        "a question that is asked again has the same proposal",
        "core/sampling_learner",
        "jax.random.fold_in(jax.random.fold_in(stream.proposals, stream.step), stream.asked)",
        "jax.random.fold_in(stream.proposals, stream.step)",
        (f"{_OPEN}::test_every_question_has_a_proposal_of_its_own",),
    ),
    Fault(
        "the second shell forgets that an alarm was cleared",
        "core/sampling_learner",
        "        return state.replace(unexplained=jnp.zeros((), bool), voids=state.voids | cleared)\n",
        "        del cleared\n        return state.replace(unexplained=jnp.zeros((), bool))\n",
        (f"{_OPEN}::test_a_cleared_alarm_voids_every_promise_for_ever",),
    ),
    Fault(
        "the second shell goes on under other rules without a word",
        "imitator/sampling",
        "SamplingRun.begin(setup, learner.adopt(state))",
        "SamplingRun.begin(setup, state)",
        (f"{_OPEN}::test_going_on_under_other_rules_voids_every_promise",),
    ),
    Fault(
        "the second shell keeps the environment's own array",
        "imitator/_recorder",
        "return private(observation if self.directory is None else as_read(observation))",
        "return observation if self.directory is None else as_read(observation)",
        (f"{_OWN}::test_nor_are_decide_and_answer",),
    ),
    Fault(
        "the second shell's demonstrator is shown what is learned from",
        "demonstrators/_asking",
        "return self._demonstrator(given(observation))",
        "return self._demonstrator(observation)",
        (f"{_OWN}::test_act_is_not_changed_by_what_others_write",),
    ),
    Fault(
        "the second shell's decisions can be written to",
        "imitator/_sampling_decision",
        "owned(getattr(self, name))",
        "getattr(self, name)",
        (f"{_OWN}::test_what_is_given_out_cannot_be_written_to",),
    ),
    Fault(
        "a space is asked about the very action that is learned",
        "imitator/_sampling_answers",
        "space.contains(given(checked))",
        "space.contains(checked)",
        (f"{_OWN}::test_act_is_not_changed_by_what_others_write",),
    ),
    Fault(
        "what is masked is a number of a vector",
        "imitator/_sampling_answers",
        "    value = numbers_of(answered)\n",
        "    value = np.asarray(answered)\n",
        ("tests/imitator/any_action/test_answers.py::test_what_is_no_action_is_refused_and_teaches_nothing",),
    ),
    Fault(
        "an answer is learned before its question is closed",
        "imitator/_live",
        "        after, closed = self._acting.settle(run, self.panel, waiting, reply)\n",
        "        self.run = replace(run, state=self._acting.settle(run, self.panel, waiting, reply)[0].state)\n"
        "        after, closed = self._acting.settle(run, self.panel, waiting, reply)\n",
        (f"{_TURNS}::test_an_interrupt_at_any_instruction_leaves_a_whole_number_of_steps",),
    ),
    Fault(
        "a member of the second shell may answer",
        "imitator/sampling",
        "        self._turn.refuse_reentrance()\n        with self._turn:\n            return self._live.answer(",
        "        with self._turn:\n            return self._live.answer(",
        (f"{_TURNS}::test_a_member_may_not_call_the_imitator",),
    ),
    Fault(
        "members are asked about an answer with a posterior that came later",
        "core/sampling_learner",
        "        context = Context(step=state.stream.step, log_weights=decision.log_weights)\n        log_likelihood",
        "        context = _context(state)\n        log_likelihood",
        (f"{_KEPT}::test_members_are_asked_about_an_answer_with_what_they_were_shown",),
    ),
    Fault(
        "the sign of zero is chained and not kept",
        "journal/record",
        "    value = float(value) + 0.0\n",
        "    value = float(value)\n",
        ("tests/journal/test_any_action.py::test_a_record_with_negative_zero_can_be_read_again",),
    ),
    Fault(
        "an action is kept without the sign of zero",
        "imitator/_sampling_acting",
        'packed = pack(action, "the members\' action")',
        "packed = pack(jax.tree.map(lambda leaf: np.asarray(leaf + leaf.dtype.type(0)), action))",
        (f"{_KEPT}::test_every_bit_of_an_action_is_kept",),
    ),
    Fault(
        "an action that comes out otherwise is not noticed",
        "imitator/_sampling_again",
        '    compare(call, "action",',
        '    (call, "action",',
        (f"{_KEPT}::test_a_record_that_says_otherwise_is_noticed",),
    ),
    Fault(
        "a run of the other shell is taken up",
        "imitator/_resume",
        "    if wrote != shell:\n",
        "    if False:\n",
        (f"{_KEPT}::test_what_does_not_go_together_is_refused",),
    ),
]
