"""The library against exact enumeration: of every history of random trees the probability, posterior and law."""

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, Learner, TopK
from consensus_imitation.core import posterior
from consensus_imitation.core.selection import SelectionRule

from . import oracle
from .histories import HistoryTables, level, start

DEPTH = 3
TREES_PER_SHAPE = 42
SHAPES = [(2, 2), (2, 4), (3, 2), (3, 3), (3, 5)]
#: Probabilities are float32 sums of up to 3 logarithms and the posterior one softmax of them: about 20 ulps.
TOLERANCE = 1e-5
#: Histories that come this close to a selection boundary without hitting it are left out (and counted).
NEAR = 1e-4


class Case(NamedTuple):
    """One rule in the library's words and in the oracle's."""

    library: SelectionRule
    oracle: oracle.Rule
    alpha: Fraction
    breaks_ties: bool = False


def topk_case(k: int, alpha: Fraction) -> Case:
    return Case(TopK(k), oracle.top_k(k), Fraction(1), breaks_ties=k == 1)


def alpha_case(k: int, alpha: Fraction) -> Case:
    return Case(AlphaThreshold(float(alpha)), oracle.alpha_threshold(alpha), alpha)


def union_case(k: int, alpha: Fraction) -> Case:
    rule = oracle.union(oracle.top_k(k), oracle.alpha_threshold(alpha))
    return Case(TopK(k) | AlphaThreshold(float(alpha)), rule, alpha)


def intersection_case(k: int, alpha: Fraction) -> Case:
    rule = oracle.intersection(oracle.top_k(k), oracle.alpha_threshold(alpha))
    return Case(TopK(k) & AlphaThreshold(float(alpha)), rule, alpha, breaks_ties=k == 1)


RULES: dict[str, Callable[[int, Fraction], Case]] = {
    "top-k": topk_case,
    "alpha": alpha_case,
    "union": union_case,
    "intersection": intersection_case,
}


def parameters(index: int, num_members: int) -> tuple[int, Fraction]:
    """k and alpha of the index-th tree; alphas include some that exact weights can hit."""
    alphas = [Fraction(p, q) for p, q in ((1, 2), (1, 3), (1, 5), (1, 10), (1, 100), (3, 4), (1, 1))]
    return 1 + index % num_members, alphas[index % len(alphas)]


def random_tree(rng: np.random.Generator, num_actions: int, num_members: int) -> oracle.Tree:
    """Members with multiples of 1/8, zeros among them; identical members, tied and zero priors now and then.

    In a third of the trees members withhold the half, three quarters or all of their probability at some nodes.
    """

    def rows(count: int) -> np.ndarray:
        cuts = np.sort(rng.integers(0, 9, (count, num_actions - 1)), axis=-1)
        edges = np.concatenate([np.zeros((count, 1), int), cuts, np.full((count, 1), 8)], axis=-1)
        return np.diff(edges, axis=-1)

    nodes = oracle.num_nodes(num_actions, DEPTH)
    eighths = rows(nodes * num_members).reshape(nodes, num_members, num_actions)
    if rng.random() < 0.4:  # an exact copy
        eighths[:, rng.integers(num_members)] = eighths[:, rng.integers(num_members)]
    if rng.random() < 0.3:  # a copy that differs at one node only
        eighths[1:, -1] = eighths[1:, 0]
    prior = [np.ones(num_members, int), rng.integers(0, 4, num_members), 2 ** np.arange(num_members)][rng.integers(3)]
    if prior.sum() == 0:
        prior[0] = 1
    demonstrator = eighths[:, rng.integers(num_members)] if rng.random() < 0.5 else rows(nodes)
    quarters = np.full((nodes, num_members), 4)
    if rng.random() < 1 / 3:
        quarters = rng.choice([4, 2, 1, 0], (nodes, num_members), p=[0.55, 0.2, 0.15, 0.1])
    exact = [
        [[Fraction(int(p) * int(q), 32) for p in row] for row, q in zip(node, said, strict=True)]
        for node, said in zip(eighths, quarters, strict=True)
    ]
    return oracle.Tree(
        members=exact,
        demonstrator=[[Fraction(int(p), 8) for p in row] for row in demonstrator],
        prior=tuple(Fraction(int(w)) for w in prior),
        depth=DEPTH,
    )


