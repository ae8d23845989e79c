"""The command line: help, results, one clear line for each mistake, exit codes."""

import dataclasses
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.cli import main
from consensus_imitation.experiments import read_csv
from consensus_imitation.experiments.command import find_commands

SMALL_SWEEP = ["sweep", "--k", "1", "2", "--members", "3", "--seeds", "2", "--steps", "40"]


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    try:
        code = main.main(argv)
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("command", [[], ["demo"], ["sweep"], ["redteam"], ["bench"], ["envs"], ["journal"]])
def test_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run(capsys, *command, "--help")
    assert max(map(len, out.splitlines()[1:])) <= 80  # the usage comes first, in one line
    assert code == 0
    assert out.startswith("usage: consensus-imitation")
    assert "exit codes:" in out


@pytest.mark.slow
def test_sweep_writes_rows_a_picture_and_a_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, *SMALL_SWEEP, "--alpha", "0.1", "--out", str(tmp_path))
    assert code == 0
    assert len(read_csv(tmp_path / "sweep.csv")) == 2 * 3
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert all(label in out for label in ("k=1", "k=2", "alpha=0.1"))


def test_progress_is_told_in_lines_where_no_bar_can_be_drawn(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)

    def sweep(_: object, __: object, progress: Callable[[int, int], None], ___: object) -> NoReturn:
        for done in range(201):
            progress(done, 200)
        raise ValueError("that will do")

    monkeypatch.setattr("consensus_imitation.experiments.sweep.run.run", sweep)
    code, _, err = run(capsys, *SMALL_SWEEP, "--out", str(tmp_path))
    assert code == 2
    said = [re.sub(r"\d+:\d\d:\d\d", "0:00:00", line) for line in err.splitlines()]
    assert said[0] == "sweep cliff: 0/200 after 0:00:00 (compiling first)"
    assert said[1:-1] == [f"sweep cliff: {done}/200 after 0:00:00" for done in range(20, 201, 20)]


def test_the_demo_says_first_what_it_is_about_to_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def demo(_: object, __: object, stage: Callable[[str], Callable[[int, int], None]], ___: object) -> NoReturn:
        stage("a part")(0, 1)
        stage("another")(0, 1)
        raise ValueError("that will do")

    monkeypatch.setattr("consensus_imitation.experiments.demo.run.run", demo)
    code, _, err = run(capsys, "demo", "--out", str(tmp_path))
    assert code == 2
    assert err.startswith("This takes about a minute on two cores. It has four parts:")
    assert err.count("four parts") == 1
    assert max(map(len, err.splitlines())) <= 80
    assert err.index("compiling, 5 to 10 seconds") < err.index("a part: 0/1")


MISTAKES = {
    "no command": ([], "the following arguments are required: command"),
    "another command": (["sweeep"], "invalid choice: 'sweeep'"),
    "k above N": (["sweep", "--k", "9"], "k=9 exceeds the ensemble's 8 members: choose k <= 8 or add members"),
    "no k": (["sweep", "--k", "0"], "k must be an integer and at least 1"),
    "alpha": (["sweep", "--alpha", "1.5"], "alpha must lie in (0, 1], got 1.5"),
    "world": (["sweep", "--env", "clif"], "did you mean 'cliff'?"),
    "world of the demo": (["demo", "--env", "clif"], "did you mean 'cliff'?"),
    "seeds": (["sweep", "--seeds", "0"], "num_seeds must be at least 1"),
    "more steps than can be counted": (["sweep", "--steps", "99999999999"], "num_steps must be below 2**31"),
    "a seed too large": (["bounds", "--seed", "99999999999"], "seed must be below 2**31"),
    "scenario": (["redteam", "--scenarios", "time-bom"], "time-bomb"),
    "option twice": (["compare", "--training", "a=1", "--training=b=1"], "--training is given twice"),
    "case": (["bench", "--cases", "nothing-like-it"], "nothing-like-it"),
}
#: What is told by the reader of the options, with the help of the option that is nearest.
WRONG_OPTIONS = {
    "option": (["sweep", "--kk", "3"], "Unrecognized options: --kk"),
    "type": (["sweep", "--k", "two"], "Error parsing --k"),
    "missing": (["compare"], "--task"),
    "action": (["journal", "shew"], "Available subcommands: show"),
}


@pytest.mark.parametrize("name", [*MISTAKES, *WRONG_OPTIONS])
def test_a_mistake_is_told_with_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    argv, said = (MISTAKES | WRONG_OPTIONS)[name]
    code, out, err = run(capsys, *argv)
    assert code == main.EXIT_USAGE
    assert said in err
    if name in MISTAKES:
        assert err.startswith("consensus-imitation")
        assert len(err.strip().splitlines()) == 1
    else:
        assert "--help" in err
    assert out == ""
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_every_setting_of_every_experiment_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    for name, command in find_commands().items():
        shown = run(capsys, name, "--help")[1]
        for field in dataclasses.fields(command.settings):
            option = f"--{field.name.removeprefix('num_').replace('_', '-')}"
            assert any(f"{option}{after}" in shown for after in " ,") or f"-{field.name}" in shown


