"""No compiled function takes an object of one class for one of another."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization, struct

import consensus_imitation
from consensus_imitation import AlphaThreshold, Learner, TopK, ensembles, envs
from consensus_imitation.core import _tree
from consensus_imitation.core._rule_checks import check_selection
from consensus_imitation.core.aggregation import EntropyGate, Minimum
from consensus_imitation.core.rules import Rules
from consensus_imitation.core.sampling_learner import SamplingStream
from consensus_imitation.core.state import Stream
from consensus_imitation.errors import ConfigurationError
from consensus_imitation.imitator import kernels

from .own_rules import TABLES, Own

#: JAX tells two classes that it thinks equal apart by 7 bits or fewer: of so many pairs one is confused but for e-4.
PAIRS = 600
#: For what may not happen at all; of so many one is confused but for half a percent.
SOME = 300


def pair(base: type) -> tuple[Any, Any]:
    """Two new classes with the same field, whose objects say 1 and 2."""

    class One(base):
        share: float = 0.1
        said = 1

    class Other(base):
        share: float = 0.1
        said = 2

    return One(), Other()


def confused(base: type, size: Callable[[Any, Any], Any], among: int = SOME) -> int:
    """Of so many pairs, for how many the program of the first ran for the second."""
    return sum((size(*pair(base))) != (1, 2) for _ in range(among))


def shapes(wrap: Callable[[Any], Any], one: Any, other: Any) -> tuple[int, ...]:
    function = jax.jit(lambda held: jnp.zeros(held.said))
    return tuple(function.eval_shape(wrap(node)).size for node in (one, other))


def through_jit(one: Any, other: Any) -> tuple[int, ...]:
    function = _tree.jit(lambda held: jnp.int32(held.said))
    return int(function(one)), int(function(other))


def itself(node: Any) -> Any:
    return node


def test_classes_of_the_library_are_never_confused() -> None:
    assert confused(_tree.PyTree, partial(shapes, itself)) == 0


def test_jax_confuses_dataclasses_registered_with_it() -> None:
    """The control."""
    if jax.__version_info__[:2] != (0, 10):
        pytest.skip("JAX before 0.10 compares the classes, after it the whole hash")
    assert confused(struct.PyTreeNode, partial(shapes, itself), PAIRS) > 0


class Wrapped(ensembles.PureEnsemble):
    """Members within members."""

    inside: Any


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "members": lambda node: Held(Wrapped(node)),
    "a learner's rule": lambda node: Held(Learner(TABLES, node)),
    "a learner's members": lambda node: Held(Learner(node, TopK(1))),
    "a learner's law": lambda node: Held(Learner(TABLES, TopK(1), node)),
    "rules": lambda node: Held(Rules(node)),
    "a union": lambda node: Held(TopK(1) | node),
    "an intersection": lambda node: Held(TopK(1) & node),
    "a gate": lambda node: Held(EntropyGate(0.5, base=node)),
}


class Held(_tree.PyTree):
    """Says what the object of a user's class says, wherever in it that is."""

    inside: Any

    @property
    def said(self) -> int:
        return next(
            n.said for n in jax.tree.leaves(self.inside, is_leaf=lambda n: hasattr(n, "said")) if hasattr(n, "said")
        )


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("holder", HOLDERS)
def test_users_classes_are_told_apart_inside_the_librarys(holder: str) -> None:
    class Base(struct.PyTreeNode):
        """What it takes to be joined with other rules."""

    for name in ("check", "exclusion_bound", "largest_set", "margins", "smallest_share", "tolerated_members"):
        setattr(Base, name, None)
    Base.__call__ = lambda self, log_weights: log_weights > 0  # type: ignore[method-assign]
    assert confused(Base, partial(shapes, HOLDERS[holder])) == 0


def test_classes_that_are_no_dataclasses_are_told_apart_too() -> None:
    def plain(said: int) -> Any:
        class Plain:
            def __init__(self, share: float = 0.1) -> None:
                self.share, self.said = share, said

        jax.tree_util.register_dataclass(Plain, ["share"], [])
        return Plain()

    wrap = partial(shapes, HOLDERS["rules"])
    assert sum(wrap(plain(1), plain(2)) != (1, 2) for _ in range(SOME)) == 0


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("program", ["take_row", "put_row", "pose"])
def test_users_memories_are_told_apart_in_what_the_shells_compile(program: str) -> None:
    class Memory(struct.PyTreeNode):
        cell: Any

    rows = jnp.zeros((2, 3))
    streams = Learner(TABLES, TopK(1)).init_streams(jax.random.key(0), 2)
    calls: dict[str, Callable[[Any], Any]] = {
        "take_row": lambda own: kernels.take_row.eval_shape(own, 0),
        "put_row": lambda own: kernels.put_row.eval_shape(own, jax.tree.map(lambda leaf: leaf[0], own), 0),
        "pose": lambda own: kernels.pose.eval_shape(own, own.ledger, own.asking),
    }
    for _ in range(SOME):
        for kind in [type(name, (Memory,), {}) for name in ("One", "Other")]:
            assert type(calls[program](streams.replace(carry=kind(rows))).carry) is kind


