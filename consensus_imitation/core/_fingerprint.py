"""A number that identifies rules: the state keeps the number of the rules that it was made with."""

import hashlib
import re
from dataclasses import fields, is_dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

_SPREAD, _MIX = np.uint32(0x9E3779B1), np.uint32(0x01000193)


def fingerprint(rules: Any) -> Any:
    """Return 32 bits that identify rules: by their types, the names of their fields, their settings and their numbers.

    It does not depend on whether the numbers are traced by JAX, Python's own, or arrays, nor on JAX's version.

    Args:
        rules: a pytree of rules, None among them.

    Returns:
        uint32 [], a NumPy value, or a JAX one where numbers are traced.

    Example:
        >>> from consensus_imitation import TopK
        >>> from consensus_imitation.core._fingerprint import fingerprint
        >>> bool(fingerprint(TopK(2)) == fingerprint(TopK(2))), bool(fingerprint(TopK(2)) == fingerprint(TopK(3)))
        (True, False)
    """
    leaves = jax.tree.leaves(rules)
    xp: Any = jnp if any(isinstance(leaf, Tracer) for leaf in leaves) else np
    text = hashlib.sha256(described(rules).encode()).digest()
    mixed = xp.full(1, np.uint32(int.from_bytes(text[:4], "little")))
    with np.errstate(over="ignore"):
        for leaf in leaves:
            words = _words(leaf, xp)
            places = np.arange(words.size, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
            total = xp.sum(words * (places * _SPREAD), dtype=np.uint32)
            mixed = (mixed ^ total) * _MIX + np.uint32(words.size)
    return mixed[0]


def described(rules: Any) -> str:
    """Return the types, field names and settings of rules, without the numbers that may be traced."""
    if not jax.tree.leaves(rules):
        return printed(rules)
    name = type(rules).__qualname__
    if is_dataclass(rules):
        parts = [(field, getattr(rules, field.name)) for field in fields(rules)]
        said = [
            f"{field.name}={described(part) if field.metadata.get('pytree_node', True) else printed(part)}"
            for field, part in parts
        ]
        return f"{name}({', '.join(said)})"
    if isinstance(rules, list | tuple):
        return f"{name}[{', '.join(described(rule) for rule in rules)}]"
    return "*" if jax.tree_util.all_leaves([rules]) else f"{name}[{len(jax.tree.leaves(rules))}]"


def printed(setting: Any) -> str:
    """Return a value that holds no numbers of the pytree as what it prints, without addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(setting))


def _words(leaf: Any, xp: Any) -> Any:
    """Return a number, or an array of them, as 32-bit words: uint32 [n]. 2 and 2.0 are the same rule on purpose."""
    values = xp.asarray(leaf).ravel().astype(np.float32)
    return jax.lax.bitcast_convert_type(values, np.uint32) if xp is jnp else values.view(np.uint32)
