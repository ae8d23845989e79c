"""Demonstrators that are truly random: their laws and distances are exact, and a fitted temperature copes."""

from pathlib import Path

import numpy as np
import pytest

from consensus_imitation.experiments.noisy import figure, worlds
from consensus_imitation.experiments.noisy.config import VARIANTS, NoisyConfig
from consensus_imitation.experiments.noisy.run import COLUMNS, SETTINGS, divergence, run
from consensus_imitation.experiments.results import Row

SMALL = NoisyConfig(
    world="softmax", variants=("repeats", "temperature", "plain"), num_seeds=1, num_steps=1500, num_members=3
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Row], Path]:
    """What a small run finds, and where it wrote it."""
    out = tmp_path_factory.mktemp("noisy") / "out"
    return run(SMALL, out), out


@pytest.mark.slow
def test_a_fitted_temperature_does_not_take_noise_for_certainty(kept: tuple[list[Row], Path]) -> None:
    """The control: members whose logits are not tempered learn the noise by heart."""
    *both, plain = ([row for row in kept[0] if row["variant"] == name][-1] for name in SMALL.variants)
    for fitted in both:
        assert fitted["kl_minimum"] < 0.15
        assert plain["kl_minimum"] > 2 * fitted["kl_minimum"]
        assert fitted["temperature"] > 1.5
        assert 50 < fitted["answers"] < 1500
    assert plain["temperature"] == 1.0


@pytest.mark.slow
def test_it_continues_and_draws(kept: tuple[list[Row], Path]) -> None:
    rows, out = kept
    assert all(set(row) == set(COLUMNS) for row in rows)
    assert run(SMALL, out) == rows
    assert figure.draw(rows).axes[0].get_ylabel()
    assert [row[0] for row in figure.table(rows).rows] == list(SMALL.variants)


def test_divergence_is_what_it_is_called() -> None:
    rng = np.random.default_rng(0)
    laws, predictions = rng.dirichlet(np.ones(4), 5), rng.dirichlet(np.ones(4), 5)
    laws[0], predictions[1, 0] = [0, 1, 0, 0], 0.0
    found = divergence(laws, predictions)
    for s in range(5):
        terms = [p * np.log(p / q) if q > 0 else np.inf for p, q in zip(laws[s], predictions[s], strict=True) if p > 0]
        assert found[s] == pytest.approx(sum(terms))
    assert np.isinf(found[1])


def test_situations_of_the_small_world_come_as_often_as_it_says() -> None:
    world = worlds.softmax(num_situations=6)
    walk, seen = world.walk(np.random.default_rng(0)), np.zeros(6)
    n = 6000
    for _ in range(n):
        seen[walk.situation] += 1
        walk.take(0)
    assert np.all(np.abs(seen / n - world.weights) < 5 * np.sqrt(world.weights / n))


def test_leduc_is_met_as_often_as_the_tree_says_and_its_laws_are_legal() -> None:
    """A walk with the demonstrator's own actions, against probabilities that were added up over the whole tree."""
    pytest.importorskip("pyspiel")
    world = worlds.make("leduc")
    assert world.observations.shape == (936, 30)
    assert len(np.unique(world.observations, axis=0)) == 936
    assert np.all(world.laws[~world.legal] == 0)
    np.testing.assert_allclose(world.laws.sum(1), 1)
    assert 0.3 < world.weights @ -np.sum(world.laws * np.log(np.where(world.laws > 0, world.laws, 1)), 1) < 0.45
    rng = np.random.default_rng(1)
    walk, seen, games, n = world.walk(rng), np.zeros(936), 0, 20_000
    for _ in range(n):
        seen[walk.situation] += 1
        games += walk.begins
        walk.take(int(rng.choice(3, p=world.laws[walk.situation])))
    # Situations of one game depend on each other, of several do not: a game has at most 8.
    assert np.all(np.abs(seen / n - world.weights) < 6 * np.sqrt(8 * world.weights / n) + 1e-3)
    assert 0 < games < n / 2


@pytest.mark.parametrize(
    "wrong",
    [{"world": "poker"}, {"variants": ("all",)}, {"num_seeds": 0}, {"num_steps": 0}, {"k": 6}],
    ids=str,
)
def test_bad_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        NoisyConfig(**wrong)  # type: ignore[arg-type]


def test_every_variant_has_its_settings() -> None:
    assert set(SETTINGS) == set(VARIANTS)
