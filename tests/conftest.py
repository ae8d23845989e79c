"""What all tests share."""

import gc
from collections.abc import Generator
from pathlib import Path

import jax
import pytest

#: Every compiled program takes some of the memory maps of a process, of which Linux allows 65,530.
MANY_MAPS = 20_000


@pytest.fixture
def key() -> jax.Array:
    """One fixed PRNG key; split it, do not make others."""
    return jax.random.key(20220208)


@pytest.fixture(autouse=True, scope="module")
def few_memory_maps() -> Generator[None, None, None]:
    """Forget the compiled programs of earlier modules before there are too many of them."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MANY_MAPS:
        jax.clear_caches()
        gc.collect()
