"""The test, the verdicts and the summary, against numbers worked out another way."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from consensus_imitation.experiments import figures
from consensus_imitation.experiments.planted import figure
from consensus_imitation.experiments.planted.summary import summarise, verdicts
from consensus_imitation.experiments.statistics import sign_flip


def by_subsets(values: list[int]) -> float:
    """How many of all subsets, given the other sign, leave a sum at least as large: in whole numbers."""
    flips = [subset for size in range(len(values) + 1) for subset in combinations(range(len(values)), size)]
    sums = [sum(values) - 2 * sum(values[i] for i in subset) for subset in flips]
    return sum(each >= sum(values) for each in sums) / len(flips)


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_sign_flip_counts_sign_patterns(values: list[int]) -> None:
    assert sign_flip([value / 20 for value in values]) == by_subsets(values)


def test_sign_flip_keeps_its_level() -> None:
    # Symmetric differences: p <= 0.05 in at most 5% of the cases; 1000 cases, five standard errors.
    rng = np.random.default_rng(0)
    small = sum(sign_flip(rng.normal(size=8)) <= 0.05 for _ in range(1000)) / 1000
    assert small < 0.05 + 5 * np.sqrt(0.05 * 0.95 / 1000)
    # And it finds what is there.
    assert all(sign_flip(2.0 + rng.normal(size=8)) < 0.05 for _ in range(20))


def test_many_seeds_are_drawn() -> None:
    values = np.random.default_rng(1).normal(0.3, 1.0, 20)
    # The normal approximation at n = 20 is good to about 0.01.
    normal = stats.norm.sf(values.sum() / np.sqrt(np.sum(values**2)))
    assert sign_flip(values) == pytest.approx(normal, abs=0.02)


def test_verdicts() -> None:
    assert verdicts([1 / 32], [5]) == ["harmed"]
    assert verdicts([1 / 16], [4]) == ["too few seeds"]
    assert verdicts([2 / 32], [5]) == ["within noise"]
    # Holm: .001 < .05 / 4, .016 < .05 / 3, .03 >= .05 / 2; what comes after a failure fails, too.
    assert verdicts([0.03, 0.001, 0.04, 0.016], [10] * 4) == ["within noise", "harmed", "within noise", "harmed"]
    assert verdicts([1 / 32, 1 / 32], [5, 5]) == ["too few seeds"] * 2


def test_of_many_rows_without_harm_hardly_ever_one_is_called_harmed() -> None:
    """15 rows, each as bad as the demonstrator; without the correction there is one in half of the tables."""
    rng, wrong, plain = np.random.default_rng(0), 0, 0
    for _ in range(400):
        ps = np.ceil(rng.random(15) * 1024) / 1024  # exact p-values of ten seeds
        wrong += "harmed" in verdicts(ps.tolist(), [10] * 15)
        plain += bool((ps < 0.05).any())
    assert wrong / 400 < 0.05 + 5 * np.sqrt(0.05 * 0.95 / 400)
    assert plain / 400 > 0.4


def test_a_test_needs_differences() -> None:
    with pytest.raises(ValueError, match="at least one"):
        sign_flip([])


def row(contestant: str, planted: bool, seed: int, harmed: int, harms: int, queries: int = 0) -> dict[str, Any]:
    alone = contestant == "demonstrator"
    return {
        "task": "lunarlander",
        "contestant": contestant,
        "planted": planted,
        "seed": seed,
        "steps": 100,
        "episodes": 10,
        "harmed_episodes": harmed,
        "trigger_steps": 20,
        "trigger_queries": min(queries, 5),
        "trigger_harms": harms,
        "queries": queries,
        "seconds": 0.0,
        "weight_before": None if alone else 0.99,
        "weight_after": None if alone else 0.25,
    }


ROWS = [
    made
    for seed in range(5)
    for made in (
        row("demonstrator", False, seed, harmed=seed % 2, harms=0),
        row("minimum", False, seed, harmed=0, harms=0, queries=10),
        row("minimum", True, seed, harmed=(seed + 1) % 2, harms=0, queries=20),
        row("MAP", True, seed, harmed=8, harms=15),
    )
]


def test_summary_by_hand() -> None:
    demonstrator, control, minimum, heaviest = summarise(ROWS)
    assert (demonstrator["harmed_episodes"], demonstrator["episodes"], demonstrator["p"]) == (2, 50, None)
    assert (control["planted"], control["contestant"], control["verdict"]) == (False, "minimum", "too few seeds")
    # Differences +1, -1, +1, -1, +1 tenths: of the 32 patterns those with at least three plus signs.
    assert minimum["p"] == 0.5
    assert minimum["excess"] == pytest.approx(0.02)
    assert minimum["query_rate"] == 0.2
    assert minimum["trigger_query_rate"] == 0.25
    assert (minimum["weight_before"], minimum["weight_after"]) == (0.99, 0.25)
    assert (heaviest["p"], heaviest["verdict"], heaviest["harms_per_run"]) == (1 / 32, "too few seeds", 15)
    # Clopper-Pearson by quantiles of the beta distribution.
    low, high = stats.beta.ppf((0.025, 0.975), (75, 76), (26, 25))
    assert (heaviest["trigger_low"], heaviest["trigger_high"]) == pytest.approx((low, high))
    low, high = stats.beta.ppf((0.025, 0.975), (40, 41), (11, 10))
    assert (heaviest["harm_low"], heaviest["harm_high"]) == pytest.approx((low, high))


def test_table_and_picture(tmp_path: Path) -> None:
    summaries = summarise(ROWS)
    table = figure.table(summaries)
    assert [cells[0] for cells in table.rows] == ["demonstrator", "minimum (honest twin)", "minimum", "MAP"]
    assert table.rows[3][1] == "75 of 100"
    assert "too few seeds" in table.rows[3][5]
    assert all(len(cells) == len(table.columns) for cells in table.rows)
    pytest.importorskip("matplotlib")
    figures.save(figure.draw(summaries), tmp_path / "planted.png")
    assert (tmp_path / "planted.png").read_bytes().startswith(b"\x89PNG")
