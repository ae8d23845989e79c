"""The sweep over k and alpha."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Learner, TopK
from consensus_imitation.core.rollout import rollout, start
from consensus_imitation.experiments import SweepConfig, make_setting, read_csv, run_sweep
from consensus_imitation.experiments.sweep.columns import COLUMNS, bin_edges
from consensus_imitation.experiments.sweep.run import SEEDS_PER_CALL, summarise

SMALL = SweepConfig(env="cliff", k=(1, 2, 4), alpha=(0.01,), num_members=4, num_seeds=3, num_steps=200)


@pytest.mark.slow
def test_one_row_per_setting_and_seed() -> None:
    rows, curve = run_sweep(SMALL)
    assert len(rows) == (3 + 1) * 3
    assert {(row["k"], row["alpha"], row["seed"]) for row in rows} == {
        *itertools.product((1, 2, 4), (None,), range(3)),
        *itertools.product((None,), (0.01,), range(3)),
    }
    assert all(tuple(row) == COLUMNS for row in rows)
    assert all(row["query_rate"] == row["queries"] / 200 for row in rows)
    assert all(row["harms_unasked"] <= row["harms"] for row in rows)
    # The curve's bins add up to the run's queries.
    for row in rows:
        own = [one for one in curve if all(one[name] == row[name] for name in ("k", "alpha", "seed"))]
        widths = np.diff([0, *(one["step"] for one in own)])
        assert np.sum(widths * [one["query_rate"] for one in own]) == pytest.approx(row["queries"], abs=1e-3)


def test_k_1_never_asks_and_follows_the_deceptive_member_into_harm() -> None:
    rows, _ = run_sweep(SMALL)
    alone = [row for row in rows if row["k"] == 1]
    assert all(row["queries"] == 0 for row in alone)
    # The deceptive member leads from the start and walks straight over the edge after step 50.
    assert all(row["harms_unasked"] > 0 for row in alone)
    assert all(row["queries"] > 0 for row in rows if row["k"] == 4)


def test_a_row_is_the_single_rollout_of_its_seed_and_rule() -> None:
    rows, _ = run_sweep(SMALL)
    setting = SMALL.setting()
    keys = jax.random.split(jax.random.key(SMALL.seed), SMALL.num_seeds)
    learner = Learner(setting.ensemble, TopK(2))
    state = start(learner, setting.world.env, keys[1])
    summary = summarise(*rollout(learner, setting.world.env, setting.demonstrator, state, SMALL.num_steps))
    (row,) = (row for row in rows if row["k"] == 2 and row["seed"] == 1)
    assert row["queries"] == int(summary["queries"])
    assert row["harms"] == int(summary["harms"])
    assert row["planted_weight"] == pytest.approx(float(summary["weights"][0]), rel=1e-5)


def test_results_on_disk_are_the_results(tmp_path: Path) -> None:
    rows, curve = run_sweep(SMALL, tmp_path)
    saved = read_csv(tmp_path / "sweep.csv")
    assert [row["queries"] for row in saved] == [row["queries"] for row in rows]
    assert len(read_csv(tmp_path / "curve.csv")) == len(curve)


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_where_it_stood(tmp_path: Path) -> None:
    config = SweepConfig(env="ring", k=(2,), alpha=(0.1,), num_members=3, num_seeds=SEEDS_PER_CALL + 2, num_steps=40)
    whole, whole_curve = run_sweep(config, tmp_path / "whole")

    def stop(done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(config, tmp_path / "cut", progress=stop)
    assert len(read_csv(tmp_path / "cut" / "sweep.csv")) == SEEDS_PER_CALL
    calls: list[tuple[int, int]] = []
    rows, curve = run_sweep(config, tmp_path / "cut", progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 4) for done in range(1, 5)], "finished runs are not run again"
    assert [row["queries"] for row in rows] == [row["queries"] for row in whole]
    assert len(curve) == len(whole_curve)
    assert (tmp_path / "cut" / "sweep.csv").read_text() == (tmp_path / "whole" / "sweep.csv").read_text()


def test_the_seed_decides() -> None:
    def queries(seed: int) -> Sequence[int]:
        rows, _ = run_sweep(SweepConfig(env="cliff", k=(4,), num_members=4, num_seeds=4, num_steps=100, seed=seed))
        return [row["queries"] for row in rows]

    assert queries(1) == queries(1)
    assert queries(1) != queries(2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": (9,)}, "k=9 exceeds the ensemble's 8 members"),
        ({"k": (0,)}, "k must be an integer and at least 1"),
        ({"alpha": (0.0,)}, r"alpha must lie in \(0, 1\]"),
        ({"alpha": (1.5,)}, r"alpha must lie in \(0, 1\]"),
        ({"k": (), "alpha": ()}, "nothing to sweep"),
        ({"num_seeds": 0}, "num_seeds must be at least 1"),
        ({"num_steps": 0}, "num_steps must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_bad_configuration_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SweepConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("num_steps", [1, 7, 40, 41, 2000])
def test_bins_end_with_the_run(num_steps: int) -> None:
    edges = bin_edges(num_steps)
    assert edges[-1] == num_steps
    assert (np.diff(edges, prepend=0) > 0).all()


def test_the_deceptive_member_is_exactly_the_truth_until_it_turns() -> None:
    setting = make_setting("vase", num_members=3, betray_at=5)
    assert setting.member_names == ("deceptive", "truth", "imperfect 1")
    imitator = ConsensusImitator(setting.ensemble, lambda observation: 0, selection=TopK(3), seed=0)
    learner = Learner(setting.ensemble, TopK(3))
    state = imitator.state
    for step in range(7):
        state = state.replace(stream=state.stream.replace(step=jnp.int32(step)))
        rows = learner.decide(state, 0).log_probs
        if step < 5:
            chex.assert_trees_all_equal(rows[0], rows[1])
        else:
            assert not np.allclose(rows[0], rows[1])


def test_too_few_members_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        make_setting("cliff", num_members=1, betray_at=3)