@cache
def trees(num_actions: int, num_members: int) -> tuple[oracle.Tree, ...]:
    rng = np.random.default_rng([7, num_actions, num_members])
    return tuple(random_tree(rng, num_actions, num_members) for _ in range(TREES_PER_SHAPE))


def float_array(values: object) -> np.ndarray:
    return np.vectorize(float)(np.array(values, dtype=object))


class Enumeration(NamedTuple):
    """The library's numbers for every tree [t] and history [h], in node order (length 0, 1, ..., DEPTH)."""

    reached: np.ndarray  # [t, h]
    weights: np.ndarray  # [t, h, N]
    min_probs: np.ndarray  # [t, inner h, A]
    query_prob: np.ndarray  # [t, inner h]


_levels = jax.jit(jax.vmap(level))
_starts = jax.jit(jax.vmap(start))
_weights = jax.jit(jax.vmap(jax.vmap(posterior.weights)))


def library_enumeration(
    batch: tuple[oracle.Tree, ...], rules: list[SelectionRule], masks: np.ndarray | None = None
) -> Enumeration:
    """All histories of all trees, through `Learner.init`, `decide` and `observe` only; ``masks`` are [t, nodes, A]."""
    A = batch[0].num_actions
    with np.errstate(divide="ignore"):
        table = np.log([float_array(tree.members) for tree in batch]).astype(np.float32)
    demonstrator = np.array([float_array(tree.demonstrator) for tree in batch])
    prior = np.array([[float(w / sum(tree.prior)) for w in tree.prior] for tree in batch], np.float32)
    stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *rules)
    learner = Learner(HistoryTables(table=jnp.asarray(table), prior=jnp.asarray(prior)), stacked)

    width = (2 * A) ** (DEPTH - 1)  # every level is padded to the widest one, so that one program serves all
    states = _starts(learner.replace(selection=TopK(jnp.ones(len(batch), jnp.int32))))  # it does not depend on the rule
    reached = [np.ones((len(batch), 1))]
    weights, min_probs, query_prob = [], [], []
    first = 0
    for _ in range(DEPTH):
        count = reached[-1].shape[1]
        padded = jax.tree.map(lambda leaf: leaf[:, np.minimum(np.arange(width), leaf.shape[1] - 1)], states)
        decisions, found, children = _levels(learner, padded, masks)
        weights.append(np.asarray(found)[:, :count])
        min_probs.append(np.asarray(decisions.min_probs, np.float64)[:, :count])
        query_prob.append(np.asarray(decisions.query_prob, np.float64)[:, :count])
        answers = query_prob[-1][..., None] * demonstrator[:, first : first + count]
        steps = np.stack([min_probs[-1], answers], axis=-1).reshape(len(batch), count, 2 * A)
        reached.append((reached[-1][..., None] * steps).reshape(len(batch), -1))
        states = jax.tree.map(lambda leaf, count=count: leaf[:, : count * 2 * A], children)
        first += count
    weights.append(np.asarray(_weights(states.posterior)))
    return Enumeration(*(np.concatenate(part, axis=1) for part in (reached, weights, min_probs, query_prob)))


def histories(num_actions: int) -> list[oracle.History]:
    return [history for depth in range(DEPTH + 1) for history in oracle.nodes_at(num_actions, depth)]


class Comparison(NamedTuple):
    """Largest deviations over all trees of a shape, and how many histories were compared and left out."""

    reached: float
    weights: float
    law: float
    compared: int
    near: int
    rounded_ties: int
    worst: str


