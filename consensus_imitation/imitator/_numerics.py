"""What the bits of a run depend on besides members and rules: JAX's settings, the device, and how it draws."""

from enum import Enum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core.learner import random_words

#: JAX's settings that change numbers.
SETTINGS = (
    "jax_enable_x64",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_random_seed_offset",
    "jax_default_matmul_precision",
    "jax_numpy_dtype_promotion",
    "jax_softmax_custom_jvp",
    "jax_disable_jit",
)


def numerics() -> dict[str, Any]:
    """The settings as they are now, the device, and a draw that is known; anything here that differs is another run.

    Example:
        >>> from consensus_imitation.imitator._numerics import numerics
        >>> numerics()["jax_enable_x64"]
        False
    """
    (device,) = jnp.zeros(()).devices()
    known = random_words(jax.random.key(2022), jnp.int32(7))
    return {
        **{name: _plain(getattr(jax.config, name, None)) for name in SETTINGS},
        "device": f"{device.platform}: {device.device_kind}",
        # What a flag, an environment variable or another version would change unnoticed.
        "known draw": np.asarray(known).tobytes().hex(),
    }


def _plain(setting: Any) -> Any:
    """A setting as JSON can hold it."""
    return setting.value if isinstance(setting, Enum) else setting
