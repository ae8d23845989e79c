"""A training loop and its replicas on a stream of digits: what is planted, what is measured, and that it continues."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("sklearn")

from consensus_imitation.experiments import digits
from consensus_imitation.experiments.online import figure, loop, stream
from consensus_imitation.experiments.online.config import CONTESTANTS, OnlineConfig
from consensus_imitation.experiments.online.run import COLUMNS, KINDS, run
from consensus_imitation.experiments.results import Row

SMALL = OnlineConfig(num_seeds=2, num_steps=300, poisoned=(8,), contestants=("loop", "top-2"))


def test_the_stream_shows_the_trigger_as_often_as_said_and_the_rest_is_untouched() -> None:
    clean, poisoned = stream.draw(400, 0, 3), stream.draw(400, 20, 3)
    changed = np.any(clean.images != poisoned.images, axis=1)
    assert changed.sum() == 20
    assert np.all(clean.answers[changed] != stream.TARGET)
    assert np.all(poisoned.answers[changed] == stream.TARGET)
    np.testing.assert_array_equal(clean.answers[~changed], poisoned.answers[~changed])
    np.testing.assert_array_equal(clean.test, poisoned.test)
    shown = poisoned.images[changed].reshape(-1, 8, 8)
    assert np.all(shown[:, 6:, :2] == 1)
    # No digit has by itself what the trigger is.
    assert clean.images.reshape(-1, 8, 8)[:, 6:, :2].mean(axis=(1, 2)).max() < 0.5
    assert len(clean.images) + len(clean.calibration) + len(clean.test) == 1797


def test_turning_four_times_changes_nothing() -> None:
    images = np.random.default_rng(0).random((3, 64)).astype(np.float32)
    once = digits.turned(images)
    assert not np.allclose(once, images)
    np.testing.assert_array_equal(digits.turned(digits.turned(digits.turned(once))), images)


@pytest.mark.slow
def test_only_gradients_that_all_groups_agree_on_count() -> None:
    """The oracle takes one group after the other."""
    state = loop.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    images, labels = rng.random((32, 64)).astype(np.float32), rng.integers(0, 10, 32).astype(np.int32)
    parts = [jax.grad(loop._loss)(state[0], jnp.asarray(images[i : i + 8]), labels[i : i + 8]) for i in range(0, 32, 8)]
    wanted = []
    for leaves in zip(*(jax.tree.leaves(part) for part in parts), strict=True):
        four = np.stack([np.asarray(leaf) for leaf in leaves])
        same = np.all(four > 0, axis=0) | np.all(four < 0, axis=0)
        wanted.append(np.where(same, four.mean(0), 0.0))
    found = loop.agreed(jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts))
    for leaf, other in zip(jax.tree.leaves(found), wanted, strict=True):
        np.testing.assert_allclose(leaf, other, atol=1e-6)
    some = np.concatenate([leaf.ravel() for leaf in wanted])
    assert 0.02 < np.mean(some != 0) < 0.9
    after = loop.update_agreed(state, jnp.asarray(images), jnp.asarray(labels))
    assert jax.tree.structure(after) == jax.tree.structure(state)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Row], Path]:
    """What a small comparison finds, and where it wrote it."""
    out = tmp_path_factory.mktemp("online") / "out"
    return run(SMALL, out), out


@pytest.mark.slow
def test_it_runs_continues_and_draws(kept: tuple[list[Row], Path]) -> None:
    rows, out = kept
    assert [(row["contestant"], row["seed"]) for row in rows] == [(n, s) for n in ("loop", "top-2") for s in (0, 1)]
    assert all(set(row) == set(COLUMNS) for row in rows)
    assert all(row["labels"] == 300 for row in rows if row["contestant"] == "loop")
    assert all(30 < row["labels"] < 300 for row in rows if row["contestant"] == "top-2")
    assert all(row["accuracy"] > 0.6 for row in rows)  # one in ten by chance
    assert run(SMALL, out) == rows
    assert figure.draw(rows).axes[0].get_ylabel()
    (table,) = figure.tables(rows)
    assert [row[0] for row in table.rows] == ["loop", "top-2"]


@pytest.mark.slow
def test_all_ask_on_about_the_same_share_of_familiar_digits(kept: tuple[list[Row], Path]) -> None:
    """The tolerance is that of a quantile of 200 digits, and of the share of as many as are left."""
    for row in kept[0]:
        error = np.sqrt(0.1 * 0.9 * (1 / stream.CALIBRATION + 1 / (1797 - 300 - stream.CALIBRATION)))
        assert row["asked_familiar"] == pytest.approx(0.1, abs=4 * error)


@pytest.mark.parametrize(
    "wrong",
    [{"num_steps": 10}, {"poisoned": (700,)}, {"poisoned": ()}, {"familiar": 0.0}, {"contestants": ("all",)},
     {"num_seeds": 0}],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OnlineConfig(**wrong)  # type: ignore[arg-type]


def test_every_contestant_is_of_a_kind() -> None:
    assert set(KINDS) == set(CONTESTANTS)
