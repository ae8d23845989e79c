"""The continuous task, in short: the consensus survives the deceiver's turn, the most likely member does not."""

import sys

import numpy as np
import pytest

from consensus_imitation.sampling import pendulum


def test_consensus_survives_the_turn_and_the_most_likely_member_does_not() -> None:
    pytest.importorskip("gymnasium")
    rows = pendulum(seeds=[0], num_episodes=3, trigger_episode=1)
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
        pendulum([0], contestants=["the_best"])


def test_without_gymnasium_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ImportError, match=r"consensus_imitation\[gym\]"):
        pendulum([0], num_episodes=1, contestants=["demonstrator"])
