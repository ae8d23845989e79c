"""What a run is of, and what it was made with: written into its journal, compared when it is taken up."""

import hashlib
import platform
import re
from dataclasses import fields
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.ensembles.training_settings import Training
from consensus_imitation.errors import ConfigurationError
from consensus_imitation.learner import Learner
from consensus_imitation.standing import shapes
from consensus_imitation.steps import Setup


def description(setup: Setup) -> dict[str, Any]:
    """What a run is of: members and rules have to be the same when it is taken up."""
    ensemble, learner = setup.ensemble, setup.learner
    return {
        "num_members": ensemble.num_members,
        "num_actions": ensemble.num_actions,
        "num_envs": setup.num_envs,
        "prior": np.asarray(ensemble.prior, np.float32).tolist(),
        "rules": _rules(learner),
        "plain_bayes": learner.reweighting is None,
        "ensemble": type(ensemble).__name__,
        "members": _digest(ensemble) if ensemble.pure else "on the host",
        "training": _training(ensemble),
        "state": [f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}" for path, leaf in _leaves(setup)],
    }


def _rules(learner: Learner) -> str:
    """The rules by their kinds and numbers, however a number is typed."""
    leaves, structure = jax.tree.flatten(learner.replace(ensemble=None))
    numbers = [np.asarray(leaf) for leaf in leaves]
    said = [(number.astype(np.float32) if number.dtype.kind == "f" else number).tolist() for number in numbers]
    return _without_addresses(f"{structure} {said}")


def _training(ensemble: Any) -> list[dict[str, Any]]:
    """How those members learn that do, however a number is typed."""

    def learns(part: Any) -> bool:
        return isinstance(getattr(part, "training", None), Training)

    parts = [part.training for part in jax.tree.leaves(ensemble, is_leaf=learns) if learns(part)]
    return [{one.name: _said(getattr(training, one.name)) for one in fields(training)} for training in parts]


def _said(value: Any) -> Any:
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return float(value)
    return _without_addresses(repr(value))


def _without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def _digest(ensemble: Any) -> str:
    """SHA-256 over the arrays that the members consist of (not what they learn, which is in the state)."""
    hashed = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(ensemble):
        is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        hashed.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()


def _leaves(setup: Setup) -> list[Any]:
    return jax.tree_util.tree_leaves_with_path(shapes(setup))


def check_description(meta: dict[str, Any], setup: Setup) -> None:
    """Raise ConfigurationError unless a run is of these members and rules."""
    for name, now in description(setup).items():
        if meta.get(name) != now:
            raise ConfigurationError(
                f"the run is of other members or rules: {name} was {meta.get(name)!r}, and is {now!r} now; construct "
                "them as they were then"
            )


def versions() -> str:
    """Of what a run depends on bit for bit."""
    names = ("consensus_imitation", "jax", "jaxlib", "flax", "numpy")
    return ", ".join([f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in names)])
