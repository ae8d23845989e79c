"""What a run is of, and what it was made with: written into its journal, compared when it is resumed."""

import hashlib
import platform
from dataclasses import fields
from enum import Enum
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core._fingerprint import described, printed
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.sampling_learner import SamplingLearner
from consensus_imitation.ensembles.neural.settings import COUPLED, Training
from consensus_imitation.errors import ConfigurationError
from consensus_imitation.imitator._numerics import numerics
from consensus_imitation.imitator._sampling_setup import SamplingSetup
from consensus_imitation.imitator._setup import Setup, shapes

#: Settings of the training that came later. They are named where they are set: earlier journals do not know them.
_LATER = ("masked", "local_caution", *COUPLED, "minimum_of")

#: Differences that are shown, and characters of each side.
_SHOWN, _LEGIBLE = 4, 80


class _Missing(Enum):
    """Equal to nothing that a description holds, None included."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return self.value


def description(setup: Setup) -> dict[str, Any]:
    """What a run is of: members, rules and what its bits depend on have to be the same when it is resumed."""
    ensemble, learner = setup.ensemble, setup.learner
    return {
        **_of_any(ensemble, learner, setup.num_envs),
        "num_actions": ensemble.num_actions,
        "plain_bayes": learner.reweighting is None,
        "members": _digest(ensemble) if ensemble.pure else "on the host",
        "training": _training(ensemble),
        "state": _listed(shapes(setup)),
    }


def _of_any(ensemble: Any, learner: Learner | SamplingLearner, num_envs: int | None) -> dict[str, Any]:
    """What is said of a run of either shell."""
    return {
        "numerics": numerics(),
        "num_members": int(ensemble.num_members),
        "num_envs": num_envs,
        "prior": np.asarray(ensemble.prior, np.float32).tolist(),
        "rules": _rules(learner),
        "ensemble": type(ensemble).__name__,
    }


def _rules(learner: Learner | SamplingLearner) -> dict[str, Any]:
    """The rules by their kinds, fields and numbers, however a number is typed."""
    rules = learner.replace(ensemble=None)
    numbers = [np.asarray(leaf) for leaf in jax.tree.leaves(rules)]
    said = [(number.astype(np.float32) if number.dtype.kind == "f" else number).tolist() for number in numbers]
    return {"kinds": described(rules), "numbers": said}


def _training(ensemble: Any) -> list[dict[str, Any]]:
    """How those members learn that do, however a number is typed."""

    def learns(part: Any) -> bool:
        return isinstance(getattr(part, "training", None), Training)

    parts = [part.training for part in jax.tree.leaves(ensemble, is_leaf=learns) if learns(part)]
    return [
        {
            one.name: _said(getattr(training, one.name))
            for one in fields(training)
            if one.name not in _LATER or getattr(training, one.name) != one.default
        }
        for training in parts
    ]


def _said(value: Any) -> Any:
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return float(value)
    return printed(value)


def _digest(ensemble: Any) -> str:
    """SHA-256 over the arrays that the members consist of (not what they learn, which is in the state)."""
    hashed = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(ensemble):
        is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        hashed.update(f"{place(path)} {array.dtype} {array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()


def place(path: tuple[Any, ...]) -> str:
    """Where an array is in a tree, by names and numbers of our own: what JAX prints may change with its version."""
    return "/".join(str(next(getattr(key, a) for a in ("name", "key", "idx") if hasattr(key, a))) for key in path)


def _listed(state: Any) -> list[str]:
    """Place, type and shape of every array of a state."""
    return [f"{place(path)} {leaf.dtype} {leaf.shape}" for path, leaf in jax.tree_util.tree_leaves_with_path(state)]


def sampling_description(setup: SamplingSetup) -> dict[str, Any]:
    """The same of a run over any action space."""
    ensemble, learner = setup.learner.ensemble, setup.learner
    return {
        **_of_any(ensemble, learner, setup.num_envs),
        "shell": "SamplingImitator",
        "actions": "any",
        "plain_bayes": True,
        "members": _digest(ensemble),
        "state": _listed(setup.shapes()),
    }


def check_description(meta: dict[str, Any], described: dict[str, Any]) -> None:
    """Raise ConfigurationError, with what differs, unless a run is of these members, rules and settings of JAX."""
    for name, now in described.items():
        found = differences(meta.get(name), now, name)
        if found:
            more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            of = "JAX was set otherwise, or ran elsewhere"
            if name != "numerics":
                of = "the run is of other members or rules"
            raise ConfigurationError(
                f"{of}: {'; '.join(found[:_SHOWN])}{more}. Set and construct everything as it was then"
            )


def differences(then: Any, now: Any, name: str) -> list[str]:
    """In what two descriptions differ, one short line each; they are what JSON can hold.

    Example:
        >>> differences({"a": [1, 2, 3], "b": None}, {"a": [1, 5, 3], "b": None}, "rules")
        ['rules.a[1] was 2, and is 5']
    """
    if then == now:
        return []
    if isinstance(then, dict) and isinstance(now, dict):
        pairs = [
            (f"{name}.{key}", then.get(key, _Missing.MISSING), now.get(key, _Missing.MISSING))
            for key in {**then, **now}
        ]
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        pairs = [(f"{name}[{i}]", one, other) for i, (one, other) in enumerate(zip(then, now, strict=True))]
    elif isinstance(then, list) and isinstance(now, list):
        gone, new = [one for one in then if one not in now], [one for one in now if one not in then]
        lines = [f"{name} had {_short(str(one))}, and has not now" for one in gone]
        lines += [f"{name} had no {_short(str(one))}, and has it now" for one in new]
        return lines or [f"{name} had {len(then)} entries, and has {len(now)} now"]
    else:
        before, after = repr(then), repr(now)
        place = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
        return [f"{name} was {_short(before, place)}, and is {_short(after, place)}"]
    return [line for path, one, other in pairs for line in differences(one, other, path)]


def _short(text: str, place: int = 0) -> str:
    """Not more than can be read, around a place in it."""
    begin = max(0, place - _LEGIBLE // 2) if len(text) > _LEGIBLE else 0
    end = begin + _LEGIBLE
    return f"{'...' if begin else ''}{text[begin:end]}{'...' if end < len(text) else ''}"


def versions() -> str:
    """Of what a run depends on bit for bit."""
    names = ("consensus_imitation", "jax", "jaxlib", "flax", "numpy")
    return ", ".join([f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in names)])
