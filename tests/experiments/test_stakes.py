"""Online training is enough where a harm can be made up for, and asking first where it cannot."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ensembles
from consensus_imitation.demonstrators import TabularDemonstrator
from consensus_imitation.envs import make
from consensus_imitation.experiments import StakesConfig, run_stakes
from consensus_imitation.experiments.stakes.figure import HIGH, LOW, crossovers, draw, tables
from consensus_imitation.experiments.stakes.online import GradientDescent, Hedge, Mixture, play

SMALL = StakesConfig(num_seeds=24, num_steps=800, num_members=4)


@pytest.fixture(scope="module")
def found() -> tuple[list[Any], list[Any]]:
    return run_stakes(SMALL)


def of(rows: list[Any], world: str, name: str, column: str) -> np.ndarray:
    return np.array([row[column] for row in rows if (row["world"], row["contestant"]) == (world, name)], float)


@pytest.mark.slow
def test_what_can_be_made_up_for_is_made_up_for_and_what_cannot_is_not(found: tuple[list[Any], list[Any]]) -> None:
    runs, _ = found
    # One label unmasks the planted member: a harm or two of a mixture, and hardly any reward lost.
    assert of(runs, LOW, "mixture", "harms").mean() < 4
    assert of(runs, LOW, "mixture", "reward").mean() > 0.9 * of(runs, LOW, "demonstrator", "reward").mean()
    # Where the first harm is the last, that label comes too late.
    assert (of(runs, HIGH, "mixture", "harms") > 0).mean() > 0.5
    assert of(runs, HIGH, "mixture", "reward").mean() < 0.6 * of(runs, HIGH, "demonstrator", "reward").mean()
    for world in (LOW, HIGH):
        assert (of(runs, world, "minimum", "harms") > 0).mean() < 0.3
        assert (of(runs, world, "minimum, budget", "harms") > 0).mean() < 0.3
    assert of(runs, HIGH, "minimum", "reward").mean() > 0.8 * of(runs, HIGH, "demonstrator", "reward").mean()


@pytest.mark.slow
def test_who_asks_and_who_is_told(found: tuple[list[Any], list[Any]]) -> None:
    runs, _ = found
    for name in ("hedge", "mixture", "gradient descent"):
        assert set(of(runs, LOW, name, "questions")) == {0.0}
        assert set(of(runs, LOW, name, "labels")) == {float(SMALL.num_steps)}
    asked = of(runs, LOW, "minimum", "questions")
    np.testing.assert_array_equal(asked, of(runs, LOW, "minimum", "labels"))
    assert 0 < asked.mean() < SMALL.num_steps / 2


@pytest.mark.slow
def test_no_bound_is_exceeded_and_one_of_a_hundredth_is(found: tuple[list[Any], list[Any]]) -> None:
    _, curves = found
    for world in (LOW, HIGH):
        mistakes, regret = (of(curves, world, "hedge", column) for column in ("mistakes", "bound"))
        assert np.all(mistakes <= regret)
        assert np.all(of(curves, world, "minimum", "questions") <= of(curves, world, "minimum", "bound"))
    assert np.any(of(curves, LOW, "hedge", "mistakes") > of(curves, LOW, "hedge", "bound") / 100)


def test_hedge_never_regrets_more_than_its_bound_in_any_run() -> None:
    """The bound holds of every sequence of labels, and so of every run; at thirty times the rate it fails."""
    world = make("shifting_lava")
    honest = np.asarray(world.demonstrator_probs, float)
    wrong = np.roll(honest, 1, axis=-1)
    members = ensembles.tabular(np.stack([wrong, honest, 0.5 * (wrong + honest)]), prior=[0.5, 0.1, 0.4])
    keys = jax.random.split(jax.random.key(0), 16)
    expert, steps = TabularDemonstrator.create(honest), 400

    def regret(learner: Hedge) -> np.ndarray:
        return np.asarray(play(learner, members, 1, world.env, expert, keys, steps).excess).sum(-1)

    tuned = Hedge.tuned(0.1, steps)
    assert tuned.bound(0.1, steps) == pytest.approx(math.sqrt(steps * math.log(10) / 2), rel=1e-6)
    assert regret(tuned).max() <= tuned.bound(0.1, steps)
    assert regret(Hedge(tuned.rate / 30)).max() > tuned.bound(0.1, steps)


def test_the_updates_by_hand() -> None:
    members, prior, label = jnp.array([[0.9, 0.1], [0.5, 0.5]]), jnp.array([0.25, 0.75]), jnp.int32(0)
    mixture, seen = Mixture(), jnp.int32(0)
    after = mixture.learn(mixture.init(prior), members, seen, label)
    np.testing.assert_allclose(jnp.exp(after), [0.225 / 0.6, 0.375 / 0.6], rtol=1e-6)
    np.testing.assert_allclose(mixture.probs(mixture.init(prior), members, seen), [0.6, 0.4], rtol=1e-6)
    hedge = Hedge(jnp.float32(2.0))
    weights = np.array([0.25 * math.exp(-0.2), 0.75 * math.exp(-1.0)])
    after = hedge.learn(hedge.init(prior), members, seen, label)
    np.testing.assert_allclose(jnp.exp(after), weights / weights.sum(), rtol=1e-6)
    descent = GradientDescent(jnp.float32(0.5), 3, 2)
    logits = descent.learn(descent.init(prior), members, jnp.int32(1), label)
    np.testing.assert_allclose(logits, [[0, 0], [0.25, -0.25], [0, 0]], rtol=1e-6)


def test_the_cost_from_which_on_asking_is_cheaper() -> None:
    def row(name: str, harms: int, questions: int) -> dict[str, Any]:
        return {"world": LOW, "contestant": name, "harms": harms, "questions": questions}

    runs = [row("minimum", 1, 200), row("mixture", 5, 0), row("hedge", 1, 0), row("gradient descent", 101, 0)]
    assert crossovers(runs, price=0.01) == {"mixture": 0.5, "hedge": math.inf, "gradient descent": pytest.approx(0.02)}


@pytest.mark.slow
def test_picture_and_table_hold_every_contestant(found: tuple[list[Any], list[Any]]) -> None:
    runs, curves = found
    figure = draw(runs, curves, SMALL.price)
    assert len(figure.axes) == 4
    assert all(ax.get_xlabel() and ax.get_ylabel() and ax.get_title() for ax in figure.axes)
    assert len(figure.axes[0].get_legend().get_texts()) == 6
    assert [len(table.rows) for table in tables(runs)] == [6, 6]


@pytest.mark.parametrize("options", [{"price": 0.0}, {"learning_rate": -1.0}, {"num_members": 1}, {"num_seeds": 2}])
def test_a_bad_configuration_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        StakesConfig(**options)