def is_rounded_tie(history: oracle.History, node: oracle.Node) -> bool:
    """Whether the heaviest members are tied by answers, so that float32 sums of logarithms have to agree."""
    return any(queried for _, queried in history) and node.weights.count(max(node.weights)) > 1


def compare(
    shape: tuple[int, int],
    rule: str,
    exact: Callable[[int], dict[oracle.History, oracle.Node]],
    rounded_ties: bool = False,
    seen: Enumeration | None = None,
) -> Comparison:
    """The library's enumeration against an oracle's, tree by tree.

    Args:
        shape: A and N.
        rule: a key of `RULES`.
        exact: from the tree's index to the oracle's nodes.
        rounded_ties: compare only the histories at which ``TopK(1)`` has to break such a tie; otherwise all the others.
        seen: the library's enumeration; None for that of the trees as they are.
    """
    A, N = shape
    batch = trees(A, N)
    cases = [RULES[rule](*parameters(t, N)) for t in range(len(batch))]
    seen = library_enumeration(batch, [case.library for case in cases]) if seen is None else seen
    order = histories(A)
    inner = oracle.num_nodes(A, DEPTH)
    worst, largest = "", 0.0
    errors, compared, left_out, ties = np.zeros(3), 0, 0, 0
    for t, case in enumerate(cases):
        nodes = exact(t)
        near: set[oracle.History] = set()
        tied: set[oracle.History] = set()
        for h, history in enumerate(order):
            node = nodes[history]
            if history[:-1] in near or (h < inner and oracle.margin(node.weights, case.alpha) < NEAR):
                near.add(history)
                left_out += 1
                continue
            if history[:-1] in tied or (h < inner and case.breaks_ties and is_rounded_tie(history, node)):
                tied.add(history)
                ties += 1
            if (history in tied) != rounded_ties:
                continue
            compared += 1
            here = [abs(seen.reached[t, h] - float(node.reached))]
            here.append(max(abs(a - float(b)) for a, b in zip(seen.weights[t, h], node.weights, strict=True)))
            here.append(abs(seen.query_prob[t, h] - float(node.theta)) if h < inner else 0.0)
            if h < inner:
                moves = zip(seen.min_probs[t, h], node.min_probs, strict=True)
                here[2] = max(here[2], *(abs(a - float(b)) for a, b in moves))
            if max(here) > largest:
                largest = max(here)
                worst = f"tree {t}, history {history}, rule {case.library}, exact {node}"
            errors = np.maximum(errors, here)
    return Comparison(*errors.tolist(), compared, left_out, ties, worst)


def shape_id(shape: tuple[int, int]) -> str:
    return f"A{shape[0]}-N{shape[1]}"


#: The two basic rules on every shape, union and intersection (whose programs take as long to compile) on half of them.
PAIRS = [
    pytest.param(
        shape, rule, id=f"{shape_id(shape)}-{rule}", marks=[] if rule in ("top-k", "alpha") else [pytest.mark.slow]
    )
    for shape in SHAPES
    for rule in RULES
    if rule in ("top-k", "alpha") or shape[1] % 2 == (rule == "union")
]


@pytest.mark.quick_cases(4)
@pytest.mark.parametrize(("shape", "rule"), PAIRS)
def test_every_history_agrees_with_exact_enumeration(shape: tuple[int, int], rule: str) -> None:
    def exact(t: int) -> dict[oracle.History, oracle.Node]:
        return oracle.enumerate_tree(trees(*shape)[t], RULES[rule](*parameters(t, shape[1])).oracle)

    found = compare(shape, rule, exact)
    total = TREES_PER_SHAPE * len(histories(shape[0]))
    assert found.near <= 0.005 * total
    assert found.compared >= 0.9 * total
    assert max(found.reached, found.weights, found.law) < TOLERANCE, found


