"""The imitator on a tree of histories, enumerated in rational arithmetic from the definitions.

Nothing of the library is imported here. A history is a tuple of ``(action, queried)`` pairs; node numbers follow the
rule ``child = 2 * A * node + 1 + 2 * action + queried``, so that the library's members can be tables over nodes.

`Faults` switches on mistakes that an implementation might make; tests show that each of them is noticed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

History = tuple[tuple[int, bool], ...]
Weights = tuple[Fraction, ...]
Rule = Callable[[Weights], frozenset[int]]


@dataclass(frozen=True)
class Tree:
    """Members and a demonstrator as functions of the node number.

    Attributes:
        members: [nodes][N][A] probabilities; what they lack to one is withheld.
        demonstrator: [nodes][A].
        prior: [N], need not sum to one.
        depth: number of steps.
    """

    members: list[list[list[Fraction]]]
    demonstrator: list[list[Fraction]]
    prior: Weights
    depth: int

    @property
    def num_members(self) -> int:
        return len(self.prior)

    @property
    def num_actions(self) -> int:
        return len(self.demonstrator[0])


@dataclass(frozen=True)
class Faults:
    """Deliberate mistakes, all off by default."""

    combine: str = "minimum"  # or "mean", "renormalised"
    learn_from_own: bool = False
    act_on_alarm: bool = False
    count_withheld: bool = False
    drop_silent: bool = False


@dataclass(frozen=True)
class Node:
    """What holds at one history.

    Attributes:
        reached: probability of this history.
        weights: normalised posterior before the step.
        min_probs: [A], what the imitator does by itself.
        theta: query probability.
        selected: members that have a say.
    """

    reached: Fraction
    weights: Weights
    min_probs: tuple[Fraction, ...]
    theta: Fraction
    selected: frozenset[int]


def masked(tree: Tree, legal: list[list[bool]], fault: str = "") -> Tree:
    """The tree in which everybody is asked for a legal action: each row is conditioned on those, by the definition.

    What a member withholds it withholds still. The faults: "withheld-renormalised", or "zeroed", where what is not
    legal is only left out (whose minimum, scaled up, is the mask after the minimum).
    """

    def given(row: list[Fraction], allowed: list[bool]) -> list[Fraction]:
        mass, within = sum(row), sum(p for p, can in zip(row, allowed, strict=True) if can)
        if within == 0:
            return [Fraction(0)] * len(row)
        scale = {"": mass / within, "withheld-renormalised": 1 / within, "zeroed": Fraction(1)}[fault]
        return [scale * p if can else Fraction(0) for p, can in zip(row, allowed, strict=True)]

    def answered(row: list[Fraction], allowed: list[bool]) -> list[Fraction]:
        within = sum(p for p, can in zip(row, allowed, strict=True) if can)
        even = Fraction(1, sum(allowed))
        return [(p / within if within else even) if can else Fraction(0) for p, can in zip(row, allowed, strict=True)]

    return Tree(
        members=[[given(row, can) for row in node] for node, can in zip(tree.members, legal, strict=True)],
        demonstrator=[answered(row, can) for row, can in zip(tree.demonstrator, legal, strict=True)],
        prior=tree.prior,
        depth=tree.depth,
    )


def nodes_at(num_actions: int, depth: int) -> Iterator[History]:
    """All histories of that length, in the order of their node numbers."""
    yield from product(product(range(num_actions), (False, True)), repeat=depth)


def node_number(history: History, num_actions: int) -> int:
    """Number of a node: 0 for the root, breadth first."""
    node = 0
    for action, queried in history:
        node = 2 * num_actions * node + 1 + 2 * action + queried
    return node


def num_nodes(num_actions: int, depth: int) -> int:
    """Number of nodes that are not leaves."""
    return sum((2 * num_actions) ** d for d in range(depth))


def top_k(k: int, short_by: int = 0) -> Rule:
    """The k heaviest with ties; the first heaviest for k = 1. ``short_by`` is the off-by-one fault."""

    def rule(weights: Weights) -> frozenset[int]:
        if k - short_by <= 1:
            return frozenset({weights.index(max(weights))})
        return frozenset(n for n, w in enumerate(weights) if sum(other > w for other in weights) < k - short_by)

    return rule


def alpha_threshold(alpha: Fraction, off_by_one: bool = False) -> Rule:
    """``w_n >= alpha * (strictly heavier weights + w_n)``; the fault leaves out the ``+ w_n``."""

    def rule(weights: Weights) -> frozenset[int]:
        def bar(w: Fraction) -> Fraction:
            heavier = sum((other for other in weights if other > w), Fraction(0))
            return alpha * (heavier if off_by_one else heavier + w)

        return frozenset(n for n, w in enumerate(weights) if w >= bar(w) and w > 0)

    return rule


def union(one: Rule, other: Rule) -> Rule:
    """Either."""
    return lambda weights: one(weights) | other(weights)


def intersection(one: Rule, other: Rule) -> Rule:
    """Both."""
    return lambda weights: one(weights) & other(weights)


def margin(weights: Weights, alpha: Fraction) -> float:
    """Smallest relative distance from a selection boundary that is not an exact hit.

    The boundaries are: a weight equal to another one, and a weight equal to alpha times the sum that it is compared to.
    Distinct weights of small trees differ by far more than 1e-12, which is what float64 needs to tell them apart.
    """
    values = sorted((float(w) for w in weights), reverse=True)
    gaps = [1.0]
    heavier = 0.0
    for place, w in enumerate(values):
        if w == 0:
            break
        if place and w < values[place - 1] * (1 - 1e-12):
            gaps.append(values[place - 1] / w - 1)
            heavier = sum(values[:place])
        threshold = abs(1 - float(alpha) * (heavier + w) / w)
        gaps += [threshold] if threshold > 1e-12 else []
    return min(gaps)


def combine(rows: list[list[Fraction]], how: str) -> tuple[Fraction, ...]:
    """Minimum of the selected members' rows, or one of the faults."""
    columns = list(zip(*rows, strict=True))
    if how == "mean":
        return tuple(sum(column, Fraction(0)) / len(column) for column in columns)
    lowest = tuple(min(column) for column in columns)
    if how == "renormalised":
        return tuple(p / sum(lowest) for p in lowest) if sum(lowest) > 0 else lowest
    return lowest


