"""Deliberate faults in the comparison with an oracle that reads the members."""

from .fault import Fault

_TESTS = "tests/experiments/test_knowledge.py"
_ROADS = (f"{_TESTS}::test_laws_and_forecasts_differ_where_they_say",)
_READER = (f"{_TESTS}::test_who_reads_the_forecasts_finds_out_whom_to_believe",)
_VETO = (f"{_TESTS}::test_a_veto_of_one_halves_the_harm_and_gains_no_short_cut",)

FAULTS: list[Fault] = [
    Fault(
        "every-law-uses-the-fact",
        "experiments/knowledge/roads",
        "users = {NOBODY: 0, ONE: 1, ALL: NUM_MEMBERS}[use]",
        "users = NUM_MEMBERS",
        _ROADS,
    ),
    Fault(
        "outcomes-tell-the-reader-nothing",
        "experiments/knowledge/run",
        "return log_weights + jnp.log(said), (bad, action)",
        "return log_weights, (bad, action)",
        _READER,
    ),
    Fault(
        "whatever-happens-was-expected",
        "experiments/knowledge/figure",
        'return bool(rows[0]["low"] - half - 1e-6 <= values.mean() <= rows[0]["high"] + half + 1e-6)',
        "return True",
        _VETO,
    ),
]
