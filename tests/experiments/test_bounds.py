"""The comparison of bounds with what happens."""

import numpy as np
import pytest

from consensus_imitation.experiments import BoundsConfig, exceeded, read_csv, run_bounds

SMALL = BoundsConfig(num_seeds=64, num_steps=400, num_members=5, factors=(1.2, 2.0))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list:
    out = tmp_path_factory.mktemp("bounds")
    found = run_bounds(SMALL, out)
    assert len(read_csv(out / "bounds.csv")) == len(found)
    return found


def last(rows: list, part: str, setting: str) -> dict:
    return [row for row in rows if row["part"] == part and row["setting"] == setting][-1]


@pytest.mark.slow
def test_no_bound_is_exceeded(rows: list) -> None:
    assert exceeded(rows, SMALL.num_seeds) == []


@pytest.mark.slow
def test_a_bound_that_is_too_low_is_noticed(rows: list) -> None:
    lowered = [{**row, "bound": row["bound"] / 1000} for row in rows]
    parts = {row["part"] for row in exceeded(lowered, SMALL.num_seeds)}
    assert {"queries", "truth ever left out"} <= parts


@pytest.mark.slow
def test_timid_colluders_displace_the_truth_from_a_bare_top_k_only(rows: list) -> None:
    assert last(rows, "truth ever left out", "TopK(4)")["observed"] > 0.9
    assert last(rows, "truth ever left out", "AlphaThreshold(0.002)")["observed"] < 0.1


@pytest.mark.slow
def test_curves_never_fall(rows: list) -> None:
    for part, setting in {(row["part"], row["setting"]) for row in rows}:
        observed = [row["observed"] for row in rows if row["part"] == part and row["setting"] == setting]
        assert np.all(np.diff(observed) >= 0)


@pytest.mark.parametrize(
    "options", [{"alpha": 0.0}, {"factors": (0.5,)}, {"num_seeds": 1}, {"num_steps": 2}, {"seed": -1}]
)
def test_a_bad_configuration_is_refused(options: dict) -> None:
    with pytest.raises(ValueError, match="must"):
        BoundsConfig(**options)
