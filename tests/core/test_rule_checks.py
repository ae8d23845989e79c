"""What rules give is checked: the library's own pass by construction, anybody else's fail closed or are refused."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from consensus_imitation import AlphaThreshold, ConsensusImitator, Learner, Merging, Minimum, TopK, deception, ensembles
from consensus_imitation.core import aggregation
from consensus_imitation.core._rule_checks import law_of
from consensus_imitation.core.aggregation import (
    MAP,
    ActionLaw,
    ConsensusSampling,
    EntropyGate,
    MajorityVote,
    MaxProbGate,
    MinimumGate,
    OrderStatistic,
    PointwiseMedian,
    PosteriorMixture,
    RandomQueries,
    UniformMixture,
    VarianceGate,
)
from consensus_imitation.core.selection import Intersection, Union
from consensus_imitation.core.state import AGGREGATION_FAULT, SELECTION_FAULT
from consensus_imitation.deception import AsksAtRandom
from consensus_imitation.errors import ConfigurationError

from .compiled import decide, decide_batch, init, observe
from .own_rules import NO_LAWS, NOBODY, PROBS, TABLES, Mine, Own, mine

N, A = 5, 4
EVERYONE = np.ones(N, bool)

OUR_RULES: list[Any] = [
    Minimum(),
    Minimum(rounds=2),
    Minimum(rounds=40),
    Minimum(threshold=0.3),
    PosteriorMixture(),
    UniformMixture(),
    MAP(),
    MajorityVote(),
    PointwiseMedian(),
    OrderStatistic(2),
    ConsensusSampling(2, 3),
    MaxProbGate(0.6),
    EntropyGate(0.7),
    VarianceGate(0.02),
    RandomQueries(0.3),
    MinimumGate(),
    MinimumGate(MAP()),
    AsksAtRandom(MAP(), 0.25),
]

_law_of = jax.jit(law_of)


def random_cases(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Members that withhold a little, much or everything, are unusable, or sum to a little more than one."""
    probs = np.stack([rng.dirichlet(np.full(A, rng.choice([0.05, 1.0, 50.0])), N) for _ in range(count)])
    alike = rng.random(count) < 0.3
    probs[alike] = probs[alike, :1]
    said = [1.0, 1 + 9e-5, 1 - 9e-6, 1 - 1.1e-5, 1 - 1e-3, 0.5, 1e-6, 1e-30, 0.0, np.nan, 3.0]
    probs *= rng.choice(said, (count, N, 1), p=[0.5, *[0.05] * 10])
    log_weights = np.where(rng.random((count, N)) < 0.1, -np.inf, -rng.exponential(5, (count, N)))
    selected = rng.random((count, N)) < 0.6
    chosen = np.arange(count), rng.integers(N, size=count)
    log_weights[chosen], selected[chosen] = 0.0, True
    with np.errstate(divide="ignore"):
        return np.log(probs).astype(np.float32), log_weights.astype(np.float32), selected


