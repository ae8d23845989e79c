"""Deliberate faults in the comparison with an oracle that reads the members."""

from .fault import Fault

_TESTS = ("tests/experiments/test_knowledge.py",)

FAULTS: list[Fault] = [
    Fault(
        "every-law-uses-the-fact",
        "experiments/knowledge/roads",
        "users = {NOBODY: 0, ONE: 1, ALL: NUM_MEMBERS}[use]",
        "users = NUM_MEMBERS",
        _TESTS,
    ),
    Fault(
        "outcomes-tell-the-reader-nothing",
        "experiments/knowledge/run",
        "return log_weights + jnp.log(said), (bad, action)",
        "return log_weights, (bad, action)",
        _TESTS,
    ),
    Fault(
        "whatever-happens-was-expected",
        "experiments/knowledge/figure",
        'return bool(rows[0]["low"] - half - 1e-6 <= values.mean() <= rows[0]["high"] + half + 1e-6)',
        "return True",
        _TESTS,
    ),
]
