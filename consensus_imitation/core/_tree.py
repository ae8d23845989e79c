"""The library's pytrees: frozen dataclasses that a compiled function never takes for one another.

From 0.10 on JAX compares two dataclasses under ``jax.tree_util.register_dataclass`` (which ``flax.struct`` uses) by the
number of their fields and by what is static, and not by their classes. In 0.10, what finds a compiled program tells
them apart by some bits of a hash alone: about once in 60 processes `Union` and `Intersection` of the same rules, or two
gates with the same threshold, would share a program, and the one would decide as the other. Nodes with functions of
their own are compared by class, so those of the library have them.

Classes of users, whose base may be ``flax.struct.PyTreeNode``, are told apart wherever the library compiles: by the
static part of the nodes that hold them (``guests=True``), and by `jit` where they are arguments themselves.
"""

import dataclasses
from collections.abc import Callable
from functools import lru_cache, wraps
from inspect import signature
from operator import attrgetter
from typing import Any, ParamSpec, Self, TypeVar, dataclass_transform

import jax
from flax import struct

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(struct.field, dataclasses.field))
class PyTree:
    """Base of frozen dataclasses that are pytrees: fields are children, ``struct.field(pytree_node=False)`` is static.

    Args of a subclass:
        guests: whether a field may hold an object of a user's class; subclasses of the subclass are like it.

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

    def __init_subclass__(cls, *, guests: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._guests = guests = guests or cls._guests
        dataclasses.dataclass(frozen=True)(cls)
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        nodes = tuple(field.name for field in fields if field.metadata.get("pytree_node", True))
        static = tuple(field.name for field in fields if not field.metadata.get("pytree_node", True))
        children, fixed = _getter(nodes), _getter(static)
        keys = tuple(jax.tree_util.GetAttrKey(name) for name in nodes)

        def flatten(node: Any) -> tuple[tuple[Any, ...], Any]:
            inside = children(node)
            return inside, (fixed(node), classes_of_users(inside) if guests else ())

        def flatten_with_keys(node: Any) -> tuple[tuple[Any, ...], Any]:
            inside, aside = flatten(node)
            return tuple(zip(keys, inside, strict=True)), aside

        def build(aside: Any, inside: Any) -> Any:
            return cls(**dict(zip(nodes, inside, strict=True)), **dict(zip(static, aside[0], strict=True)))

        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, build, flatten)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]


def classes_of_users(tree: Any) -> tuple[type, ...]:
    """Return the dataclasses in a tree, in its order, that are not the library's own."""
    return _foreign(jax.tree.structure(tree))


def jit(function: Callable[_P, _T], static_argnames: tuple[str, ...] = ()) -> Callable[_P, _T]:
    """`jax.jit` for functions that take objects of users' classes: each combination of classes has its own program.

    Args:
        function: what is to be compiled.
        static_argnames: as in `jax.jit`.
    """

    def told_apart(classes: tuple[type, ...], *args: Any, **kwargs: Any) -> Any:
        del classes
        return function(*args, **kwargs)

    names = list(signature(function).parameters)
    places = (0, *(1 + names.index(name) for name in static_argnames))
    program = jax.jit(told_apart, static_argnums=places, static_argnames=static_argnames)

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        return program(classes_of_users((args, kwargs)), *args, **kwargs)

    return call


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda node: tuple(getattr(node, name) for name in names)


@lru_cache(maxsize=4096)
def _foreign(structure: Any) -> tuple[type, ...]:
    # A dictionary compares whole hashes first, and these do tell classes apart.
    found: list[type] = []
    waiting = [structure]
    while waiting:
        node = waiting.pop()
        data = node.node_data()
        if data is not None and dataclasses.is_dataclass(data[0]) and not issubclass(data[0], PyTree):
            found.append(data[0])
        waiting.extend(reversed(node.children()))
    return tuple(found)
