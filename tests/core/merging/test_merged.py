"""Selection with near-duplicates ranked once, at one step: what it equals, and what it can never lose."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_imitation import AlphaThreshold, TopK
from consensus_imitation.core.selection import SelectionRule, merged

N = 7

#: Values far enough apart that no tie is decided by rounding.
weights_of_members = st.lists(
    st.one_of(st.integers(-60, 0).map(lambda v: v / 4), st.just(-math.inf)), min_size=N, max_size=N
).map(lambda values: np.array([0.0, *values[1:]] if max(values) == -math.inf else values, np.float32))

groups_of_members = st.lists(st.integers(0, N - 1), min_size=N, max_size=N).map(np.array)

RULES: dict[str, SelectionRule] = {
    "top-1": TopK(1),
    "top-3": TopK(3),
    "top-7": TopK(7),
    "alpha-0.1": AlphaThreshold(0.1),
    "alpha-0.02": AlphaThreshold(0.02),
    "union": TopK(2) | AlphaThreshold(0.1),
    "intersection": TopK(4) & AlphaThreshold(0.02),
}
KEEPS_T2 = [name for name in RULES if name.startswith("alpha") or name == "union"]


@jax.jit
def select(rule: Any, log_weights: jax.Array, groups: jax.Array) -> tuple[jax.Array, jax.Array]:
    """With the groups ranked once, and the rule alone."""
    return merged(rule, log_weights, groups[:, None] == groups[None, :]), rule(log_weights)


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=100, deadline=None)
@given(weights=weights_of_members, groups=groups_of_members)
def test_it_is_the_rule_on_the_heaviest_of_each_group(name: str, weights: np.ndarray, groups: np.ndarray) -> None:
    """An ensemble that consists of the representatives alone."""
    rule = RULES[name]
    if not isinstance(rule, TopK) or rule.tolerated_members > 0:
        labels = np.unique(groups)
        heaviest = np.array([weights[groups == label].max() for label in labels])
        # As many members as before, so that one compiled rule does for all: the rest are ruled out, and tie with nobody
        # that can be selected but by filling up.
        padded = np.concatenate([heaviest, np.full(N - len(labels), -np.inf)]).astype(np.float32)
        alone = np.asarray(select(rule, padded, np.arange(N))[1])[: len(labels)]
        expected = np.isin(groups, labels[alone])
        np.testing.assert_array_equal(select(rule, weights, groups)[0], expected)


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=100, deadline=None)
@given(weights=weights_of_members, groups=groups_of_members)
def test_the_set_only_grows_and_takes_groups_as_a_whole(name: str, weights: np.ndarray, groups: np.ndarray) -> None:
    together, alone = (np.asarray(mask) for mask in select(RULES[name], weights, groups))
    assert np.all(together >= alone)
    assert together.any()
    for label in np.unique(groups):
        assert len(set(together[groups == label].tolist())) == 1


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=50, deadline=None)
@given(weights=weights_of_members)
def test_without_duplicates_it_is_the_rule(name: str, weights: np.ndarray) -> None:
    together, alone = select(RULES[name], weights, np.arange(N))
    np.testing.assert_array_equal(together, alone)


@settings(max_examples=200, deadline=None)
@given(weights_of_members, groups_of_members, st.integers(2, N))
def test_quorum_of_groups(weights: np.ndarray, groups: np.ndarray, k: int) -> None:
    """k members from k groups (or everybody): whoever fills fewer than k groups leaves an honest one a veto."""
    together = np.asarray(select(TopK(jnp.int32(k)), weights, groups)[0])
    assert together.sum() >= k
    assert len(set(groups[together].tolist())) >= min(k, len(set(groups.tolist())))


@pytest.mark.parametrize("name", KEEPS_T2)
@settings(max_examples=100, deadline=None)
@given(weights=weights_of_members, groups=groups_of_members)
def test_who_is_left_out_is_light_among_the_representatives(name: str, weights: np.ndarray, groups: np.ndarray) -> None:
    """The event of T2, and the smaller one of the improved bound."""
    alpha = 0.02 if name == "alpha-0.02" else 0.1
    together = np.asarray(select(RULES[name], weights, groups)[0])
    mass = np.exp(weights.astype(float))
    heaviest = {label: mass[groups == label].max() for label in set(groups.tolist())}
    for member in np.flatnonzero(~together):
        assert mass[member] <= heaviest[groups[member]] < alpha * sum(heaviest.values())
    assert sum(heaviest.values()) <= mass.sum() * (1 + 1e-12)


def test_near_copies_cannot_fill_the_places_and_do_not_swell_the_sum() -> None:
    weights = np.log(np.array([0.2, 0.19, 0.19, 0.18, 0.1, 0.1, 0.04], np.float32))
    copies = np.array([0, 0, 0, 0, 1, 2, 3])
    together, alone = select(TopK(3), weights, copies)
    assert alone.tolist() == [True] * 3 + [False] * 4
    assert together.tolist() == [True] * 6 + [False]
    # 0.04 is less than 0.05 of the sum of all, and more than 0.05 of the representatives' sum 0.44.
    together, alone = select(AlphaThreshold(0.05), weights, copies)
    assert alone.tolist() == [True] * 6 + [False]
    assert bool(together.all())


def test_a_group_that_is_ruled_out_stays_a_group() -> None:
    weights = np.array([0.0] + [-np.inf] * 6, np.float32)
    together, _ = select(AlphaThreshold(0.1), weights, np.array([1, 0, 0, 1, 2, 2, 2]))
    assert together.tolist() == [True, False, False, True, False, False, False]
