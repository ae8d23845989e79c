"""A long run in small: nothing grows, nothing is compiled again, the posterior is right; and the soak would notice."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation.imitator import kernels
from consensus_imitation.imitator._live import Live
from consensus_imitation.journal.directory import Journal

from . import crowd_soak
from .crowd_soak import Figures, soak

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded memories are full sooner."""
    monkeypatch.setattr(crowd_soak, "WARM_UP", 300)
    monkeypatch.setattr("consensus_imitation.imitator._queries.REMEMBERED", 50)


@pytest.mark.parametrize("num_envs", [None, 4])
def test_nothing_grows(num_envs: int | None) -> None:
    figures = soak(400, num_envs, trace=num_envs is None)
    assert figures.complaints() == []
    assert figures.queries > 100
    assert figures.smallest < -1


def test_nothing_grows_with_a_journal(tmp_path: Path) -> None:
    figures = soak(300, journal=Journal(tmp_path / "run", group=100, checkpoint_every=150))
    assert figures.complaints() == []


def test_a_decision_that_is_kept_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    decide = Live.decide

    def leaks(self: Live[Any], *args: Any, **named: Any) -> Any:
        kept.append(decide(self, *args, **named))
        return kept[-1]

    monkeypatch.setattr(Live, "decide", leaks)
    figures = soak(300)
    assert len(kept) == 600
    assert any("objects are left behind" in line for line in figures.complaints())


def test_a_list_that_grows_by_an_entry_each_step_is_noticed() -> None:
    """Eight bytes a step."""
    kept: list[None] = []
    figures = Figures(40_000, rss=[0], objects=[0])
    with crowd_soak.traced(True):
        for _ in range(11):
            kept.extend([None] * 4000)
            figures.python.append(crowd_soak.traced_size())
    assert [line for line in figures.complaints() if "bytes are left behind by each step" in line]


def test_a_program_compiled_again_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """For example for an observation of another type."""
    act, calls = crowd_soak.act, 0

    def of_another_type(imitator: Any, world: Any, t: int) -> Any:
        nonlocal calls
        calls += 1
        return imitator.act(jnp.uint8(t % 7)) if calls == 500 else act(imitator, world, t)

    monkeypatch.setattr(crowd_soak, "act", of_another_type)
    assert any("compiled after the warm-up" in line for line in soak(300).complaints())


def test_a_posterior_that_is_slightly_off_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer counts for a little less than it should."""
    observe = kernels.observe

    def observed(*arguments: Any) -> Any:
        after = observe(*arguments)
        posterior = after.posterior
        return after.replace(posterior=posterior.replace(log_weights=posterior.log_weights * np.float32(1 - 1e-5)))

    observed._cache_size = observe._cache_size  # type: ignore[attr-defined]
    monkeypatch.setattr(kernels, "observe", observed)
    assert any("log-weights are off" in line for line in soak(300).complaints())


@pytest.mark.long
def test_a_hundred_thousand_steps() -> None:
    assert soak(100_000).complaints() == []
