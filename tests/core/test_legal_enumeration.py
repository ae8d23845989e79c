"""Masked predictions against exact enumeration: at every history of random trees, with some actions forbidden."""

from functools import cache

import numpy as np
import pytest

from . import oracle
from .test_enumeration import (
    DEPTH,
    RULES,
    TOLERANCE,
    Enumeration,
    compare,
    histories,
    library_enumeration,
    parameters,
    trees,
)

SHAPE = (3, 3)


@cache
def legal() -> np.ndarray:
    """What is legal: bool [t, nodes, A], never nothing, half of it on average."""
    A, N = SHAPE
    shape = (len(trees(A, N)), oracle.num_nodes(A, DEPTH), A)
    rng = np.random.default_rng(11)
    masks = rng.random(shape) < 0.5
    masks[(*np.indices(shape[:-1]), rng.integers(0, A, shape[:-1]))] = True
    return masks


@cache
def masked_trees(fault: str = "") -> tuple[oracle.Tree, ...]:
    return tuple(oracle.masked(tree, own.tolist(), fault) for tree, own in zip(trees(*SHAPE), legal(), strict=True))


@cache
def enumeration(rule: str) -> Enumeration:
    """What the library says of the raw members, with the mask; the demonstrator keeps to it."""
    batch = tuple(
        oracle.Tree(raw.members, own.demonstrator, raw.prior, raw.depth)
        for raw, own in zip(trees(*SHAPE), masked_trees(), strict=True)
    )
    cases = [RULES[rule](*parameters(t, SHAPE[1])) for t in range(len(batch))]
    return library_enumeration(batch, [case.library for case in cases], legal())


def nodes(t: int, rule: str, fault: str = "", combine: str = "minimum") -> dict[oracle.History, oracle.Node]:
    own = RULES[rule](*parameters(t, SHAPE[1])).oracle
    return oracle.enumerate_tree(masked_trees(fault)[t], own, oracle.Faults(combine=combine))


@pytest.mark.parametrize("rule", ["top-k", "alpha"])
def test_every_history_agrees_with_exact_enumeration(rule: str) -> None:
    found = compare(SHAPE, rule, lambda t: nodes(t, rule), seen=enumeration(rule))
    assert found.compared >= 0.9 * len(trees(*SHAPE)) * len(histories(SHAPE[0]))
    assert max(found.reached, found.weights, found.law) < TOLERANCE, found


def test_no_member_that_has_a_say_is_exceeded_and_nothing_illegal_happens() -> None:
    """T1 for masked predictions, against the members' exact conditional laws."""
    seen, order = enumeration("top-k"), histories(SHAPE[0])
    binding = 0
    for t, tree in enumerate(masked_trees()):
        exact = nodes(t, "top-k")
        for h, history in enumerate(order[: oracle.num_nodes(SHAPE[0], DEPTH)]):
            own = seen.min_probs[t, h]
            assert not own[~legal()[t, h]].any()
            for n in exact[history].selected:
                bound = np.array([float(p) for p in tree.members[h][n]])
                assert (own <= bound + TOLERANCE).all()
                binding += bool((own.sum() > 0) & (np.abs(own - bound) < TOLERANCE).any())
    assert binding > 1000


@pytest.mark.parametrize(
    ("fault", "combine"),
    [("zeroed", "renormalised"), ("zeroed", "minimum"), ("withheld-renormalised", "minimum")],
    ids=["mask-after-the-minimum", "mask-only-forbids", "withheld-renormalised"],
)
def test_a_wrong_oracle_is_told_apart(fault: str, combine: str) -> None:
    found = compare(SHAPE, "top-k", lambda t: nodes(t, "top-k", fault, combine), seen=enumeration("top-k"))
    assert max(found.reached, found.weights, found.law) > 0.05, found


def test_a_mask_after_the_minimum_lets_an_action_exceed_an_honest_member() -> None:
    """Why the order matters: one member is nearly sure of what is illegal, and the minimum of the rest is lopsided."""
    rows = [[oracle.Fraction(p, 20) for p in row] for row in ([12, 6, 2], [2, 2, 16])]
    tree = oracle.Tree(
        [rows], [[oracle.Fraction(1), oracle.Fraction(0), oracle.Fraction(0)]], (oracle.Fraction(1),) * 2, 1
    )  # type: ignore[arg-type]
    allowed = [[True, True, False]]
    before = oracle.enumerate_tree(oracle.masked(tree, allowed), oracle.top_k(2))[()].min_probs
    after = oracle.enumerate_tree(
        oracle.masked(tree, allowed, "zeroed"), oracle.top_k(2), oracle.Faults("renormalised")
    )
    honest = oracle.masked(tree, allowed).members[0][0]
    assert honest[1] == oracle.Fraction(1, 3)
    assert before[1] <= honest[1] < after[()].min_probs[1]
