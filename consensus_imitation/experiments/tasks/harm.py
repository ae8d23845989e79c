"""Harm in numbers out of the tables of a run: a confidence sequence per episode and per asked step."""

from collections.abc import Iterable

from consensus_imitation.core.harm import HarmRecord, HarmWatch
from consensus_imitation.experiments.results import Row


def harm_watch(episodes: Iterable[Row], steps: Iterable[Row], delta: float = 0.05) -> HarmWatch:
    """Return what the finished episodes of a run say of how often harm is done.

    Args:
        episodes: rows of ``episodes.csv``, or `GymnasiumRun.episodes`, of a run with a task; all of them, in order.
        steps: rows of ``steps.csv``, or those that ``on_step`` got: all of these episodes. A harmful asked step is one
            with which its episode became harmful; steps after that are not counted.
        delta: each sequence ever excludes its rate with probability at most this.

    Raises:
        ValueError: if nothing counted as harm (the run had no task), delta is out of range, or steps are missing.

    Example:
        >>> from consensus_imitation.experiments.tasks.harm import harm_watch
        >>> episodes = [{"env": 0, "episode": n, "queries": 2, "harm": False} for n in range(200)]
        >>> steps = [{"env": 0, "episode": n, "queried": True, "harm": False} for n in range(200) for _ in range(2)]
        >>> watch = harm_watch(episodes, steps)
        >>> watch.clean, watch.asked.count, watch.episodes.high < 0.04
        (200, 400, True)
    """
    asked: dict[tuple[int, int], int] = {}
    ended: set[tuple[int, int]] = set()
    when_asked: set[tuple[int, int]] = set()
    for row in steps:
        about = row["env"], row["episode"]
        # What follows the harm cannot become harmful any more: it would pass for so many harmless answers.
        if about in ended:
            continue
        asked[about] = asked.get(about, 0) + bool(row["queried"])
        if row["harm"]:
            ended.add(about)
            if row["queried"]:
                when_asked.add(about)
    watch = HarmWatch.begin(delta)
    for row in episodes:
        if row["harm"] is None:
            raise ValueError("nothing counted as harm in this run: give run_gymnasium a task that says what does")
        about, harmed = (row["env"], row["episode"]), bool(row["harm"])
        if harmed != (about in ended) or (not harmed and asked.get(about) != int(row["queries"])):
            raise ValueError(f"the steps are not all those of these episodes: see episode {row['episode']}")
        watch = watch.after(harmed=harmed, asked=asked[about], harmed_when_asked=int(about in when_asked))
    return watch


def harm_record(episodes: Iterable[Row]) -> HarmRecord:
    """Return how many of some episodes did harm, for `ConsensusImitator.certificate`: the demonstrator's own.

    Args:
        episodes: rows with ``harm``, of a number of episodes that was fixed beforehand: all of them.

    Raises:
        ValueError: without episodes, or if nothing counted as harm.

    Example:
        >>> from consensus_imitation.experiments.tasks.harm import harm_record
        >>> harm_record([{"harm": False}, {"harm": True}])
        HarmRecord(harmed=1, episodes=2)
    """
    found = [row["harm"] for row in episodes]
    if None in found:
        raise ValueError("nothing counted as harm in these episodes: give run_gymnasium a task that says what does")
    return HarmRecord.of(found)
