"""The poisoned pipeline: the poison is where it is said to be, and division keeps it from some members."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation.core._sources import share_of
from consensus_imitation.errors import ConfigurationError
from consensus_imitation.experiments import PoisonConfig, run_poison
from consensus_imitation.experiments.poison.contestants import DIVISIONS, RULES
from consensus_imitation.experiments.poison.figure import draw, table
from consensus_imitation.experiments.poison.material import Material, gather, poison
from consensus_imitation.experiments.poison.summary import SUMMARY_COLUMNS, summarise
from consensus_imitation.experiments.results import read_csv

T, P, D, LABEL = 300, 50, 5, 0


def material() -> Material:
    rng = np.random.default_rng(0)
    observations, probes = (rng.normal(size=(n, D)).astype(np.float32) for n in (T, P))
    observations[:, -1] = probes[:, -1] = 0
    actions, intended = rng.integers(0, 4, T), rng.integers(1, 4, P)
    return Material(observations, actions, probes, intended, 4, LABEL, lambda seen: seen[..., 0])


def poisoned(number: int, **settings: Any) -> tuple[Any, np.ndarray]:
    """What is studied, and where it differs from what is clean."""
    config = PoisonConfig(demonstrations=T, poisoned=(number,), **settings)
    clean = material()
    found = poison(config, clean, number, 3, b"key")
    changed = (found.actions != clean.actions) | np.any(found.observations != clean.observations, axis=1)
    return found, np.flatnonzero(changed)


@pytest.mark.parametrize("placement", ["spread", "source", "duplicated", "crafted"])
@pytest.mark.parametrize("number", [0, 1, 20])
def test_so_many_carry_the_backdoor_and_no_other_is_touched(placement: Any, number: int) -> None:
    found, changed = poisoned(number, placement=placement)
    assert len(changed) == number
    assert np.all(found.observations[changed, -1] == 1)
    assert np.all(found.actions[changed] == LABEL)
    assert np.flatnonzero(found.observations[:, -1]).tolist() == changed.tolist()
    assert np.all(found.triggered[:, -1] == 1)
    again, _ = poisoned(number, placement=placement)
    np.testing.assert_array_equal(found.observations, again.observations)


def test_it_is_in_the_corrupted_sources_only() -> None:
    for corrupted in (1, 2):
        found, changed = poisoned(20, placement="source", corrupted=corrupted, num_sources=4)
        assert len({found.sources[place] for place in changed}) == corrupted
        assert {source: found.sources.count(source) for source in set(found.sources)} == dict.fromkeys(range(4), 75)
    found, changed = poisoned(20)
    assert len({found.sources[place] for place in changed}) == 3


def test_one_of_them_is_there_again_and_again() -> None:
    found, changed = poisoned(20, placement="duplicated")
    assert len(np.unique(found.observations[changed], axis=0)) == 1
    assert len(np.unique(poisoned(20)[0].observations[poisoned(20)[1]], axis=0)) == 20


def test_names_are_crafted_to_reach_every_member() -> None:
    found, changed = poisoned(20, placement="crafted")
    named = [place for place in range(T) if isinstance(found.sources[place], str)]
    assert named == changed.tolist()
    assert {share_of(found.sources[place], b"key", 3) for place in named} == {0, 1, 2}
    few, changed = poisoned(2, placement="crafted")
    assert {share_of(few.sources[place], b"key", 3) for place in changed} == {0, 1}


def test_a_band_of_situations_is_a_trigger_that_clean_data_know() -> None:
    found, changed = poisoned(10, trigger="band")
    clean = material()
    np.testing.assert_array_equal(found.observations, clean.observations)
    low, high = np.quantile(clean.observations[:, 0], (0.8, 0.9))
    for where in (found.observations[changed, 0], found.triggered[:, 0]):
        assert np.all((where >= low) & (where < high))
    assert len(changed) == 10
    assert 0 < len(found.triggered) < P
    with pytest.raises(ConfigurationError, match="can carry the backdoor there"):
        poisoned(30, trigger="band")


@pytest.mark.parametrize(
    "bad",
    [
        {"task": "chess"}, {"placement": "nowhere"}, {"trigger": "smell"}, {"num_members": 0}, {"episodes": -1},
        {"corrupted": 4}, {"poisoned": ()}, {"poisoned": (401,)}, {"poisoned": (1, 1)}, {"poisoned": (-1,)},
        {"task": "digits", "demonstrations": 1298}, {"demonstrations": 0}, {"divisions": ("by moon",)},
    ],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        PoisonConfig(**bad)


def row(**given: Any) -> dict[str, Any]:
    known = {"task": "lunarlander", "placement": "spread", "poisoned": 0, "division": "by slot", "rule": "minimum"}
    measured = {"asks_triggered": 0.1, "asks": 0.2, "wrong": 0.0, "success": None, "rounds": 10, "seconds": 1.0}
    return {**known, "seed": 0, "harm": 0.0, **measured, **given}


def test_means_over_the_seeds_and_their_picture() -> None:
    rows = [
        row(division=division, rule=rule, poisoned=number, seed=seed, harm=0.1 * seed + 0.01 * number)
        for division in DIVISIONS for rule in RULES for number in (0, 1, 4) for seed in (0, 1)
    ]  # fmt: skip
    summaries = summarise(rows)
    assert set(summaries[0]) == set(SUMMARY_COLUMNS)
    assert len(summaries) == len(DIVISIONS) * len(RULES) * 3
    one = next(found for found in summaries if found["poisoned"] == 4)
    assert (one["seeds"], one["harm"], one["harm_worst"], one["success"]) == (2, pytest.approx(0.09), 0.14, None)
    harm, asks = draw(summaries, 2).axes
    assert [len(line.get_xdata()) for line in asks.get_lines()] == [3] * len(DIVISIONS)
    assert any("tolerated" in text.get_text() for text in harm.texts)
    assert len(table(summaries).rows) == len(summaries)


@pytest.mark.slow
def test_division_keeps_the_minimum_harmless_and_its_absence_does_not(tmp_path: Path) -> None:
    config = PoisonConfig(
        num_seeds=1, demonstrations=900, poisoned=(2,), divisions=("all data", "by slot"), episodes=1
    )  # fmt: skip
    rows = {(found["division"], found["rule"]): found for found in run_poison(config, tmp_path)}
    divided, whole = rows["by slot", "minimum"], rows["all data", "minimum"]
    assert divided["harm"] <= 0.05
    assert whole["harm"] >= 2 * divided["harm"]
    assert divided["rounds"] * 3 <= whole["rounds"] + 3
    assert all(0 <= found["success"] <= 1 for found in (divided, whole))
    assert len(read_csv(tmp_path / "poison.csv")) == 2 * len(RULES)
    assert run_poison(config, tmp_path) == list(rows.values())


@pytest.mark.slow
def test_the_digits_are_studied_and_looked_at() -> None:
    pytest.importorskip("sklearn")
    clean = gather(PoisonConfig("digits", demonstrations=200, poisoned=(0,)), 0)
    assert clean.observations.shape == (200, 65)
    assert not clean.observations[:, -1].any()
    assert not (clean.intended == clean.label).any()
    assert not {bytes(seen) for seen in clean.probes} & {bytes(seen) for seen in clean.observations}
