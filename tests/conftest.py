"""What all tests share."""

import gc
import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path

# Most of the suite's time is compiling: programs are kept for the next run, the other worker and the processes that
# tests start. JAX finds them by the program, its own version and the machine. It reads these when it is imported.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
import pytest
from hypothesis import HealthCheck, settings

# No test depends on how fast the machine is.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

#: Every compiled program takes some of the memory maps of a process, of which Linux allows 65,530.
MANY_MAPS = 20_000


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The cases of a test that are beyond those that ``quick_cases`` leaves to `make test` are slow."""
    met: Counter[str] = Counter()
    for item in items:
        marker = item.get_closest_marker("quick_cases")
        if marker and not item.get_closest_marker("slow"):
            test = item.nodeid.partition("[")[0]
            met[test] += 1
            if met[test] > marker.args[0]:
                item.add_marker(pytest.mark.slow)


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
