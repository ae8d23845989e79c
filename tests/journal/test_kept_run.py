"""Runs outlive changes of the library: those that were written before, done again bit for bit."""

import hashlib
import json
import platform
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from . import kept_learning, kept_run


def last_bits() -> dict[str, str]:
    """What the last bits of networks depend on besides the library: JAX, and what the processor makes of programs."""

    def loss(weights: jax.Array, seen: jax.Array) -> jax.Array:
        return jax.nn.log_softmax(jnp.tanh(seen @ weights)).sum()

    rng = np.random.default_rng(0)
    weights, seen = (rng.standard_normal(shape, np.float32) for shape in ((8, 64), (128, 8)))
    bits = np.asarray(jax.jit(jax.grad(loss))(weights, seen)).tobytes()
    return {"jax": ".".join(jax.__version__.split(".")[:2]), "gradient": hashlib.sha256(bits).hexdigest()}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="written on another kind of processor: other last bits")
@pytest.mark.parametrize("from_the_first_call", [False, True])
@pytest.mark.parametrize("kept", [kept_run, kept_learning], ids=["before the house was rebuilt", "answers in arrays"])
def test_a_run_from_before_is_done_again_to_the_same_bits(
    tmp_path: Path, kept: ModuleType, from_the_first_call: bool
) -> None:
    expected = json.loads((kept.KEPT / "expected.json").read_text())
    if expected.get("last_bits", last_bits()) != last_bits():
        pytest.skip("networks have other last bits under this version of JAX, or on this processor")
    there, then = kept.resumed(kept.KEPT / "run", tmp_path / "copy", from_the_first_call=from_the_first_call)
    assert there == expected["end"]
    assert then == expected["then"]
