"""Deliberate faults in rules, members and the posterior."""

from .fault import Fault

CHECKS = "tests/core/test_rule_checks.py::test_"
NO_LAW = (CHECKS + "what_is_no_law_is_a_query_and_the_rules_fault",)
NOBODY = (CHECKS + "a_selection_of_nobody_is_a_query_and_the_selections_fault",)
GATE = (CHECKS + "a_gate_makes_no_law_of_a_base_that_gives_none",)
JOINED = (CHECKS + "rules_of_ones_own_join_from_both_sides",)
REFUSED = (CHECKS + "a_selection_rule_that_returns_something_else_is_refused",)
LAWS = (CHECKS + "an_aggregation_rule_that_returns_something_else_is_refused",)
NAMED = ("tests/imitator/test_rule_faults.py::test_in_lockstep_only_the_rows_in_which_it_fails_are_asked_about",)
WITHHOLDING = ("tests/core/test_withholding.py::test_weights_are_those_of_what_was_said",)
ALARM = "tests/core/certificates/test_alarm.py::test_"
SILENT = (ALARM + "a_member_that_is_unusable_does_not_block_the_alarm_for_ever",)
COMES_BACK = (ALARM + "a_member_that_comes_back_in_time_keeps_the_alarm_from_being_raised",)
ALL_SILENT = (ALARM + "where_all_are_silent_nobody_was_wrong",)
DIVERSITY = ("tests/core/merging/test_measures.py",)
UNKNOWN = ("tests/imitator/test_unknown_observations.py",)
DISSENT = "tests/core/test_dissent.py::test_"
REPLAYED = ("tests/journal/test_replay_posterior.py::test_members_that_withhold_are_taken_by_what_they_said",)
SAMPLING = ("tests/imitator/any_action/test_own_selection.py",)

