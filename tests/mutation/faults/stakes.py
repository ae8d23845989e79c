"""Deliberate faults in the comparison of low stakes with high."""

from .fault import Fault

_TESTS = ("tests/experiments/test_stakes.py",)
_ONLINE = "experiments/stakes/online"

FAULTS: list[Fault] = [
    Fault(
        "hedge-counts-what-a-member-got-right", _ONLINE, "known - self.rate * (1 - ", "known - self.rate * (", _TESTS
    ),
    Fault(
        "descent-goes-up",
        _ONLINE,
        "known.at[observation].add(self.rate",
        "known.at[observation].add(-self.rate",
        _TESTS,
    ),
    Fault(
        "mistakes-are-counted-twice", _ONLINE, "members[truth, label] - law[label]", "1.0 - law[label] + 1.0", _TESTS
    ),
    Fault(
        "the-planted-member-never-turns",
        "experiments/stakes/run",
        "time_bomb(truth, near, config.num_steps // 4)",
        "time_bomb(truth, near, config.num_steps * 4)",
        _TESTS,
    ),
    Fault(
        "who-is-told-has-asked",
        "experiments/stakes/run",
        '"questions": int(questions[seed]),',
        '"questions": int(questions[seed]) or (labels or 0),',
        _TESTS,
    ),
]