@jax.jit
def laws_of(
    rule: Any, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array
) -> tuple[ActionLaw, jax.Array]:
    def one(log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> tuple[ActionLaw, jax.Array]:
        return law_of(rule, aggregation.validate(log_probs)[0], log_weights, selected)

    return jax.vmap(one)(log_probs, log_weights, selected)


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize("rule", OUR_RULES, ids=lambda rule: rule.name)
def test_the_librarys_own_rules_always_give_a_law(rule: Any) -> None:
    cases = random_cases(np.random.default_rng(3), 3000)
    laws, faulty = laws_of(rule, *cases)
    assert not np.any(faulty), np.flatnonzero(faulty)[:5]
    np.testing.assert_allclose(laws.probs.sum(-1) + laws.query_prob, 1.0, atol=1e-4)
    assert np.sum(laws.probs.sum(-1) > 0) > 100
    assert np.sum(laws.query_prob > 0) > 20


# --- at run time ---


@pytest.mark.parametrize("kind", NO_LAWS)
def test_what_is_no_law_is_a_query_and_the_rules_fault(kind: str, key: jax.Array) -> None:
    learner = Learner(TABLES, TopK(2), mine(kind))
    state = init(learner, key)
    sound = decide(learner, state, 0)
    assert (int(sound.rule_fault), round(float(sound.min_probs.sum()), 5)) == (0, 1.0)
    for draw in jax.random.split(key, 20):
        decision = decide(learner, state.replace(stream=state.stream.replace(key=draw)), 1)
        assert int(decision.rule_fault) == AGGREGATION_FAULT
        assert (bool(decision.queried), float(decision.query_prob), float(decision.log_inflation)) == (True, 1.0, 0.0)
        assert not np.any(decision.min_probs)
        assert not np.any(decision.invalid)
    # The answer is learned from like any other, and the ledger stays as it is.
    after, info = observe(learner, state, 1, decision, 2)
    assert bool(info.explained)
    assert (int(after.stream.queries), float(after.stream.ledger)) == (1, 0.0)


def test_the_closed_law_has_no_room_beyond_rounding() -> None:
    """Up to the tolerance that members have, too; and beyond it, however little."""

    def rule(off: float) -> Any:
        return lambda log_probs, log_weights, selected: ActionLaw(jnp.full(A, (1 + off) / A), jnp.float32(0))

    arguments = (jnp.zeros((N, A)), jnp.zeros(N), jnp.asarray(EVERYONE))
    for off in (0.0, 5e-5, -5e-5):
        assert not bool(law_of(rule(off), *arguments)[1])
    for off in (3e-4, -3e-4):
        assert bool(law_of(rule(off), *arguments)[1])


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("rule", "merging", "law"),
    [
        (NOBODY, None, Minimum()),
        (NOBODY, None, MAP()),
        (NOBODY, None, PointwiseMedian()),
        (NOBODY, None, mine()),
        (NOBODY, Merging(), Minimum()),
        (TopK(2) & NOBODY, None, Minimum()),
        (NOBODY & TopK(2), None, Minimum()),
    ],
    ids=["minimum", "map", "median", "mine", "merging", "top & own", "own & top"],
)
def test_a_selection_of_nobody_is_a_query_and_the_selections_fault(
    rule: Any, merging: Any, law: Any, key: jax.Array
) -> None:
    learner = Learner(TABLES, rule, law, merging=merging)
    decision = decide(learner, init(learner, key), 1)
    assert int(decision.rule_fault) == SELECTION_FAULT
    assert (bool(decision.queried), float(decision.query_prob)) == (True, 1.0)
    assert not np.any(decision.min_probs)
    assert not np.any(decision.selected)
    assert not np.any(np.isnan(decision.dissent))


def test_only_the_rows_of_a_batch_that_it_fails_in_are_asked_about(key: jax.Array) -> None:
    learner = Learner(TABLES, TopK(2), mine())
    decisions = decide_batch(learner, init(learner, key, 4), jnp.array([0, 1, 1, 0]))
    assert decisions.rule_fault.tolist() == [0, 2, 2, 0]
    assert decisions.queried.tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    "make",
    [MaxProbGate, EntropyGate, VarianceGate, RandomQueries, lambda _, base: MinimumGate(base)],
    ids=["max-prob", "entropy", "variance", "random", "minimum"],
)
@pytest.mark.parametrize("kind", NO_LAWS)
def test_a_gate_makes_no_law_of_a_base_that_gives_none(make: Any, kind: str) -> None:
    """Scaling to a rate, and asking for certain, would both hide it."""
    arguments = (jnp.log(jnp.asarray(PROBS, jnp.float32)), jnp.zeros(3), jnp.ones(3, bool))
    for threshold in (0.0, 0.5, 1.0):
        rule = make(threshold, base=mine(kind))
        assert bool(_law_of(rule, arguments[0][:, 1], *arguments[1:])[1])
        assert not bool(_law_of(rule, arguments[0][:, 0], *arguments[1:])[1])


# --- refused at once ---


def returning(value: Callable[[Any], Any]) -> Any:
    """An aggregation rule that returns what ``value`` makes of its log_probs."""

    @jax.tree_util.register_static
    @dataclass(frozen=True)
    class Returning:
        name: str = "returning"

        def check(self, num_members: int) -> None:
            pass

        def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> Any:
            return value(log_probs)

    return Returning()


