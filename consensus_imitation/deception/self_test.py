"""Imitators that are broken on purpose: the suite has to notice them, or its "as expected" would mean nothing."""

from collections.abc import Callable
from dataclasses import dataclass

from consensus_imitation.core.aggregation import MAP, Minimum, OrderStatistic, PosteriorMixture, UniformMixture
from consensus_imitation.core.selection import AlphaThreshold, TopK
from consensus_imitation.deception.contestants import ALPHA, STRONGEST, WITH_ALARM, Contestant, K
from consensus_imitation.deception.suite import run


@dataclass(frozen=True)
class Catch:
    """What became of one broken imitator.

    Attributes:
        name: of it.
        what: what it does wrong.
        held_to: the contestant whose promises it claims.
        scenarios: those in which it was not as its promise says; empty if it passed everywhere.
        undecided: cells that decided nothing.
    """

    name: str
    what: str
    held_to: str
    scenarios: tuple[str, ...]
    undecided: int


def broken_imitators() -> tuple[tuple[Contestant, str], ...]:
    """Return imitators with one fault each, held to the promises that they claim, and what is wrong with each.

    Example:
        >>> from consensus_imitation.deception.self_test import broken_imitators
        >>> len(broken_imitators()) >= 12
        True
    """
    top, alpha = TopK(K), AlphaThreshold(ALPHA)
    both, minimum = top | alpha, Minimum()

    def faulty(name: str, rule: object, held_to: str) -> Contestant:
        return Contestant(name, rule, minimum, held_to=held_to, fault=name)  # type: ignore[arg-type]

    return (
        (faulty("learns-from-own-actions", alpha, "minimum-alpha"), "learns from what it did by itself"),
        (faulty("counts-twice", alpha, "minimum-alpha"), "counts each answer twice"),
        (faulty("never-learns", alpha, "minimum-alpha"), "asks, and learns nothing"),
        (faulty("learns-backwards", alpha, "minimum-alpha"), "rewards the members that were wrong"),
        (faulty("drops-broken-members", both, STRONGEST), "leaves members with unusable predictions out"),
        (faulty("stops-asking", top, "minimum-top4"), "scales the minimum up after 20 questions"),
        (Contestant("threshold-0.3", both, Minimum(threshold=0.3), held_to=STRONGEST), "asks only where theta >= 0.3"),
        (Contestant("fifty-rounds", both, Minimum(rounds=50), held_to=STRONGEST), "draws 50 times before it asks"),
        (Contestant("never-asks", both, Minimum(threshold=1.0), held_to=STRONGEST), "scales the minimum up to one"),
        (Contestant("one-short", TopK(K - 1), minimum, held_to="minimum-top4"), "selects one member too few"),
        (Contestant("second-smallest", top, OrderStatistic(2), held_to="minimum-top4"), "overrules one veto"),
        (Contestant("loose-alpha", AlphaThreshold(100 * ALPHA), minimum, held_to="minimum-alpha"), "100 times alpha"),
        (Contestant("heaviest", both, MAP(), held_to=STRONGEST), "follows the heaviest member"),
        (Contestant("average", both, PosteriorMixture(), held_to=STRONGEST), "follows the weighted average"),
        (Contestant("plain-average", both, UniformMixture(), held_to=STRONGEST), "follows the plain average"),
        (Contestant("no-alarm", both, minimum, held_to=WITH_ALARM), "claims an alarm that it does not have"),
    )


def self_test(
    num_seeds: int = 128, seed: int = 0, progress: Callable[[str, int, int], None] | None = None
) -> list[Catch]:
    """Run every broken imitator through every scenario, and return what caught it.

    Args:
        num_seeds: runs of each cell, as for `deception.run`.
        seed: of everything.
        progress: as for `deception.run`.

    Returns:
        One `Catch` for each broken imitator.
    """
    entered = broken_imitators()
    results = run(None, [contestant for contestant, _ in entered], num_seeds, seed, progress)
    caught: list[Catch] = []
    for contestant, what in entered:
        own = [result for result in results if result.contestant == contestant.name]
        found = dict.fromkeys(result.scenario for result in own if not result.as_expected)
        undecided = sum(result.observed.value == "undecided" for result in own)
        caught.append(Catch(contestant.name, what, contestant.held_to or contestant.name, tuple(found), undecided))
    return caught
