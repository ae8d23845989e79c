"""The library's pytrees: frozen dataclasses that a compiled function never takes for one another.

From 0.10 on JAX compares two nodes under ``jax.tree_util.register_dataclass`` (which ``flax.struct`` uses) by the
number of their fields and by what is static, and not by their classes. In 0.10, what finds a compiled program tells
them apart by some bits of a hash alone: about once in 60 processes `Union` and `Intersection` of the same rules, or two
gates with the same threshold, would share a program, and the one would decide as the other. Nodes with functions of
their own are compared by class, so those of the library have them. (What changes from step to step has not: it would
take Python 30 microseconds a step. A state goes with its learner, which tells it apart.)

Classes of users, whose base may be ``flax.struct.PyTreeNode``, are told apart by the static part of the nodes that hold
them (``guests=True``), and by `jit` where they are arguments themselves.
"""

import dataclasses
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from functools import lru_cache, update_wrapper
from inspect import signature
from operator import attrgetter
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast, dataclass_transform

import jax
from flax import serialization, struct

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: Containers that JAX knows by class; named tuples, too.
_CONTAINERS = (tuple, list, dict, OrderedDict, defaultdict, deque, type(None))


@dataclass_transform(frozen_default=True, field_specifiers=(struct.field, dataclasses.field))
class PyTree:
    """Base of frozen dataclasses that are pytrees: fields are children, ``struct.field(pytree_node=False)`` is static.

    What holds for ``flax.struct.PyTreeNode`` holds for it, besides how JAX compares two of them.

    Args of a subclass:
        guests: whether a field may hold an object of a user's class; subclasses of the subclass are like it. Two trees
            with objects of different such classes are of different structure, also where one is a prefix of the other
            (``in_axes`` of `jax.vmap`): make such a prefix by `jax.tree.map`.
        options: those of ``dataclasses.dataclass``.

    Raises:
        TypeError: for a field with ``init=False``: nothing could be put back into it.

    Example:
        >>> import jax
        >>> from consensus_imitation.core._tree import PyTree
        >>> class One(PyTree):
        ...     share: float
        >>> class Other(PyTree):
        ...     share: float
        >>> jax.tree.structure(One(0.1)) == jax.tree.structure(Other(0.1))
        False
    """

    _guests = False

    def __init_subclass__(cls, *, guests: bool = False, **options: Any) -> None:
        # flax.struct then leaves the class as it is, as a decorator or as another base.
        cls._flax_dataclass = True
        super().__init_subclass__()
        cls._guests = guests = guests or cls._guests
        dataclasses.dataclass(**{"frozen": True, **options})(cls)
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        if late := [field.name for field in fields if not field.init]:
            raise TypeError(f"the field {late[0]} of {cls.__name__} has init=False: a pytree is built from its fields")
        nodes = tuple(field.name for field in fields if field.metadata.get("pytree_node", True))
        static = tuple(field.name for field in fields if not field.metadata.get("pytree_node", True))
        children, fixed = _getter(nodes), _getter(static)
        keys = tuple(jax.tree_util.GetAttrKey(name) for name in nodes)

        def flatten(node: Any) -> tuple[tuple[Any, ...], Any]:
            inside = children(node)
            return inside, (fixed(node), _guests_of(node, inside) if guests else ())

        def flatten_with_keys(node: Any) -> tuple[tuple[Any, ...], Any]:
            inside, aside = flatten(node)
            return tuple(zip(keys, inside, strict=True)), aside

        def build(aside: Any, inside: Any) -> Any:
            node = cls(**dict(zip(nodes, inside, strict=True)), **dict(zip(static, aside[0], strict=True)))
            if guests:
                # Whatever stands in the place of the leaves: the structure stays the same.
                object.__setattr__(node, _FOUND, aside[1])
            return node

        def to_state(node: Any) -> dict[str, Any]:
            return {name: serialization.to_state_dict(getattr(node, name)) for name in nodes}

        def from_state(node: Any, state: dict[str, Any]) -> Any:
            return node.replace(
                **{name: serialization.from_state_dict(getattr(node, name), state[name], name) for name in nodes}
            )

        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, build, flatten)
        serialization.register_serialization_state(cls, to_state, from_state)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]


class jit(Generic[_P, _T]):  # noqa: N801 - stands where jax.jit would
    """`jax.jit` for functions that take objects of users' classes: each combination of classes has its own program.

    Args:
        function: what is to be compiled.
        static_argnames: as in `jax.jit`.
    """

    def __init__(self, function: Callable[_P, _T], static_argnames: tuple[str, ...] = ()) -> None:
        def told_apart(classes: tuple[type, ...], *args: Any, **kwargs: Any) -> Any:
            del classes
            return function(*args, **kwargs)

        names = list(signature(function).parameters)
        places = (0, *(1 + names.index(name) for name in static_argnames))
        self._program: Any = jax.jit(told_apart, static_argnums=places, static_argnames=static_argnames)
        update_wrapper(self, function)

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call the function."""
        return cast(_T, self._program(classes_of_users((args, kwargs)), *args, **kwargs))

    def eval_shape(self, *args: Any, **kwargs: Any) -> Any:
        """Return the shapes of what the function gives for arrays of these shapes."""
        return self._program.eval_shape(classes_of_users((args, kwargs)), *args, **kwargs)

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        """Return what `jax.jit` lowers the function to."""
        return self._program.lower(classes_of_users((args, kwargs)), *args, **kwargs)

    def _cache_size(self) -> int:
        return int(self._program._cache_size())


def classes_of_users(tree: Any) -> tuple[type, ...]:
    """Return the classes of a tree's nodes, in its order, that are neither the library's own nor containers."""
    return _known(jax.tree.structure(tree))


#: Where a node keeps the classes of its guests, once they were looked for.
_FOUND = "_classes_of_guests"


def _guests_of(node: Any, inside: tuple[Any, ...]) -> tuple[type, ...]:
    found = node.__dict__.get(_FOUND)
    if found is None:
        # Not by `_known`, which compares: a mere flattening may not fail for static parts that cannot be.
        found = _foreign(jax.tree.structure(inside))
        object.__setattr__(node, _FOUND, found)
    return found


def _foreign(structure: Any) -> tuple[type, ...]:
    found: list[type] = []
    waiting = [structure]
    while waiting:
        node = waiting.pop()
        data = node.node_data()
        if data is not None and not _is_known(data[0]):
            found.append(data[0])
        waiting.extend(reversed(node.children()))
    return tuple(found)


#: A dictionary compares whole hashes first, and these do tell classes apart. (It keeps static parts alive: few.)
_known = lru_cache(maxsize=128)(_foreign)


def _is_known(kind: type) -> bool:
    return issubclass(kind, PyTree) or kind in _CONTAINERS or (issubclass(kind, tuple) and hasattr(kind, "_fields"))


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda node: tuple(getattr(node, name) for name in names)
