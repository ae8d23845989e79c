"""Results on disk and the intervals quoted from them."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from consensus_imitation.experiments import mean_interval, read_csv, share_interval, write_csv
from consensus_imitation.experiments.ledger import claim_directory


def test_csv_round_trip_keeps_types(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": 0.5, "c": None, "d": "x", "e": True}, {"a": 2, "b": 1e-9, "c": 3, "d": "y", "e": False}]
    write_csv(tmp_path / "t.csv", rows, ("a", "b", "c", "d", "e"))
    assert read_csv(tmp_path / "t.csv") == rows
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"], "the temporary file is gone"


def test_mean_interval_covers_at_its_rate() -> None:
    """Of 2000 intervals at 95%, the number that cover the truth is binomial; 5 standard deviations are allowed."""
    rng = np.random.default_rng(0)
    n = 2000
    covers = 0
    for _ in range(n):
        _, low, high = mean_interval(rng.normal(3.0, 2.0, 10).tolist())
        covers += low <= 3.0 <= high
    assert abs(covers / n - 0.95) < 5 * np.sqrt(0.95 * 0.05 / n)


def test_mean_interval_of_one_value_has_no_ends() -> None:
    mean, low, high = mean_interval([2.0])
    assert mean == 2.0
    assert np.isnan(low)
    assert np.isnan(high)


@pytest.mark.parametrize(("count", "total"), [(0, 20), (3, 20), (20, 20)])
def test_share_interval_is_clopper_pearson(count: int, total: int) -> None:
    share, low, high = share_interval(count, total)
    assert share == count / total
    assert low == pytest.approx(stats.beta.ppf(0.025, count, total - count + 1) if count else 0.0)
    assert high == pytest.approx(stats.beta.ppf(0.975, count + 1, total - count) if count < total else 1.0)


def test_a_directory_of_another_configuration_is_refused(tmp_path: Path) -> None:
    assert claim_directory(tmp_path / "run", {"seed": 0}, overwrite=False) is False
    assert claim_directory(tmp_path / "run", {"seed": 0}, overwrite=False) is True
    with pytest.raises(ValueError, match=r"has no results yet .*--overwrite"):
        claim_directory(tmp_path / "run", {"seed": 1}, overwrite=False)
    (tmp_path / "run" / "rows.csv").write_text("")
    with pytest.raises(ValueError, match=r"holds results of another configuration .*--overwrite"):
        claim_directory(tmp_path / "run", {"seed": 1}, overwrite=False)
    assert claim_directory(tmp_path / "run", {"seed": 1}, overwrite=True) is False
    assert claim_directory(tmp_path / "run", {"seed": 1}, overwrite=True) is False, "overwriting starts anew"
