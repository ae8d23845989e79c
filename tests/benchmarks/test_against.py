"""Figures of two commits side by side, and where figures come from."""

from pathlib import Path

import pytest

from consensus_imitation.benchmarks.against import ROOT, changes, checkout, measure_at, origin
from consensus_imitation.benchmarks.measure import Measurement
from consensus_imitation.experiments import read_csv

a_checkout = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="these files are no checkout")


def rows(*figures: tuple[str, float]) -> list[dict[str, object]]:
    return [Measurement(case, "time", seconds).as_record() for case, seconds in figures]


def test_what_both_have_is_compared_once() -> None:
    here = rows(("b", 2.0), ("a", 1.0), ("new", 1.0), ("a", 1.0))
    found = changes(here, rows(("a", 4.0), ("gone", 1.0), ("b", 1.0)))
    assert [(one.case, one.here, one.there) for one in found] == [("b", 2.0, 1.0), ("a", 1.0, 4.0)]
    assert [one.as_row()["here / there"] for one in found] == ["2", "0.25"]


def test_figures_of_older_files_in_words_are_left_out() -> None:
    assert changes(rows(("a", 1.0)), [{"case": "a", "quantity": "time", "ours": "4 ms"}]) == []


def test_figures_say_where_they_come_from() -> None:
    found = origin()
    assert {"machine", "cores", "python", "jax", "numpy", "commit"} <= set(found)
    assert found["cores"] >= 1
    assert all(found[name] for name in ("machine", "python", "jax", "numpy"))
    assert bool(found["commit"]) == (ROOT / ".git").exists()


def test_numbers_in_files_are_not_rounded() -> None:
    record = Measurement("a", "time", 1 / 3, reference="b", reference_value=2 / 3).as_record()
    assert record["ours"] == 1 / 3
    assert record["ratio"] == 0.5


@pytest.mark.parametrize("commit", ["nothing-like-it", "HEAD:README.md", "", "--output=here"])
def test_what_is_no_commit_is_refused(commit: str) -> None:
    with pytest.raises(ValueError, match="against takes a commit of the checkout"), checkout(commit):
        pass


@pytest.mark.slow
@a_checkout
def test_another_commit_is_measured_with_its_own_code(tmp_path: Path) -> None:
    with checkout("HEAD") as tree:
        assert (tree / "consensus_imitation" / "benchmarks" / "cases.py").exists()
        # Told apart from what is installed by a case that only it has.
        cases = tree / "consensus_imitation" / "benchmarks" / "cases.py"
        cases.write_text(cases.read_text() + '\nCASES["here-only"] = CASES["sweep"]\n')
        found = read_csv(measure_at(tree, ["here-only"], 1, tmp_path))
        assert [row["ours"] for row in found] == [1]
        with pytest.raises(ValueError, match=r"wrote no figures: .*nothing-like-it"):
            measure_at(tree, ["nothing-like-it"], 1, tmp_path / "none")
    assert not tree.exists()
