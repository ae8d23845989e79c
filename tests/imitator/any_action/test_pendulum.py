"""The continuous task, in short: the consensus survives the deceiver's turn, the most likely member does not."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation.experiments import PendulumConfig, read_csv, run_pendulum
from consensus_imitation.experiments.pendulum import figure
from tests.cli.command import outcome_of


@pytest.mark.slow
def test_consensus_survives_the_turn_and_the_most_likely_member_does_not() -> None:
    pytest.importorskip("gymnasium")
    rows = run_pendulum(PendulumConfig(num_seeds=1, num_episodes=3, trigger_episode=1))
    assert len(rows) == 9
    by_name = {name: [row for row in rows if row["contestant"] == name] for name in ("consensus", "most_likely")}
    after = {name: np.mean([row["return"] for row in own if row["triggered"]]) for name, own in by_name.items()}
    assert after["consensus"] > -1000 > after["most_likely"]
    first, *later = by_name["consensus"]
    assert 0 < first["query_rate"] < 0.3
    assert abs(first["deceiver_weight"] - first["truth_weight"]) < 1e-3  # nothing can tell them apart yet
    assert later[0]["queries"] >= 1
    assert later[-1]["deceiver_weight"] < 0.01
    assert later[-1]["truth_weight"] > 0.9
    assert later[-1]["queries"] < first["queries"]
    assert all(row["queries"] == 200 for row in rows if row["contestant"] == "demonstrator")


def test_unknown_contestants_are_refused() -> None:
    with pytest.raises(ValueError, match="the_best"):
        PendulumConfig(contestants=("the_best",))


def test_without_gymnasium_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ImportError, match=r"consensus_imitation\[gym\]"):
        run_pendulum(PendulumConfig(num_seeds=1, num_episodes=1, contestants=("demonstrator",)))


def test_the_command_writes_rows_a_picture_and_a_table(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium")
    words = "--seeds 2 --episodes 2 --trigger-episode 1 --contestants demonstrator consensus --k 2 --out"
    found = outcome_of("pendulum", *words.split(), tmp_path)
    assert found.lines == [f"written: {tmp_path}/pendulum.csv, pendulum.png"]
    assert (tmp_path / "pendulum.png").read_bytes().startswith(b"\x89PNG")
    demonstrator, consensus = found.tables[0].rows
    assert (demonstrator[0], demonstrator[3], consensus[0]) == ("demonstrator", "400 ± 0", "consensus")
    rows = read_csv(tmp_path / "pendulum.csv")
    assert len(rows) == 2 * 2 * 2
    # Before the turn only: no cell for what comes after it.
    early = figure.table([row for row in rows if not row["triggered"]])
    assert {cells[2] for cells in early.rows} == {""}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"contestants": ()}, "nobody to run"),
        ({"k": None, "alpha": None}, "needs a selection rule"),
        ({"alpha": 2.0}, "alpha must lie in"),
        ({"num_episodes": 0}, "num_episodes must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_configurations_that_make_no_sense(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PendulumConfig(**changes)
