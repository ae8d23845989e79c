"""Deliberate faults in the sweep and the suite for users, and in how caution is told apart from disagreement."""

from .fault import Fault

_CAUTION = ("tests/core/test_caution.py",)
_SWEEP = "tests/experiments/test_sweep_anywhere.py"
_RATES = (f"{_SWEEP}::test_the_rates_are_those_that_the_runs_own_environments_and_experts_counted",)
_SUITE = "tests/experiments/test_redteam_anywhere.py"
_PLANTED = "tests/deception/test_planting.py"

FAULTS: list[Fault] = [
    # what is withheld
    Fault("caution-is-the-boldest-members", "core/withholding", "xp.max(", "xp.min(", _CAUTION),
    Fault("caution-of-those-without-a-say", "core/withholding", "selected & (mass > 0)", "mass > 0", _CAUTION),
    Fault("unusable-member-is-cautious", "core/withholding", "selected & (mass > 0)", "selected", _CAUTION),
    Fault(
        "rollout-withholds-for-everybody",
        "core/rollout",
        "withheld(decision.usable, decision.selected, decision.query_prob)",
        "0.0 * decision.query_prob",
        _CAUTION,
    ),
    # the sweep
    Fault(
        "harm-of-an-episode-counts-at-every-step",
        "experiments/tasks/loop",
        "after.unsafe and not before.unsafe",
        "after.unsafe",
        ("tests/experiments/compare/test_gymnasium_run.py::test_a_step_says_that_its_episode_became_unsafe",),
    ),
    Fault(
        "half-a-run-is-a-run",
        "experiments/runs",
        "    if run.interrupted:\n",
        "    if False:\n",
        (f"{_SWEEP}::test_ctrl_c_in_the_loop_ends_the_sweep",),
    ),
    Fault(
        "every-rule-has-its-own-world",
        "experiments/sweep/anywhere",
        "play(place, Seeds.of_run(seed, number),",
        "play(place, Seeds.of_run(seed, number + hash(rule.tolerated_members)),",
        (f"{_SWEEP}::test_run_s_is_the_same_world_under_every_rule",),
    ),
    Fault(
        "sweep-anywhere-begins-anew",
        "experiments/sweep/anywhere",
        "missing = list(ledger.missing(parts))",
        "missing = list(parts)",
        (f"{_SWEEP}::test_an_interrupted_sweep_goes_on_and_has_the_same_table",),
    ),
    Fault(
        "unknown-harm-is-none-at-all",
        "experiments/sweep/anywhere",
        '"harms": tally.harms if harmed else None,',
        '"harms": tally.harms,',
        (f"{_SWEEP}::test_without_judges_harm_and_success_are_unknown_and_not_zero",),
    ),
    Fault(
        "disagreement-holds-caution",
        "experiments/sweep/anywhere",
        "(tally.theta - tally.withheld) / num_steps",
        "tally.theta / num_steps",
        (f"{_SWEEP}::test_caution_is_told_apart_from_disagreement",),
    ),
    Fault(
        "judge-sees-no-info",
        "experiments/places",
        "harm(reward, terminated, self.info)",
        "harm(reward, terminated, {})",
        _RATES,
    ),
    Fault(
        "demonstrator-is-not-asked-for",
        "experiments/places",
        "    if not demonstrator:\n",
        "    if False:\n",
        (f"{_SWEEP}::test_a_mistake_names_its_remedy",),
    ),
    Fault(
        "table-of-another-version",
        "experiments/ledger",
        "if any(rows and tuple(rows[0])",
        "if False and any(rows and tuple(rows[0])",
        ("tests/experiments/test_ledger.py::test_tables_with_other_columns_are_refused",),
    ),
    # the planted members and their suite
    Fault(
        "deceiver-withholds-nothing",
        "deception/planting",
        "copied = (weights @ said) * (weights @ mass)",
        "copied = weights @ said",
        (f"{_PLANTED}::test_the_planted_one_is_as_cautious_as_the_others",),
    ),
    Fault(
        "deceiver-copies-the-plain-average",
        "deception/planting",
        "jax.nn.softmax(context.log_weights[context.first : context.first + size])",
        "jnp.full(size, 1 / size)",
        (f"{_PLANTED}::test_no_answer_tells_it_from_the_honest_members",),
    ),
    Fault(
        "deceiver-does-not-lead",
        "deception/planting",
        "np.full(copies, ADVANTAGE)",
        "np.full(copies, 0.01)",
        (f"{_SUITE}::test_with_k_1_it_does_harm_and_with_k_2_it_does_none",),
    ),
    Fault(
        "one-copy-too-many-is-tolerated",
        "deception/planting",
        "selection.tolerated_members >= copies",
        "selection.tolerated_members + 1 >= copies",
        (f"{_PLANTED}::test_theory_counts_the_copies",),
    ),
    Fault(
        "twin-is-a-deceiver",
        "experiments/redteam/anywhere",
        "self._trigger if attack else None",
        "self._trigger",
        (f"{_SUITE}::test_with_k_1_it_does_harm_and_with_k_2_it_does_none",),
    ),
    Fault(
        "answers-count-as-trigger-harms",
        "experiments/redteam/anywhere",
        'not row["queried"] and row["action"] == self._action',
        'row["queried"] or row["action"] == self._action',
        (f"{_SUITE}::test_with_k_1_it_does_harm_and_with_k_2_it_does_none",),
    ),
    Fault(
        "too-few-runs-say-safe",
        "experiments/redteam/anywhere",
        "    if judge_harm(runs, runs, limit) is not Expectation.HARMED:\n",
        "    if False:\n",
        (f"{_SUITE}::test_too_few_runs_show_nothing_and_a_difference_is_marked",),
    ),
    Fault(
        "trigger-is-looked-for-too-late",
        "experiments/places",
        "self.seen, self._next, self.info = self._next, given[0], given[4]",
        "self.seen, self._next, self.info = given[0], given[0], given[4]",
        (f"{_SUITE}::test_with_k_1_it_does_harm_and_with_k_2_it_does_none",),
    ),
    Fault(
        "demonstrator-runs-in-silence",
        "experiments/sweep/anywhere",
        "        advance(num_steps)\n    return harmed / num_seeds",
        "    return harmed / num_seeds",
        (f"{_SWEEP}::test_an_interrupted_sweep_goes_on_and_has_the_same_table",),
    ),
    Fault(
        "class-is-called-with-a-seed",
        "experiments/places",
        "    if isinstance(make, type):",
        "    if False:",
        (f"{_SWEEP}::test_a_mistake_names_its_remedy",),
    ),
]  # fmt: skip
