"""Deliberate faults in the frontier of answers against unsafe episodes."""

from .fault import Fault

FRONTIER = "tests/experiments/test_frontier.py"
CHARGED = f"{FRONTIER}::test_what_is_charged"

FAULTS = [
    Fault(
        "frontier-charges-the-first-episodes-alone",
        "experiments/frontier/summary",
        "([run[-1][column] for run in own.values()]",
        "([run[0][column] for run in own.values()]",
        (CHARGED,),
    ),
    Fault(
        "frontier-never-reached-counts-as-reached",
        "experiments/frontier/summary",
        'if row["answers"] >= needed), run[-1])',
        'if row["answers"] >= needed), run[0])',
        (CHARGED,),
    ),
    Fault(
        "frontier-tests-the-wrong-side",
        "experiments/frontier/summary",
        "more = [own - one for",
        "more = [one - own for",
        (CHARGED,),
    ),
    Fault(
        "frontier-all-train-alike",
        "experiments/frontier/config",
        "training=training,",
        'training=CONTESTANTS["plain"].training,',
        (f"{FRONTIER}::test_each_contestant_has_its_own_comparison",),
    ),
    Fault(
        "frontier-plain-is-not-the-default",
        "experiments/frontier/config",
        '"plain": Contestant("minimum", {}, {"temperature": "repeats"}),',
        '"plain": Contestant("minimum", {}, {"temperature": "repeats", "updates": 4}),',
        (f"{FRONTIER}::test_plain_is_the_default",),
    ),
]