def learn(weights: Weights, rows: list[list[Fraction]], action: int, faults: Faults = Faults()) -> Weights:
    """Bayes' rule for an answer: all zero if no member that says anything explains it.

    A member is scored by what it said, scaled up to sum to one. One that said nothing is scored by the mixture of those
    that did, so that its share of the weight stays; if nobody said anything, all weights stay.
    """
    masses = [sum(row, Fraction(0)) for row in rows]
    speaking = [n for n, mass in enumerate(masses) if mass > 0]
    heard = sum((weights[n] for n in speaking), Fraction(0))
    if heard == 0:
        return weights
    scores = {n: rows[n][action] / (1 if faults.count_withheld else masses[n]) for n in speaking}
    mixture = sum((weights[n] * score for n, score in scores.items()), Fraction(0)) / heard
    silent = Fraction(0) if faults.drop_silent else mixture
    return tuple(w * scores.get(n, silent) for n, w in enumerate(weights))


def enumerate_tree(tree: Tree, rule: Rule, faults: Faults = Faults()) -> dict[History, Node]:
    """Every history up to the tree's depth, leaves included, with its probability and the imitator's law there.

    The law at a leaf is meaningless (no member is defined there) and empty.
    """
    A = tree.num_actions
    result: dict[History, Node] = {}

    def visit(history: History, reached: Fraction, weights: Weights, alarm: bool) -> None:
        total = sum(weights)
        normalised = tuple(w / total for w in weights)
        if len(history) == tree.depth:
            result[history] = Node(reached, normalised, (), Fraction(1), frozenset())
            return
        node = node_number(history, A)
        rows = tree.members[node]
        selected = rule(weights)
        own = combine([rows[n] for n in sorted(selected)], faults.combine)
        if alarm and not faults.act_on_alarm:
            own = (Fraction(0),) * A
        theta = 1 - sum(own, Fraction(0))
        result[history] = Node(reached, normalised, own, theta, selected)
        for action in range(A):
            learned = learn(weights, rows, action, faults)
            explained = sum(learned) > 0
            updated = learned if explained else weights
            by_itself = updated if faults.learn_from_own else weights
            visit((*history, (action, False)), reached * own[action], by_itself, alarm)
            answer = tree.demonstrator[node][action]
            visit((*history, (action, True)), reached * theta * answer, updated, alarm or not explained)

    visit((), Fraction(1), tree.prior, alarm=False)
    return result
