"""Deliberate faults in the bounds from now on, what is observed against them, harm, and the suite's verdicts."""

from .fault import Fault

BOUNDS = ("tests/core/certificates/test_from_now_on.py",)
STANDING = ("tests/core/certificates/test_standing.py",)
HARM = ("tests/core/certificates/test_harm.py",)
PRIORS = ("tests/core/test_priors.py",)
ASKING = ("tests/deception/test_asking.py",)
BENCHMARK = ("tests/experiments/test_redteam_benchmark.py",)
INDEPENDENCE = ("tests/core/merging/test_independence.py",)
SAMPLING = ("tests/imitator/any_action/test_certificate.py",)
SUITE = ("tests/deception/test_self_test.py", "tests/deception/test_judgement.py")

FAULTS: list[Fault] = [
    Fault(
        "the-limit-of-cubes-forgets-the-last-step",
        "core/bounds",
        "return float(2 * largest * np.sum(1 + logs[logs >= 0]))",
        "return float(2 * largest * np.sum(logs[logs >= 0]))",
        BOUNDS,
    ),
    Fault(
        "beta-without-its-square",
        "core/bounds",
        "largest / 2 * (1 + scale) ** 2 * np.sum",
        "largest / 2 * (1 + scale) * np.sum",
        (*BOUNDS, "tests/core/certificates/test_certificate.py"),
    ),
    Fault(
        "what-is-left-of-a-budget-is-all-of-it-squared",
        "core/from_now_on",
        "return max(1.0, factor * math.exp(-ledger))",
        "return max(1.0, factor * math.exp(-2 * ledger))",
        BOUNDS,
    ),
    Fault(
        "closeness-without-room",
        "core/closeness",
        "limits = [(scale * total + most * cost) / -math.expm1(-scale) for scale in _RATES]",
        "limits = [scale * total / -math.expm1(-scale) for scale in _RATES]",
        BOUNDS,
    ),
    Fault(
        "withheld-mass-counts-as-disagreement",
        "imitator/_tally",
        "theta - np.maximum(0.0, withheld)",
        "theta - 0.0 * np.maximum(0.0, withheld)",
        STANDING,
    ),
    Fault(
        "sums-are-forgotten-at-a-checkpoint",
        "imitator/_run",
        'tally=self.tally.loaded(saved.get("tally"))',
        "tally=self.tally",
        STANDING,
    ),
    Fault(
        "asked-steps-are-not-counted",
        "imitator/_run",
        "answers=self.answers + answered, tally=tally",
        "answers=self.answers + answered, tally=self.tally",
        STANDING,
    ),
    Fault(
        "harm-without-the-exclusion",
        "core/certificate",
        "bounds.budget_bound(upper, exclusion, factor)",
        "bounds.budget_bound(upper, 0.0, factor)",
        STANDING,
    ),
    Fault(
        "gamblers-may-lose-half-as-often",
        "core/betting",
        ">= math.log(2 / self.delta)",
        ">= math.log(1 / self.delta)",
        HARM,
    ),
    Fault(
        "a-belief-forgets-what-happened",
        "core/priors",
        "return virtual + self.happened,",
        "return virtual,",
        PRIORS,
    ),
    Fault(
        "models-of-one-length-do-not-share",
        "core/priors",
        "shares = np.exp(logs - logs.max()) / count",
        "shares = np.exp(logs - logs.max())",
        PRIORS,
    ),
    Fault(
        "a-belief-is-not-said",
        "imitator/_readings",
        "belief=belief,",
        "belief=None,",
        PRIORS,
    ),
    Fault(
        "whatever-is-not-harmed-is-safe",
        "deception/judgement",
        "if upper < limit + SLACK else Expectation.UNDECIDED",
        "if upper < limit + 2 else Expectation.UNDECIDED",
        SUITE,
    ),
    Fault(
        "the-law-counts-what-the-demonstrator-did",
        "deception/lanes",
        "& ~queried[:, None]",
        "& (queried | True)[:, None]",
        SUITE,
    ),
    Fault(
        "questions-that-nobody-asked-are-hits",
        "deception/asking",
        "int((queried & calls).sum())",
        "int((queried | calls).sum())",
        ASKING,
    ),
    Fault(
        "every-familiar-step-may-be-asked-about",
        "deception/asking",
        "ascending[ascending.size - 1 - int(share * ascending.size)]",
        "ascending[0]",
        ASKING,
    ),
    Fault(
        "what-is-unlike-the-members-calls-for-no-question",
        "deception/asking",
        "axis=-1) > WRONG",
        "axis=-1) > 1 - WRONG",
        ASKING,
    ),
    Fault(
        "members-are-followed-by-what-was-done-unasked",
        "deception/loop",
        "._replace(action=action, queried=queried)",
        "._replace(action=action, queried=queried | True)",
        ("tests/deception/test_runs.py",),
    ),
    Fault(
        "a-row-may-be-of-any-suite",
        "experiments/redteam/benchmark",
        'if any(row["suite"] != SUITE for row in rows):',
        'if any(row["suite"] < SUITE for row in rows):',
        BENCHMARK,
    ),
    Fault(
        "a-row-need-not-be-whole",
        "experiments/redteam/benchmark",
        'if [(row["scenario"], row["attack"]) for row in own] != wanted:',
        'if not {(row["scenario"], row["attack"]) for row in own} <= set(wanted):',
        BENCHMARK,
    ),
    Fault(
        "the-jackknife-counts-groups-as-independent-runs",
        "core/independence",
        "np.sqrt((len(used) - 1) / len(used) * np.sum(",
        "np.sqrt(1 / len(used) * np.sum(",
        INDEPENDENCE,
    ),
    Fault(
        "what-members-withhold-is-an-error",
        "core/independence",
        "return 1 - probs[:, answer] / np.where(mass > 0, mass, 1.0)",
        "return 1 - probs[:, answer]",
        INDEPENDENCE,
    ),
    Fault(
        "errors-are-forgotten-at-a-checkpoint",
        "imitator/_tally",
        'errors = self.errors if saved.get("errors") is None else ErrorGroups.load(saved["errors"])',
        "errors = self.errors",
        ("tests/journal/test_errors.py",),
    ),
    Fault(
        "the-law-is-of-what-the-first-environment-saw",
        "journal/errors",
        "np.asarray(observation)[posed.env or 0]",
        "np.asarray(observation)[0]",
        ("tests/journal/test_errors.py",),
    ),
    Fault(
        "withdrawn-queries-leave-the-bound-on-queries",
        "imitator/_sampling_run",
        "queries=self.queries.close(waiting, None), bounded=False)",
        "queries=self.queries.close(waiting, None))",
        SAMPLING,
    ),
    Fault(
        "cleared-alarms-were-never-raised",
        "imitator/_sampling_run",
        "bounded = self.bounded and not self.alarms.invalid",
        "bounded = self.bounded",
        SAMPLING,
    ),
]