def test_guests_are_looked_for_once_in_every_node(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []
    search = _tree._foreign
    monkeypatch.setattr(_tree, "_foreign", lambda structure: searched.append(1) or search(structure))
    rule: Any = TopK(1)
    for _ in range(12):
        rule = rule | AlphaThreshold(0.1)
    for _ in range(3):
        assert len(jax.tree.leaves(rule)) == 13
        jax.tree.map(lambda leaf: leaf, rule)
    assert len(searched) == 12


def test_a_tree_with_something_else_for_leaves_is_of_the_same_kind() -> None:
    learner = Learner(TABLES, Own(0.1))
    axes = jax.tree.map(lambda _: None, learner).replace(selection=jax.tree.map(lambda _: 0, learner.selection))
    many = learner.replace(selection=Own(jnp.array([0.1, 0.2])))
    seen = jax.vmap(lambda one: jnp.float32(one.selection.share), in_axes=(axes,))(many)
    assert seen.tolist() == pytest.approx([0.1, 0.2])


def test_flattening_compares_nothing() -> None:
    class Fixed(struct.PyTreeNode):
        table: Any = struct.field(pytree_node=False)

    for _ in range(2):
        assert jax.tree.leaves(Rules(Fixed(np.zeros(3)))) == []


@pytest.mark.slow
def test_users_classes_are_told_apart_where_they_are_arguments() -> None:
    assert confused(struct.PyTreeNode, through_jit) == 0


def test_a_rule_is_judged_by_itself_whatever_was_judged_before() -> None:
    for _ in range(SOME):

        class Sound(Own):
            pass

        class Wrong(Own):
            def margins(self, log_weights: jax.Array) -> jax.Array:
                return log_weights[:1]

        check_selection(Sound(), 3)
        with pytest.raises(ConfigurationError, match="margins of a selection rule must be floats"):
            check_selection(Wrong(), 3)


#: What goes with a learner, whose class tells them apart; the two streams are told apart by how many fields they have.
STATES = {
    "AlarmState", "Answered", "DiversityState", "Elsewhere", "Learned", "LearnerState", "PosteriorState", "Repeats",
    "Replay", "RolloutState", "SamplingState", "SamplingStream", "Shares", "Stream", "Temperature", "_Noted",
}  # fmt: skip


def test_every_dataclass_of_the_library_that_is_a_pytree_is_one_of_these() -> None:
    """Arguments that are arrays of one kind only, such as a world's tables, may be what they like; and states."""
    allowed = {"TabularEnv", *STATES}
    assert len(dataclasses.fields(Stream)) != len(dataclasses.fields(SamplingStream))
    strange = set()
    worlds = pkgutil.walk_packages(envs.__path__, "consensus_imitation.envs.")
    for module in (*pkgutil.walk_packages(consensus_imitation.__path__, "consensus_imitation."), *worlds):
        if module.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if not isinstance(value, type) or not value.__module__.startswith("consensus_imitation"):
                continue
            if dataclasses.is_dataclass(value) and not issubclass(value, _tree.PyTree) and by_fields(value):
                strange.add(value.__name__)
    assert strange == allowed


def by_fields(kind: Any) -> bool:
    """Whether a dataclass is a pytree of its fields, and neither a leaf nor static as a whole."""
    blank = object.__new__(kind)
    for field in dataclasses.fields(kind):
        object.__setattr__(blank, field.name, 0)
    node = jax.tree.structure(blank).node_data()
    return node is not None and node[1] is not blank


def test_static_fields_and_order_are_those_of_the_dataclass() -> None:
    class Mixed(_tree.PyTree):
        first: Any
        name: str = struct.field(pytree_node=False, default="plain")
        second: Any = None

    mixed = Mixed(1.0, "own", (2.0, 3.0))
    assert jax.tree.leaves(mixed) == [1.0, 2.0, 3.0]
    assert jax.tree.map(lambda leaf: leaf + 1, mixed) == Mixed(2.0, "own", (3.0, 4.0))
    assert jax.tree.structure(mixed) != jax.tree.structure(mixed.replace(name="another"))
    assert [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(mixed)] == [
        ".first",
        ".second[0]",
        ".second[1]",
    ]
    with pytest.raises(dataclasses.FrozenInstanceError):
        mixed.first = 2.0  # type: ignore[misc]


def test_what_flax_offers_its_users_works() -> None:
    @struct.dataclass
    class Decorated(ensembles.PureEnsemble):
        table: Any

    class Both(ensembles.PureEnsemble, struct.PyTreeNode):
        table: Any

    class Named(_tree.PyTree, kw_only=True):
        table: Any = 0
        name: str = struct.field(pytree_node=False)

    for node in (Decorated(1.0), Both(1.0), Named(table=1.0, name="own")):
        assert jax.tree.leaves(node) == [1.0]
        assert isinstance(node, _tree.PyTree)
        assert node.replace(table=2.0).table == 2.0
    state = serialization.to_state_dict(Rules(TopK(3)))
    assert serialization.from_state_dict(Rules(TopK(1)), state) == Rules(TopK(3))
    with pytest.raises(TypeError, match="field late of Strange has init=False"):
        type("Strange", (_tree.PyTree,), {"__annotations__": {"late": int}, "late": dataclasses.field(init=False)})


def test_a_static_argument_may_be_given_by_place_or_by_name() -> None:
    counted = []

    def repeated(rule: Any, number: jax.Array, times: int, power: int = 1) -> jax.Array:
        counted.append(times)
        return jnp.tile(number, times) ** power

    function = _tree.jit(repeated, static_argnames=("times", "power"))
    for _ in range(2):
        assert function(TopK(1), jnp.arange(2.0), 2).tolist() == [0, 1, 0, 1]
        assert function(TopK(1), jnp.arange(2.0), times=2, power=2).tolist() == [0, 1, 0, 1]
    assert counted == [2, 2]


def test_prefixes_of_a_learner_still_serve_vmap() -> None:
    axes: Any = Learner(None, 0, Minimum())
    learner = Learner(TABLES, AlphaThreshold(jnp.array([0.1, 0.2])), Minimum())
    seen = jax.vmap(lambda one: jnp.float32(one.selection.alpha), in_axes=(axes,))(learner)
    assert seen.tolist() == pytest.approx([0.1, 0.2])
