"""What the theorems say of the rest of a run, by enumeration of small trees; nothing of the library decides anything.

Weights are exact fractions, so that ties and thresholds are. Members sleep, withhold and tie; near-duplicates may be
merged, an inflation budget may hand steps over, and questions may be withdrawn. A law may be a fault on purpose.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from tests.core import oracle

History = tuple[tuple[int, str], ...]
Row = tuple[Fraction, ...]


@dataclass(frozen=True)
class Case:
    """One tree, its rule, and what is broken.

    Attributes:
        seed: of everything that members say.
        A: actions.
        N: members; the first equals the demonstrator while nothing is broken.
        depth: steps.
        rule: exact, of weights.
        prior: [N].
        factor: of an inflation budget, or None.
        withdraws: whether half of the questions get no answer.
        merges: whether exact copies are merged.
        sleeps: whether members other than the truth sleep and withhold.
        broken: "" or what is wrong: "absent" (the truth is no member), "own" (it learns from its own actions).
        close: by how much the first member differs from the demonstrator.
        silenced: an action that is never let through as an answer, which breaks what is assumed of silence; or None.
    """

    seed: int
    A: int
    N: int
    depth: int
    rule: oracle.Rule
    prior: tuple[Fraction, ...]
    factor: float | None = None
    withdraws: bool = False
    merges: bool = False
    sleeps: bool = True
    broken: str = ""
    close: Fraction = Fraction(0)
    silenced: int | None = None

    def demonstrator(self, history: History) -> Row:
        """Its law depends on what was done, not on who did it, nor on questions that came to nothing."""
        rng = np.random.default_rng([self.seed, 1, *(a + 1 for a, _ in history)])
        return _row(rng, self.A, zeros=False)

    def members(self, history: History) -> list[Row]:
        """What each member says: [N][A], rows summing to at most one."""
        rng = np.random.default_rng([self.seed, 2, *(3 * (a + 1) + "awq".index(who) for a, who in history)])
        truth = self.demonstrator(history)
        other = _row(rng, self.A, zeros=False)
        first = tuple((1 - self.close) * p + self.close * q for p, q in zip(truth, other, strict=True))
        if self.broken == "absent":
            first = other
        rows = [first]
        for n in range(1, self.N):
            kind = rng.integers(8)
            row = _row(rng, self.A, zeros=True)
            if kind < 2 and self.sleeps:
                mass = Fraction(int(rng.integers(3)), 3)
                row = tuple(p * mass for p in row)
            elif kind == 2:
                row = rows[int(rng.integers(n))]
            rows.append(row)
        return rows


def _row(rng: np.random.Generator, A: int, zeros: bool) -> Row:
    counts = rng.integers(0 if zeros else 1, 8, A)
    counts[rng.integers(A)] += 1
    total = int(counts.sum())
    return tuple(Fraction(int(c), total) for c in counts)


class Node(NamedTuple):
    """What holds at one history.

    Attributes:
        history: of it.
        weights: normalised posterior [N].
        selected: who has a say.
        members: [N][A].
        theta: of the minimum, whether or not the step is a question for certain.
        withheld: the most that a selected member withholds.
        acts: [A], probability of each action by itself; all 0 where the step is a question for certain.
        asks: probability of a question.
        ledger: before the step.
        children: each with its probability where member 0 .. N - 1, or the demonstrator (the last), answers; what is
            done, -1 for nothing; and the node.
    """

    history: History
    weights: Row
    selected: frozenset[int]
    members: list[Row]
    theta: Fraction
    withheld: Fraction
    acts: Row
    asks: Fraction
    ledger: float
    children: "list[tuple[tuple[Fraction, ...], int, Node]]"


def grow(case: Case) -> Node:
    """The whole tree."""
    total = sum(case.prior)
    groups = [set(range(case.N))] if case.merges else [{n} for n in range(case.N)]
    return _grow(case, (), tuple(w / total for w in case.prior), 0.0, False, groups, case.depth)


def _grow(
    case: Case, history: History, weights: Row, ledger: float, forced: bool, groups: list[set[int]], left: int
) -> Node:
    members, demonstrator = case.members(history), case.demonstrator(history)
    selected = case.rule(weights)
    if case.merges:
        heads = [max(group, key=lambda n: (weights[n], -n)) for group in groups]
        ranked = tuple(w if n in heads else Fraction(0) for n, w in enumerate(weights))
        chosen = case.rule(ranked) & frozenset(heads)
        selected = selected | frozenset(
            n for group, head in zip(groups, heads, strict=True) if head in chosen for n in group
        )
    minimum = tuple(min(members[n][a] for n in selected) for a in range(case.A))
    theta = 1 - sum(minimum)
    withheld = max(1 - sum(members[n]) for n in selected)
    inflation = math.log1p(float(theta)) if theta < 1 else 0.0
    spent = case.factor is not None and ledger + inflation > math.log(case.factor)
    sure = forced or spent
    acts = tuple(Fraction(0) for _ in minimum) if sure else minimum
    asks = Fraction(1) if sure else theta
    node = Node(history, weights, selected, members, theta, withheld, acts, asks, ledger, [])
    if not left:
        return node
    after = ledger if sure else ledger + inflation
    said = [None if sum(row) == 0 else tuple(p / sum(row) for p in row) for row in members]
    laws = [demonstrator if row is None else row for row in said] + [demonstrator]
    every = range(case.N + 1)
    for a in range(case.A):
        if acts[a]:
            own = (_learned(weights, said, a) if case.broken == "own" else None) or weights
            grown = _grow(case, (*history, (a, "a")), own, after, False, groups, left - 1)
            node.children.append((tuple(acts[a] for _ in every), a, grown))
        share = asks / 2 if case.withdraws else asks
        share = Fraction(0) if a == case.silenced else share
        if not share or not any(law[a] for law in laws):
            continue
        updated = _learned(weights, said, a)
        if updated is None:
            continue
        split = _split(groups, said) if case.merges else groups
        grown = _grow(case, (*history, (a, "q")), updated, after, False, split, left - 1)
        node.children.append((tuple(share * law[a] for law in laws), a, grown))
    if case.withdraws and asks:
        # Nothing is done in this step, and nothing learned; the next one is a question for certain.
        grown = _grow(case, (*history, (-1, "w")), weights, after, True, groups, left - 1)
        node.children.append((tuple(asks / 2 for _ in every), -1, grown))
    if case.silenced is not None and asks:
        grown = _grow(case, (*history, (-1, "w")), weights, after, True, groups, left - 1)
        node.children.append((tuple(asks * law[case.silenced] for law in laws), -1, grown))
    return node


def _learned(weights: Row, said: list[Row | None], answer: int) -> Row | None:
    awake = sum((w for w, row in zip(weights, said, strict=True) if row is not None), Fraction(0))
    if not awake:
        return weights
    mixture = (
        sum((w * row[answer] for w, row in zip(weights, said, strict=True) if row is not None), Fraction(0)) / awake
    )
    if not mixture:
        return None
    new = [w * (mixture if row is None else row[answer]) for w, row in zip(weights, said, strict=True)]
    return tuple(w / sum(new) for w in new)


def _split(groups: list[set[int]], said: list[Row | None]) -> list[set[int]]:
    found: list[set[int]] = []
    for group in groups:
        rest = set(group)
        while rest:
            one = min(rest)
            same = {n for n in rest if said[n] is None or said[one] is None or said[n] == said[one]} | {one}
            found.append(same)
            rest -= same
    return found


class Seen(NamedTuple):
    """A node, and what comes from it on.

    Attributes:
        node: it.
        out: float [N], P(member n is out now or later) where member n is the one that answers.
        first_out: the same of the first member, where the demonstrator answers.
        cubed: mean of the sum of `cubed` from here on, the demonstrator answering.
        squared: mean of the sum of ``(theta - v)_+^2`` over the answered questions from here on.
    """

    node: Node
    out: np.ndarray
    first_out: float
    cubed: float
    squared: float


def seen(node: Node) -> list[Seen]:
    """Every node, this one first."""
    N = len(node.weights)
    out, first, total = np.zeros(N), 0.0, float(cubed(node)) if node.children else 0.0
    squares = float(answered(node) * excess(node) ** 2)
    found: list[Seen] = []
    for probs, _, child in node.children:
        below = seen(child)
        found += below
        out += np.array([float(p) for p in probs[:N]]) * below[0].out
        first += float(probs[N]) * below[0].first_out
        total += float(probs[N]) * below[0].cubed
        squares += float(probs[N]) * below[0].squared
    inside = np.array([n in node.selected for n in range(N)])
    return [Seen(node, np.where(inside, out, 1.0), first if inside[0] else 1.0, total, squares), *found]


def cubed(node: Node) -> Fraction:
    """``rho (theta - v)_+^2``, which T3 bounds: theta cubed where nothing is withheld and nothing forces a question."""
    return node.asks * excess(node) ** 2


def excess(node: Node) -> Fraction:
    """``(theta - v)_+``."""
    return max(Fraction(0), node.theta - node.withheld)


def answered(node: Node) -> Fraction:
    """Probability that there is a question at this step, and that the demonstrator answers it."""
    return sum((probs[-1] for probs, _, child in node.children if child.history[-1][1] == "q"), Fraction(0))


def worst_event(case: Case, node: Node, factor: float) -> float:
    """Largest ``P_imitator(B) - factor P_demonstrator(B)`` over the events B of what is done from this node on."""
    mine: dict[tuple[int, ...], float] = {}

    def follow(at: Node, done: tuple[int, ...], p: float) -> None:
        if not at.children:
            mine[done] = mine.get(done, 0.0) + p
        for probs, a, child in at.children:
            follow(child, (*done, a), p * float(probs[-1]))

    follow(node, (), 1.0)
    beyond = 0.0
    for done, p in mine.items():
        theirs, history = 1.0, node.history
        for a in done:
            theirs *= float(case.demonstrator(history)[a])
            history = (*history, (a, "a"))
        beyond += max(0.0, p - factor * theirs)
    return beyond
