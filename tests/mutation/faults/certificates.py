"""Deliberate faults in the bounds from now on, what is observed against them, harm, and the suite's verdicts."""

from .fault import Fault

BOUNDS = ("tests/core/certificates/test_from_now_on.py",)
STANDING = ("tests/core/certificates/test_standing.py",)
HARM = ("tests/core/certificates/test_harm.py",)
PRIORS = ("tests/core/test_priors.py",)
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
]