def selecting(value: Callable[[Any], Any]) -> Any:
    """The same of a selection rule and its log_weights."""

    class Selecting(Own):
        def __call__(self, log_weights: jax.Array) -> Any:
            return value(log_weights)

    return Selecting()


class NoTree:
    """All that a rule needs but to be a pytree."""

    name = "no tree"
    tolerated_members, largest_set, smallest_share = 0, 1.0, 0.0

    def __call__(self, *arguments: Any) -> Any:
        return Minimum()(*arguments) if len(arguments) == 3 else TopK(1)(*arguments)

    def margins(self, log_weights: jax.Array) -> jax.Array:
        return log_weights

    def exclusion_bound(self, prior_weight: float, num_members: int) -> float:
        return 1.0

    def check(self, num_members: int) -> None:
        pass


class WrongMargins(Own):
    def margins(self, log_weights: jax.Array) -> jax.Array:
        return log_weights[:1]


class Boasting(Own):
    def exclusion_bound(self, prior_weight: float, num_members: int) -> float:
        return -0.5


class OfOldTimes(Own):
    def exclusion_bound(self, prior_weight: float) -> float:  # type: ignore[override]
        return 1.0


class TolerantOfAll(Own):
    @property
    def tolerated_members(self) -> int:
        return 3


BAD_LAWS: dict[str, tuple[Any, str]] = {
    "an action too many": (
        returning(lambda p: ActionLaw(jnp.zeros(4), jnp.float32(1))),
        r"for 3 actions .* rule's probs must be floats of shape \(3,\);.*Returning.*float32 of shape \(4,\)",
    ),
    "one number": (returning(lambda p: ActionLaw(jnp.float32(0), jnp.float32(1))), r"probs must be floats of shape"),
    "two query_probs": (returning(lambda p: ActionLaw(p[0], jnp.zeros(2))), r"query_prob must be floats of shape \(\)"),
    "integers": (returning(lambda p: ActionLaw(jnp.zeros(3, int), jnp.float32(1))), "probs must be floats"),
    "a list": (returning(lambda p: ActionLaw([0.5, 0.3, 0.2], jnp.float32(0))), r"returned \[0.5, 0.3, 0.2\]"),
    "inflation of each action": (returning(lambda p: ActionLaw(p[0], jnp.float32(0), p[0])), "log_inflation must be"),
    "a bare array": (
        returning(lambda p: p[0]),
        r"must return an ActionLaw\(probs, query_prob\).*float32 of shape \(3,\)",
    ),
    "a pair": (returning(lambda p: (p[0], jnp.float32(0))), r"must return an ActionLaw"),
    "nothing": (returning(lambda p: None), "must return an ActionLaw.*None"),
    "an error": (
        returning(lambda p: 1 / 0),
        r"aggregation rule.* cannot be traced by JAX for float32 \[3, 3\].*ZeroDiv",
    ),
    "a question of a value": (
        returning(lambda p: ActionLaw(p[0], jnp.float32(0)) if p[0, 0] > 0 else None),
        "cannot be traced by JAX",
    ),
    "no pytree": (NoTree(), "not a pytree of numbers.*flax.struct.PyTreeNode, or a frozen dataclass"),
    "a class": (Mine, r"aggregation must be a rule, such as Minimum\(\); got the class Mine itself"),
    "a function": (lambda log_probs, log_weights, selected: None, "which lacks check, name"),
    "a gate's base": (RandomQueries(0.5, base=returning(lambda p: p[0])), "must return an ActionLaw"),
    "a gate's base without a name": (
        RandomQueries(0.5, base=max),
        "base must be an aggregation rule.*lacks check, name",
    ),
}

