"""Kinds of members side by side: what is measured, on a problem whose answers are known."""

from typing import Any

import jax
import numpy as np
import pytest

from consensus_imitation.experiments import KindsConfig, run_kinds
from consensus_imitation.experiments.kinds.config import COMPARED, CURVE, KINDS
from consensus_imitation.experiments.kinds.figure import draw, tables
from consensus_imitation.experiments.kinds.problems import Problem, problem
from consensus_imitation.experiments.kinds.run import COLUMNS, kept_bytes, make_members, measure


def separable(seed: int = 0) -> Problem:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(400, 3)).astype(np.float32)
    answers = (2 * (inputs[:, 0] > 0) + (inputs[:, 1] > 0)).astype(np.int32)
    return Problem(inputs[:240], answers[:240], inputs[240:], answers[240:], {"shuffled": 9 * inputs[240:]}, 4)


@pytest.mark.slow
def test_what_is_measured_of_members_that_learn() -> None:
    found = measure(make_members("mlp", 3, 4, 2), separable(), seed=0)
    assert set(found) == set(COLUMNS) - {"kind", "seed"}
    assert 0.8 < found["accuracy"] <= 1
    assert 1 <= found["n_eff"] <= 2
    assert 0 < found["theta"] < 0.5
    assert np.isnan(found["asked_turned"])
    assert min(found["learn_ms"], found["act_us"]) > 0


@pytest.mark.parametrize(
    "kind", ["mlp", *(pytest.param(one, marks=pytest.mark.slow) for one in ("masks/16/0.2", "tangent-last"))]
)
def test_memory_is_counted(kind: str) -> None:
    """By hand: float32 of the parameters; one bit for each connection of a mask."""
    members = make_members(kind, 3, 4, 2)
    learned = members.init_learned(jax.random.key(0))
    dense = {"mlp": 4 * (4 * 64 + 65 * 64 + 65 * 4), "tangent-last": 4 * 257 * 4}
    connections = 4 * 16 + 17 * 16 + 17 * 4
    assert kept_bytes(members, learned) == dense.get(kind, -(-connections // 8))


@pytest.mark.slow
def test_every_name_of_the_defaults_is_known_and_no_other() -> None:
    for name in dict.fromkeys((*KINDS, *CURVE, *COMPARED)):
        assert make_members(name, 3, 4, 2).num_members == 2
    for name in ("perceptron", "masks/16", "masks/16/0"):
        with pytest.raises(ValueError, match=r"no kind|kept"):
            KindsConfig(kinds=(name,))
    for bad in ({"kinds": ()}, {"kinds": ("mlp", "mlp")}, {"num_answers": 3}, {"num_members": 1}, {"num_seeds": 0}):
        with pytest.raises(ValueError, match=r"once|must"):
            KindsConfig(**bad)  # type: ignore[arg-type]


def test_a_problem_of_a_task_has_different_inputs_in_an_order_of_its_own() -> None:
    one, other = (problem("cartpole", 100, seed) for seed in (0, 1))
    assert one.inputs.shape[0] == 100
    assert one.num_actions == 2
    everything = np.concatenate([one.inputs, one.familiar])
    assert len(np.unique(everything, axis=0)) == len(everything) == 600
    assert not np.array_equal(one.inputs, other.inputs)
    # Each feature keeps its values, and nothing else.
    np.testing.assert_array_equal(np.sort(one.foreign["shuffled"], axis=0), np.sort(one.familiar, axis=0))
    assert not np.array_equal(one.foreign["shuffled"], one.familiar)


@pytest.fixture(scope="module")
def found() -> list[Any]:
    config = KindsConfig("cartpole", ("mlp", "tangent-last"), ("masks/8/0.5",), 2, 100, 1)
    return run_kinds(config)


@pytest.mark.slow
def test_picture_and_table_hold_every_kind(found: list[Any]) -> None:
    figure = draw(found, ("mlp", "tangent-last"), ("masks/8/0.5",))
    assert [bool(ax.get_xlabel()) for ax in figure.axes] == [True] * 3
    assert len(draw(found, ("mlp",), ()).axes) == 2
    for table in tables(found, ("mlp", "tangent-last", "masks/8/0.5")):
        assert [row[0] for row in table.rows] == ["mlp", "tangent-last", "masks/8/0.5"]
        assert all(len(row) == len(table.columns) for row in table.rows)
