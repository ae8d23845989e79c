"""What all tests share."""

import jax
import pytest


@pytest.fixture
def key() -> jax.Array:
    """One fixed PRNG key; split it, do not make others."""
    return jax.random.key(20220208)