BAD_MASKS: dict[str, tuple[Any, str]] = {
    "numbers": (
        selecting(lambda w: w),
        r"must return a mask, bool \[N\] = \(3,\); .*Selecting.*float32 of shape \(3,\)",
    ),
    "indices": (selecting(lambda w: jnp.argsort(w)[:2]), "must return a mask.*int32 of shape"),
    "too short": (selecting(lambda w: w[:2] > -1), r"bool of shape \(2,\)"),
    "one for all": (selecting(lambda w: jnp.array(True)), r"bool of shape \(\)"),
    "one for all, in a union": (TopK(2) | selecting(lambda w: jnp.array(True)), r"bool of shape \(\)"),
    "one for all, in an intersection": (selecting(lambda w: jnp.array(True)) & TopK(2), r"bool of shape \(\)"),
    "a list": (selecting(lambda w: [True] * 3), r"returned \[True, True, True\]"),
    "an error": (selecting(lambda w: 1 / 0), "selection rule.* cannot be traced by JAX"),
    "a question of a value": (selecting(lambda w: w > 0 if w[0] > 0 else w < 0), "cannot be traced by JAX"),
    "wrong margins": (WrongMargins(), r"margins of a selection rule must be floats \[N\] = \(3,\)"),
    "a bound below 0": (Boasting(), r"exclusion_bound of a selection rule must be a number in \[0, 1\].*got -0.5"),
    "a bound of other arguments": (OfOldTimes(), "exclusion_bound.* cannot be asked for: TypeError"),
    "tolerates everybody": (TolerantOfAll(), r"tolerated_members of a selection rule must be an integer in \[0, 2\]"),
    "no pytree": (NoTree(), "not a pytree of numbers"),
    "no pytree, in a union": (TopK(2) | NoTree(), "not a pytree of numbers"),
    "a class": (Own, r"got the class Own itself"),
    "a function": (
        lambda log_weights: log_weights > 0,
        "lacks check, exclusion_bound, largest_set, margins, smallest_share, tolerated_members",
    ),
}


def resumed(rules: dict[str, Any]) -> Any:
    run_dir = Path(tempfile.mkdtemp()) / "run"
    ConsensusImitator(TABLES, selection=TopK(2), journal=run_dir, seed=0).close()
    return ConsensusImitator.resume(run_dir, TABLES, **rules)


def swapped(rules: dict[str, Any]) -> None:
    ConsensusImitator(TABLES, selection=TopK(2), seed=0).aggregation = rules["aggregation"]


def state() -> Any:
    return ConsensusImitator(TABLES, selection=TopK(2), seed=0).state


def learner(rules: dict[str, Any]) -> Learner:
    return Learner(TABLES, **{"selection": TopK(2), **rules})


#: Every way in for rules. (`SamplingImitator` takes a selection only: see any_action; the suite below.)
WAYS_IN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "construction": lambda rules: ConsensusImitator(TABLES, seed=0, **{"selection": TopK(2), **rules}),
    "batch": lambda rules: ConsensusImitator(TABLES, seed=0, num_envs=2, **{"selection": TopK(2), **rules}),
    "from_state": lambda rules: ConsensusImitator.from_state(state(), TABLES, **{"selection": TopK(2), **rules}),
    "resume": resumed,
    "swapped in": swapped,
    "core": lambda rules: learner(rules).init(jax.random.key(0)),
    "core, without init": lambda rules: learner(rules).decide(state(), 0),
}


@pytest.mark.parametrize("kind", BAD_LAWS)
def test_an_aggregation_rule_that_returns_something_else_is_refused(kind: str) -> None:
    rule, said = BAD_LAWS[kind]
    with pytest.raises(ConfigurationError, match=said):
        WAYS_IN["construction"]({"aggregation": rule})


@pytest.mark.parametrize("kind", BAD_MASKS)
def test_a_selection_rule_that_returns_something_else_is_refused(kind: str) -> None:
    rule, said = BAD_MASKS[kind]
    with pytest.raises(ConfigurationError, match=said):
        WAYS_IN["construction"]({"selection": rule})


@pytest.mark.parametrize("way", WAYS_IN)
def test_a_rule_is_refused_at_every_way_in(way: str) -> None:
    rule, said = BAD_LAWS["an action too many"]
    with pytest.raises(ConfigurationError, match=said):
        WAYS_IN[way]({"aggregation": rule})
    if way != "swapped in":  # the selection cannot be
        rule, said = BAD_MASKS["numbers"]
        with pytest.raises(ConfigurationError, match=said):
            WAYS_IN[way]({"selection": rule})