def test_help_imports_nothing_that_computes() -> None:
    program = (
        "import sys\nfrom consensus_imitation.cli import main\n"
        "try:\n    main.main(['compare', '--help'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('jax', 'scipy', 'matplotlib', 'gymnasium') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_results_of_another_configuration_are_not_mixed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    argv = [*SMALL_SWEEP, "--out", str(tmp_path)]
    assert run(capsys, *argv)[0] == 0
    assert run(capsys, *argv)[0] == 0, "the same configuration goes on, here with nothing left to do"
    before = (tmp_path / "sweep.csv").read_text()
    code, _, err = run(capsys, *argv, "--seed", "1")
    assert code == main.EXIT_USAGE
    assert "--overwrite" in err
    assert (tmp_path / "sweep.csv").read_text() == before
    assert run(capsys, *argv, "--seed", "1", "--overwrite")[0] == 0
    assert (tmp_path / "sweep.csv").read_text() != before


def test_out_that_is_a_file_gets_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    code, _, err = run(capsys, *SMALL_SWEEP, "--out", str(tmp_path / "file"))
    assert code == main.EXIT_USAGE
    assert len(err.strip().splitlines()) == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_missing_matplotlib_is_named_before_the_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "find_spec", lambda name: None)
    code, _, err = run(capsys, *SMALL_SWEEP, "--out", str(tmp_path / "new"))
    assert code == main.EXIT_MISSING_EXTRA
    assert 'pip install "consensus_imitation[plot]"' in err
    assert not (tmp_path / "new").exists()


def test_a_result_against_theory_is_exit_code_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {
        "scenario": "made up", "attack": True, "contestant": "mine", "harm_rate": 0.9, "expected": "safe",
        "observed": "harmed", "as_expected": False,
    }  # fmt: skip
    monkeypatch.setattr("consensus_imitation.experiments.redteam.run.run", lambda *args: [row])
    code, _, err = run(capsys, "redteam", "--out", str(tmp_path))
    assert code == main.EXIT_CHECK_FAILED
    assert "made up (attack), mine: expected safe, observed harmed" in err


def test_envs_lists_every_world(capsys: pytest.CaptureFixture[str]) -> None:
    from consensus_imitation import envs

    code, out, _ = run(capsys, "envs")
    assert code == 0
    assert all(name in out for name in envs.names())


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    members = ensembles.tabular(np.array([[[0.9, 0.1]], [[0.2, 0.8]]]))
    with ConsensusImitator(members, lambda _: 1, selection=TopK(2), seed=0, journal=tmp_path / "run") as imitator:
        for _ in range(20):
            imitator.act(0)
    return tmp_path / "run"


def test_a_journal_is_shown_and_verified(capsys: pytest.CaptureFixture[str], run_dir: Path) -> None:
    code, out, err = run(capsys, "journal", "show", str(run_dir), "--last", "3")
    assert (code, err) == (0, "")
    assert "answered" in out
    code, out, err = run(capsys, "journal", "verify", str(run_dir))
    assert (code, err) == (0, "")
    assert "that is all of it" in out


def test_a_damaged_journal_is_exit_code_1(capsys: pytest.CaptureFixture[str], run_dir: Path) -> None:
    with sqlite3.connect(run_dir / "journal.sqlite") as connection:
        connection.execute("UPDATE entries SET action = 0 WHERE kind = 'answer' AND query = 1")
    connection.close()
    code, out, _ = run(capsys, "journal", "verify", str(run_dir))
    assert code == 1
    assert "damaged" in out


@pytest.mark.parametrize("name", ["csv", "npz", "parquet", "minari"])
def test_a_journal_is_exported(
    capsys: pytest.CaptureFixture[str], run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "journal", "export", "run", "--format", name, "--out", f"new.{name}")
    assert (code, err) == (0, "")
    assert Path(f"new.{name}").exists()
    code, _, err = run(capsys, "journal", "export", "run", "--format", name, "--out", f"new.{name}")
    assert (code, err.count("\n")) == (2, 1)
    assert "already" in err


def test_no_journal_gets_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "journal", "show", str(tmp_path / "nothing"))
    assert (code, err.count("\n")) == (2, 1)


def test_the_installed_command_works_at_80_columns_without_a_display(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "DISPLAY"} | {"COLUMNS": "80"}
    command = [Path(sys.executable).with_name("consensus-imitation"), *SMALL_SWEEP, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert max(len(line) for line in done.stdout.splitlines() if str(tmp_path) not in line) <= 80