def test_a_tie_made_by_answers_goes_to_the_first_of_the_tied() -> None:
    shape = (2, 4)

    def exact(t: int) -> dict[oracle.History, oracle.Node]:
        return oracle.enumerate_tree(trees(*shape)[t], RULES["top-k"](*parameters(t, shape[1])).oracle)

    found = compare(shape, "top-k", exact, rounded_ties=True)
    assert found.compared > 5
    assert found.law < TOLERANCE, found


def test_enough_trees_with_enough_ties_and_zeros() -> None:
    """What makes the comparison above worth something."""
    everything = [tree for shape in SHAPES for tree in trees(*shape)]
    assert len(everything) >= 200
    tied = sum(len(set(tree.prior)) < tree.num_members for tree in everything)
    zero_prior = sum(0 in tree.prior for tree in everything)
    zero_probability = sum(any(0 in row for node in tree.members for row in node) for tree in everything)

    def says(row: list[Fraction], own: list[Fraction]) -> bool:
        return all(sum(row) * p == said for p, said in zip(own, row, strict=True))

    member = sum(
        any(
            all(says(node[n], own) for node, own in zip(tree.members, tree.demonstrator, strict=True)) for n in range(N)
        )
        for (_, N) in SHAPES
        for tree in trees(_, N)
    )
    withheld = sum(any(0 < sum(row) < 1 for node in tree.members for row in node) for tree in everything)
    silent = sum(any(sum(row) == 0 for node in tree.members for row in node) for tree in everything)
    assert min(tied, zero_probability, member, len(everything) - member) > 80
    assert min(zero_prior, withheld, silent) > 30


def test_the_exact_law_sums_to_one() -> None:
    tree = trees(3, 4)[0]
    nodes = oracle.enumerate_tree(tree, oracle.top_k(3))
    assert sum(node.reached for history, node in nodes.items() if len(history) == DEPTH) == 1


FAULTS: dict[str, Callable[[oracle.Tree, int, Fraction], dict[oracle.History, oracle.Node]]] = {
    "mean-for-minimum": lambda tree, k, alpha: oracle.enumerate_tree(
        tree, oracle.top_k(k), oracle.Faults(combine="mean")
    ),
    "renormalised-minimum": lambda tree, k, alpha: oracle.enumerate_tree(
        tree, oracle.top_k(k), oracle.Faults(combine="renormalised")
    ),
    "learns-from-own-actions": lambda tree, k, alpha: oracle.enumerate_tree(
        tree, oracle.top_k(k), oracle.Faults(learn_from_own=True)
    ),
    "acts-on-alarm": lambda tree, k, alpha: oracle.enumerate_tree(
        tree, oracle.top_k(k), oracle.Faults(act_on_alarm=True)
    ),
    "withheld-counts-against": lambda tree, k, alpha: oracle.enumerate_tree(
        tree, oracle.top_k(k), oracle.Faults(count_withheld=True)
    ),
    "silence-counts-against": lambda tree, k, alpha: oracle.enumerate_tree(
        tree, oracle.top_k(k), oracle.Faults(drop_silent=True)
    ),
    "one-member-short": lambda tree, k, alpha: oracle.enumerate_tree(tree, oracle.top_k(k, short_by=1)),
}


@pytest.mark.parametrize("fault", [*FAULTS, "alpha-without-itself"])
def test_a_wrong_oracle_is_told_apart(fault: str) -> None:
    """The comparison is sharp: with any of these mistakes on one side it fails by far more than the tolerance."""
    shape = (3, 2) if fault == "acts-on-alarm" else (2, 4)  # few members: now and then none explains an answer

    def exact(t: int) -> dict[oracle.History, oracle.Node]:
        k, alpha = parameters(t, shape[1])
        if fault == "alpha-without-itself":
            return oracle.enumerate_tree(trees(*shape)[t], oracle.alpha_threshold(alpha, off_by_one=True))
        return FAULTS[fault](trees(*shape)[t], k, alpha)

    found = compare(shape, "alpha" if fault == "alpha-without-itself" else "top-k", exact)
    assert max(found.reached, found.weights, found.law) > 0.05, found