def test_the_suite_refuses_such_a_contestant() -> None:
    def enter(selection: Any, law: Any) -> None:
        deception.run("time-bomb", [deception.Contestant("mine", selection, law)], num_seeds=8)

    with pytest.raises(ConfigurationError, match="must return an ActionLaw"):
        enter(TopK(3), BAD_LAWS["a bare array"][0])
    with pytest.raises(ConfigurationError, match="must return a mask"):
        enter(BAD_MASKS["a list"][0], Minimum())


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (7, 2)])
def test_rules_are_tried_at_the_size_in_use(shape: tuple[int, int]) -> None:
    """A rule for three actions is fine with three actions, and nowhere else; the library's own fit everywhere."""
    members = ensembles.tabular(np.full((shape[0], 1, shape[1]), 1 / shape[1]))
    for rule in OUR_RULES:
        if getattr(rule, "s", 1) <= shape[0]:
            ConsensusImitator(members, selection=TopK(1) | AlphaThreshold(0.1), aggregation=rule, seed=0)
    for_three = returning(lambda p: ActionLaw(jnp.zeros(3), jnp.float32(1)))
    with pytest.raises(ConfigurationError, match=f"for {shape[1]} actions"):
        ConsensusImitator(members, selection=TopK(1), aggregation=for_three, seed=0)


def test_the_same_kind_of_rule_is_traced_once() -> None:
    calls = []

    class Counted(struct.PyTreeNode):
        rate: Any
        name: str = struct.field(pytree_node=False, default="counted")

        def check(self, num_members: int) -> None:
            pass

        def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
            calls.append(1)
            return ActionLaw(jnp.full(3, (1 - self.rate) / 3), jnp.float32(self.rate))

    for rate in (0.1, 0.2, 0.3):
        ConsensusImitator(TABLES, selection=TopK(2), aggregation=Counted(rate), seed=0)
    assert len(calls) == 1


# --- joined with the library's own ---


@pytest.mark.slow
def test_rules_of_ones_own_join_from_both_sides() -> None:
    own, top = Own(0.3), TopK(2)
    assert (top | own) == Union(rules=(top, own))
    assert (own | top) == Union(rules=(own, top))
    assert (top & own) == Intersection(rules=(top, own))
    assert (own & top) == Intersection(rules=(own, top))
    weights = jnp.log(jnp.array([0.6, 0.35, 0.03, 0.02]))
    for rule, expected in (
        (AlphaThreshold(0.9) | own, [True, True, False, False]),
        (own | AlphaThreshold(0.9), [True, True, False, False]),
        (TopK(3) & own, [True, True, False, False]),
        (own & TopK(3), [True, True, False, False]),
        (own | TopK(3) & AlphaThreshold(0.001), [True, True, True, False]),
    ):
        assert rule(weights).tolist() == expected
        imitator = ConsensusImitator(TABLES, lambda observation: 0, selection=rule, seed=0)
        assert imitator.act(0).selected.any()


class Half:
    """A rule that was begun."""

    tolerated_members = 0

    def __call__(self, log_weights: jax.Array) -> jax.Array:
        return log_weights > 0

    def check(self, num_members: int) -> None:
        pass


@pytest.mark.parametrize(
    "join",
    [
        lambda rule: TopK(2) | rule,
        lambda rule: rule | TopK(2),
        lambda rule: TopK(2) & rule,
        lambda rule: rule & TopK(2),
        lambda rule: rule | (TopK(2) | TopK(1)),
    ],
    ids=["top | own", "own | top", "top & own", "own & top", "own | union"],
)
def test_a_refusal_names_what_is_missing(join: Callable[[Any], Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"lacks exclusion_bound, largest_set, margins, smallest_share$"):
        join(Half())
    with pytest.raises(ConfigurationError, match="lacks __call__, check, "):
        join(3)
    # Of two classes Python itself knows a union, of types.
    with pytest.raises(ConfigurationError, match="lacks an instance of it"):
        join(Own)