FAULTS: list[Fault] = [
    # What rules give is checked.
    Fault(
        "law-may-sum-to-less-than-it-says",
        "core/_rule_checks",
        "(jnp.abs(total - 1.0) <= MASS_TOLERANCE)",
        "(total - 1.0 <= MASS_TOLERANCE)",
        NO_LAW,
    ),
    Fault("law-may-be-negative", "core/_rule_checks", "sound = (least >= 0.0) & ", "sound = ", NO_LAW),
    Fault(
        "nan-is-a-law",
        "core/_rule_checks",
        "    return law, sound\n",
        "    return law, ~(jnp.abs(total - 1.0) > 1e-4)\n",
        NO_LAW,
    ),
    Fault("selection-of-nobody-is-no-fault", "core/learner", "nobody = ~jnp.any(selected)", "nobody = False", NOBODY),
    Fault(
        "gate-makes-a-law-of-none",
        "core/aggregation/gates",
        "return jax.tree.map(lambda part: jnp.where(faulty, jnp.nan, part), law)",
        "return law",
        GATE,
    ),
    Fault("own-rule-joins-from-one-side", "core/selection", "def __ror__(", "def _ror(", JOINED),
    Fault(
        "one-for-all-in-a-union",
        "core/selection",
        "operator.or_, (mask_of(rule, log_weights) for rule in self.rules)",
        "operator.or_, (rule(log_weights) for rule in self.rules)",
        REFUSED,
    ),
    Fault(
        "rules-are-not-tried",
        "core/_rule_checks",
        "        return function.eval_shape(rule, *shapes)",
        "        return jax.ShapeDtypeStruct(shapes[0].shape, jnp.float32)",
        LAWS,
    ),
    Fault(
        "rule-is-not-named",
        "imitator/_health",
        "self._report_fault(self._rule_faults[fault], decision.step)",
        'self._report_fault("a rule failed", decision.step)',
        NAMED,
    ),
    Fault("rule-fault-is-not-recorded", "imitator/kernels", "(*scalars, decision.rule_fault)", "(*scalars, 0)", NAMED),
    Fault(
        "sampling-selection-of-nobody-is-no-fault",
        "core/sampling_learner",
        "rule_fault=nobody",
        "rule_fault=False",
        SAMPLING,
    ),
    # What is withheld is no evidence.
    Fault(
        "withheld-counts-against-a-member",
        "core/learner",
        "predicted = given - jnp.log(masses(decision.log_probs))",
        "predicted = given",
        WITHHOLDING,
    ),
    Fault(
        "alarm-counts-what-is-withheld",
        "core/alarm",
        "log_probs = normalised(log_probs)",
        "log_probs = log_probs + 0.0",
        (ALARM + "the_e_processes_agree_with_float64",),
    ),
    Fault(
        "merging-counts-what-is-withheld",
        "core/merging",
        "probs = jnp.exp(normalised(log_probs))",
        "probs = jnp.exp(log_probs)",
        DIVERSITY,
    ),
    Fault("silence-tells-apart", "core/merging", "jnp.where(said[:, None] & said, ", "jnp.where(True, ", DIVERSITY),
    Fault(
        "replay-counts-what-is-withheld",
        "journal/audit",
        "post.update(state, post.normalised(log_probs)[:, action], asleep)",
        "post.update(state, log_probs[:, action], asleep)",
        REPLAYED,
    ),
    # Members that are silent; observations that are unknown.
    Fault(
        "alarm-waits-for-the-silent",
        "core/alarm",
        "refuted | ~possible | (state.silent >= SILENCE)",
        "refuted | ~possible",
        SILENT,
    ),
    Fault(
        "alarm-forgets-who-speaks-again",
        "core/alarm",
        "state.silent + 1, 0)",
        "state.silent + 1, state.silent)",
        COMES_BACK,
    ),
    Fault("silence-alone-raises-the-alarm", "core/alarm", "return jnp.any(refuted) & jnp", "return jnp", ALL_SILENT),
    Fault(
        "unknown-observation-at-the-door",
        "imitator/policy",
        "    if ensemble.known_observations is not None:",
        "    if False and ensemble.known_observations is not None:",
        UNKNOWN,
    ),
    Fault(
        "union-knows-what-its-first-part-knows",
        "ensembles/union",
        "return min((number for number in known if number is not None), default=None)",
        "return self.parts[0].known_observations",
        UNKNOWN,
    ),
    Fault("rollout-of-too-small-tables", "core/rollout", "and given > known:", "and given < known:", UNKNOWN),
    # Members that declare that they are normalised.
    Fault(
        "declaration-is-believed-of-what-is-learned",
        "core/learner",
        "excess = jnp.where(queried, found, excess)",
        "excess = jnp.where(False, found, excess)",
        ("tests/core/test_normalised.py::test_no_answer_is_learned_from_a_lie",),
    ),
    Fault(
        "recordings-of-declared-members-are-not-checked",
        "core/learner",
        "return decision.examined() if are_normalised(self.ensemble) else decision",
        "return decision",
        ("tests/core/test_normalised.py::test_recordings_are_checked_although_nothing_was_asked",),
    ),
    Fault(
        "union-is-normalised-if-a-part-is",
        "ensembles/union",
        "return all(are_normalised(part) for part in self.parts)",
        "return any(are_normalised(part) for part in self.parts)",
        ("tests/core/test_normalised.py::test_softmaxes_are_declared_and_a_union_if_all_its_parts_are",),
    ),
    # Who is to blame for a query.
    Fault(
        "second-lowest-forgets-who-was-lowest",
        "core/laws",
        "second = jnp.minimum(second, jnp.maximum(lowest, row))",
        "second = jnp.minimum(second, jnp.where(row > lowest, row, jnp.inf))",
        (DISSENT + "dissent_is_what_the_minimum_gains_without_each_member",),
    ),
    Fault(
        "equal-members-dissent-by-rounding",
        "core/laws",
        "jnp.where(highest > lowest, jnp.abs(present - average), 0.0)",
        "jnp.abs(present - average)",
        (DISSENT + "two_members_to_blame_are_told_by_their_distance_and_equal_ones_do_not_dissent",),
    ),
    Fault(
        "a-minimum-over-an-axis-loses-a-nan",
        "core/laws",
        "        lowest = jnp.minimum(lowest, jnp.where(selected[n], row, jnp.inf))\n    return lowest",
        "        del row\n    return jnp.min(jnp.where(selected[:, None], log_probs, jnp.inf), axis=0)",
        ("tests/core/test_normalised.py::test_a_nan_stops_a_step_wherever_it_is_in_a_batch",),
    ),
    Fault(
        "rows-that-do-not-ask-are-written",
        "core/_asked_rows",
        "jnp.where(_along(asked, one), one, zero)",
        "one",
        (DISSENT + "rows_that_ask_get_what_the_function_gives",),
    ),
    Fault(
        "rows-that-are-not-there-are-written",
        "core/_asked_rows",
        "jnp.full(-(-size // block) * block, size, jnp.int32)",
        "jnp.full(-(-size // block) * block, 0, jnp.int32)",
        (DISSENT + "rows_that_ask_get_what_the_function_gives",),
    ),
    Fault(
        "last-block-is-left-out",
        "core/_asked_rows",
        "begin < count,",
        "begin + 1 < count,",
        (DISSENT + "rows_that_ask_get_what_the_function_gives",),
    ),
]
