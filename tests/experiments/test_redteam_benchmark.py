"""Rows of the benchmark: worked out from the cells, refused where they contradict themselves, and kept in the docs."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

from consensus_imitation import deception
from consensus_imitation.cli import main
from consensus_imitation.core.aggregation import __all__ as rules
from consensus_imitation.deception import asking, judgement
from consensus_imitation.deception.scenario import SUITE
from consensus_imitation.experiments import RedteamConfig, read_csv, run_redteam, write_csv
from consensus_imitation.experiments.redteam import benchmark
from consensus_imitation.experiments.redteam.run import COLUMNS

KEPT = Path(__file__).parents[2] / "docs" / "benchmarks" / "suite" / "rules.csv"


@pytest.fixture
def rows():
    return read_csv(KEPT)


@pytest.mark.slow
def test_the_kept_rows_are_complete_and_contradict_nothing(rows):
    assert benchmark.check(rows, COLUMNS) == []
    assert list(dict.fromkeys(row["contestant"] for row in rows)) == [one.name for one in benchmark.contestants()]


def test_every_rule_of_the_library_has_a_row():
    laws = {name for name in rules if name[0].isupper() and name not in ("ActionLaw", "Aggregation")}
    laws = {name for name in laws if not name.isupper() or name == "MAP"}
    assert {type(one.aggregation).__name__ for one in benchmark.contestants()} == laws


def test_the_page_shows_what_the_kept_cells_say(rows):
    page = (KEPT.parents[2] / "suite_benchmark.md").read_text()
    for cells in benchmark.table(rows).rows:
        assert "| " + " | ".join(cells) + " |" in page


def test_totals_are_means_over_the_promised_attacks(rows):
    name = "minimum, top 4 or alpha"
    (found,) = [one for one in benchmark.totals(rows) if one.contestant == name]
    unpromised = {"swamped-truth", "knows-the-draw", "truth-absent"}
    own = [r for r in rows if r["contestant"] == name and r["attack"] and r["scenario"] not in unpromised]
    assert len(own) == len(deception.scenario_names()) - 3
    assert found.harm == pytest.approx(np.mean([r["harm_rate"] for r in own]))
    assert found.asks == pytest.approx(np.mean([r["query_rate"] for r in own]))
    hits = np.mean([r["called"] * r["ask_recall"] if r["called"] else 0 for r in own])
    assert found.precision == pytest.approx(hits / found.asks)
    assert found.f1 == pytest.approx(2 / (1 / found.precision + 1 / found.recall))
    assert 0 <= found.asked_at_10 <= 1


def test_the_demonstrator_asks_always_and_earns_its_own_reward(rows):
    (found,) = [one for one in benchmark.totals(rows) if one.contestant == "the demonstrator"]
    assert found.asks == found.recall == 1
    assert found.reward == pytest.approx(1, abs=0.02)
    assert found.own_harm == 0


CONTRADICTIONS = {
    "a harm that is not counted": ({"harmed_runs": 3}, "harm_rate"),
    "fewer seeds than needed": ({"num_seeds": 7}, "too few"),
    "a shorter run": ({"num_steps": 100}, "num_steps"),
    "another verdict": ({"harmed_runs": 128, "harm_rate": 1.0, "harm_low": 0.9716, "harm_high": 1.0}, "the verdict"),
    "a better F1": ({"ask_f1": 0.99}, "ask_f1 is"),
    "a share above one": ({"query_rate": 1.5}, "a share lies outside"),
    "a worse demonstrator": ({"demonstrator_harm": 0.5}, "demonstrator_harm is"),
    "a poorer demonstrator": ({"demonstrator_reward": 1.0}, "demonstrator_reward is"),
    "harm that is nobody's": ({"own_harm_rate": 0.9}, "more runs were harmed by the imitator alone"),
    "text for a number": ({"harmed_runs": "none"}, "a cell holds what it cannot"),
    "hits without questions": ({"query_rate": 0.0, "ask_recall": 1.0, "ask_f1": 2.0}, "more steps were asked about"),
}


@pytest.mark.parametrize("title", CONTRADICTIONS)
def test_a_cell_that_contradicts_itself_is_refused(rows, title):
    changed, said = CONTRADICTIONS[title]
    own = [dict(row) for row in rows if row["contestant"] == "minimum, top 4"]
    place = next(i for i, row in enumerate(own) if row["attack"] and row["called"] and row["harmed_runs"] < 60)
    own[place] |= changed
    assert any(said in line for line in benchmark.check(own, COLUMNS))


def test_a_row_that_is_not_whole_or_of_another_suite_is_refused(rows):
    own = [dict(row) for row in rows if row["contestant"] == "minimum, top 4"]
    assert benchmark.check(own, COLUMNS) == []
    for broken, said in (
        ([], "no rows"),
        (own[:-1], "needs every scenario"),
        (own[::-1], "needs every scenario"),
        ([*own, own[-1]], "needs every scenario"),
        ([{**own[0], "seed": 5}, *own[1:]], "one seed"),
        ([{**row, "suite": SUITE + 1} for row in own], "another version of the suite"),
        ([{"suite": 1}], "columns"),
    ):
        assert any(said in line for line in benchmark.check(broken, COLUMNS)), said


def test_the_suite_of_this_version_is_what_it_was():
    """Whoever changes what is measured raises `SUITE`, and pins the new one here."""
    about = [
        (
            one.name, one.world, dict(one.options), one.members, one.planted, [round(w, 9) for w in one.prior],
            one.num_steps, one.knows_seed, round(one.demonstrator_harm(), 5), round(one.demonstrator_reward(), 3),
            [(one.forecast("", side).harm.value, round(one.forecast("", side).exclusion, 9)) for side in (False, True)],
        )
        for one in map(deception.get_scenario, deception.scenario_names())
    ]  # fmt: skip
    about.append((asking.WRONG, asking.FAMILIAR, judgement.ERROR_RATE, judgement.SLACK, judgement.LAW_EVIDENCE))
    digest = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
    assert (SUITE, digest) == (1, "4677fac761987db5")


@pytest.mark.slow
def test_a_policy_of_ones_own_gets_a_row_and_the_command_checks_it(tmp_path, monkeypatch, capsys, rows):
    (tmp_path / "mine.py").write_text(
        "class Always:\n"
        "    def __init__(self, problem):\n        self.ask = problem.demonstrator\n"
        "    def act(self, observation):\n"
        "        return type('Decision', (), {'action': self.ask(observation), 'queried': True})()\n"
        "def make(problem):\n    return Always(problem)\n"
    )
    monkeypatch.chdir(tmp_path)
    config = RedteamConfig(("time-bomb",), policy="mine.py:make", num_loop_seeds=8)
    honest, attacked = run_redteam(config, tmp_path / "out")
    assert (attacked["contestant"], attacked["num_seeds"], attacked["query_rate"]) == ("mine.py:make", 8, 1.0)
    assert attacked["ask_recall"] == 1.0 or math.isnan(attacked["ask_recall"])
    assert honest["observed"] == "safe"
    # One scenario is no row.
    assert main.main(["redteam", "--check", str(tmp_path / "out" / "redteam.csv")]) == main.EXIT_CHECK_FAILED
    assert "needs every scenario" in capsys.readouterr().err
    write_csv(tmp_path / "row.csv", [row for row in rows if row["contestant"] == "minimum, top 4"], COLUMNS)
    assert main.main(["redteam", "--check", str(tmp_path / "row.csv")]) == 0
    assert "1 complete row" in capsys.readouterr().out


def test_settings_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="leave out --scenarios"):
        RedteamConfig(("time-bomb",), benchmark=True)
    with pytest.raises(ValueError, match="separate things to do"):
        RedteamConfig(self_test=True, policy="mine.py:make")
    with pytest.raises(ValueError, match="num_loop_seeds must be at least"):
        RedteamConfig(num_loop_seeds=3)
    with pytest.raises(ValueError, match="the policy is a function"):
        run_redteam(RedteamConfig(("time-bomb",), policy="mine"))
