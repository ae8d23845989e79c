"""What runs that were kept from earlier versions share: how they are written, and taken up again."""

import hashlib
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import ConsensusImitator, Journal


def write(kept: ModuleType, checkpoint_every: int, **said: Any) -> None:
    """Write a run, its end as it is, and how it goes on; ``said`` is written with it."""
    shutil.rmtree(kept.KEPT, ignore_errors=True)
    kept.KEPT.mkdir()
    journal = Journal(kept.KEPT / "run", observations=True, checkpoint_every=checkpoint_every)
    with ConsensusImitator(seed=3, journal=journal, **kept.parts()) as one:
        kept.go_on(one, 0)
        end = kept.summary(one)
    _, then = resumed(kept, kept.KEPT / "scratch")
    (kept.KEPT / "expected.json").write_text(json.dumps({"end": end, "then": then, **said}, indent=1) + "\n")
    shutil.rmtree(kept.KEPT / "scratch")


def resumed(
    kept: ModuleType, copy: Path, *, from_the_first_call: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A copy of the run, taken up; and after it went on: what counts of each."""
    shutil.copytree(kept.KEPT / "run", copy)
    if from_the_first_call:
        for checkpoint in (copy / "checkpoints").iterdir():
            checkpoint.unlink()
    with ConsensusImitator.resume(copy, **kept.parts()) as again:
        there = kept.summary(again)
        kept.go_on(again, kept.STEPS)
        return there, kept.summary(again)


def last_bits() -> dict[str, str]:
    """What the last bits of networks depend on besides the library: JAX, and what the processor makes of programs."""

    def loss(weights: jax.Array, seen: jax.Array) -> jax.Array:
        return jax.nn.log_softmax(jnp.tanh(seen @ weights)).sum()

    rng = np.random.default_rng(0)
    weights, seen = (rng.standard_normal(shape, np.float32) for shape in ((8, 64), (128, 8)))
    bits = np.asarray(jax.jit(jax.grad(loss))(weights, seen)).tobytes()
    return {"jax": ".".join(jax.__version__.split(".")[:2]), "gradient": hashlib.sha256(bits).hexdigest()}
