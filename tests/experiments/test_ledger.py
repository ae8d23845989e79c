"""What is finished is saved as a whole, at whatever moment the process ends, and is not made again."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation import deception
from consensus_imitation.experiments import (
    BoundsConfig,
    CompareConfig,
    DemoConfig,
    PendulumConfig,
    RedteamConfig,
    read_csv,
    run_bounds,
    run_demo,
    run_pendulum,
    run_redteam,
)
from consensus_imitation.experiments.ledger import Ledger, identity

TABLES = {"curve": ("run", "step", "value"), "runs": ("run", "value")}
RUNS = ("a", "b", "c")


def experiment(out: Path | None, seed: int, overwrite: bool = False, made: list[str] | None = None) -> tuple[Any, ...]:
    """Three runs, whose values tell the seed."""
    ledger = Ledger(out, {"seed": seed}, overwrite, TABLES, lambda row: row["run"], ["extra.json"])
    for run in ledger.missing(RUNS):
        if made is not None:
            made.append(run)
        curve = [{"run": run, "step": step, "value": seed + step / 7} for step in range(3)]
        ledger.add(curve, [{"run": run, "value": seed + 0.1}])
    return ledger.rows(RUNS)


def files(out: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(out.iterdir()) if path.suffix != ".part"}


class Killed(BaseException):
    """The process ends here."""


def killed_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The call of that number that changes a directory is not made; if it writes, it leaves an empty file."""
    done: list[str] = []
    real_open = Path.open

    def watched(real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def change(*args: Any, **options: Any) -> Any:
            if len(done) == number:
                if name == "write_text" or (name == "open" and args[1:] == ("w",)):
                    real_open(args[0], "w").close()
                raise Killed
            done.append(name)
            return real(*args, **options)

        return change

    for owner, name in ((os, "replace"), (Path, "unlink"), (Path, "mkdir"), (Path, "open"), (Path, "write_text")):
        monkeypatch.setattr(owner, name, watched(getattr(owner, name), name))


@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "over old results"])
def test_whenever_the_process_ends_the_next_one_leaves_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    """Every call that changes a file, in turn, is the last one."""
    whole = tmp_path / "whole"
    expected_rows = experiment(whole, seed=5)
    expected = files(whole)
    number = 0
    while True:
        out = tmp_path / f"cut-{number}"
        if overwrite:
            experiment(out, seed=3)
            (out / "extra.json").write_text("of seed 3")
        with monkeypatch.context() as patch:
            killed_at(patch, number)
            try:
                experiment(out, seed=5, overwrite=overwrite)
                over = True
            except Killed:
                over = False
        if (out / "config.json").exists() and '"seed": 3' in (out / "config.json").read_text():
            # Nothing was touched yet.
            assert (out / "extra.json").exists()
            with pytest.raises(ValueError, match="another configuration"):
                experiment(out, seed=5)
        else:
            rows = experiment(out, seed=5)
            assert files(out) == expected, number
            assert [[row["run"] for row in table] for table in rows] == [
                [row["run"] for row in table] for table in expected_rows
            ]
        if over:
            break
        number += 1
    assert number > 3 * len(RUNS)


def test_what_is_finished_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    with monkeypatch.context() as patch:
        real = Ledger.add

        def add(self: Ledger, *rows: Any) -> None:
            if made == ["a", "b"]:
                raise KeyboardInterrupt
            real(self, *rows)

        patch.setattr(Ledger, "add", add)
        with pytest.raises(KeyboardInterrupt):
            experiment(tmp_path, 0, made=made)
    made.clear()
    experiment(tmp_path, 0, made=made)
    assert made == ["b", "c"]
    made.clear()
    experiment(tmp_path, 0, made=made)
    assert made == []
    with pytest.raises(ValueError, match="add --overwrite"):
        experiment(tmp_path, 1)
    experiment(tmp_path, 1, overwrite=True, made=made)
    assert made == list(RUNS)


def test_how_far_it_is_counts_what_was_finished_before(tmp_path: Path) -> None:
    def ledger() -> Ledger:
        return Ledger(tmp_path, {}, False, {"runs": ("run",)}, lambda row: row["run"])

    ledger().add([{"run": "b"}])
    seen: list[tuple[int, int]] = []
    assert list(ledger().missing(RUNS, lambda *progress: seen.append(progress))) == ["a", "c"]
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_nothing_is_written_without_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    curve, runs = experiment(None, 0)
    assert (len(curve), len(runs)) == (9, 3)
    assert list(tmp_path.iterdir()) == []


# --- the experiments that have no such test of their own ---


class Stop:
    """Progress that interrupts when so much is done."""

    def __init__(self, at: int) -> None:
        self.at, self.seen = at, list[tuple[int, int]]()

    def __call__(self, done: int, total: int) -> None:
        self.seen.append((done, total))
        if done == self.at:
            raise KeyboardInterrupt


def result(scenario: str, seed: int) -> deception.Result:
    values = dict.fromkeys(deception.Result.__dataclass_fields__, 0.1 + seed)
    named = {"scenario": scenario, "contestant": "mine", "attack": True, "as_expected": True, "reason": "because, so"}
    stated = {
        "expected": deception.Expectation.SAFE, "observed": deception.Expectation.SAFE,
        "expected_asking": None, "observed_asking": next(iter(deception.Asking)),
    }  # fmt: skip
    return deception.Result(**{**values, **named, **stated})


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The scenarios that are run; none is, really."""
    found: list[str] = []

    def run(
        scenarios: list[str], entered: None, seed: int, num_seeds: int, num_loop_seeds: int
    ) -> list[deception.Result]:
        found.extend(scenarios)
        return [result(scenarios[0], seed) for _ in range(3)]

    monkeypatch.setattr(deception, "run", run)
    return found


def test_an_interrupted_suite_continues(tmp_path: Path, ran: list[str]) -> None:
    config = RedteamConfig(("time-bomb", "query-flooding", "knows-the-draw"))
    run_redteam(config, tmp_path / "whole")
    ran.clear()
    with pytest.raises(KeyboardInterrupt):
        run_redteam(config, tmp_path / "cut", Stop(2))
    assert [row["scenario"] for row in read_csv(tmp_path / "cut" / "redteam.csv")] == [
        *["time-bomb"] * 3, *["query-flooding"] * 3,
    ]  # fmt: skip
    ran.clear()
    seen = Stop(-1)
    rows = run_redteam(config, tmp_path / "cut", seen)
    assert ran == ["knows-the-draw"]
    assert seen.seen == [(2, 3), (3, 3)]
    assert [row["scenario"] for row in rows] == [name for name in config.scenarios for _ in range(3)]
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    with pytest.raises(ValueError, match="another configuration"):
        run_redteam(RedteamConfig(("time-bomb",)), tmp_path / "cut")


def test_a_scenario_is_named_once() -> None:
    with pytest.raises(ValueError, match="named once"):
        RedteamConfig(("time-bomb", "time-bomb"))


def test_interrupted_bounds_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[run_bounds.__module__]
    measured: list[str] = []

    def run(config: BoundsConfig, learner: Any, env: Any, demonstrator: Any, summary: Any) -> Any:
        measured.append(repr(learner.budget))
        values = (np.arange(config.num_seeds * len(module.points(config.num_steps))) % 3 == 0).astype(float)
        values = values.reshape(config.num_seeds, -1)
        return (values, values) if summary is module._asking else values

    monkeypatch.setattr(module, "_measure", run)
    config = BoundsConfig(env="ring", num_members=3, num_seeds=4, num_steps=20)
    run_bounds(config, tmp_path / "whole")
    assert len(measured) == 7
    measured.clear()
    with pytest.raises(KeyboardInterrupt):
        run_bounds(config, tmp_path / "cut", Stop(3))
    seen = Stop(-1)
    rows = run_bounds(config, tmp_path / "cut", seen)
    assert len(measured) == 7
    assert seen.seen == [(done, 7) for done in range(3, 8)]
    assert len(rows) == len(read_csv(tmp_path / "whole" / "bounds.csv"))
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_an_interrupted_demo_continues_and_an_old_one_does_not_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[str]
) -> None:
    module = sys.modules[run_demo.__module__]
    swept: list[Any] = []

    def sweep(config: Any, out: Path, progress: Any, overwrite: bool) -> None:
        ledger = Ledger(out, {"seed": config.seed}, overwrite, {"sweep": ("k",)}, lambda row: row["k"])
        for k in ledger.missing([1, 2], progress):
            swept.append(k)
            ledger.add([{"k": k}])

    monkeypatch.setattr(module, "run_sweep", sweep)
    monkeypatch.setattr(module, "watch", lambda *_: ())
    monkeypatch.setattr(module, "load_demo", lambda out: out)
    config = DemoConfig("ring")
    run_demo(config, tmp_path, lambda _: Stop(-1))
    number = len(ran)
    swept.clear()
    ran.clear()
    # Started anew, and interrupted in its first part: what the old one had of the second does not count.
    with pytest.raises(KeyboardInterrupt):
        run_demo(config, tmp_path, lambda _: Stop(1), overwrite=True)
    run_demo(config, tmp_path, lambda _: Stop(-1))
    assert swept == [1, 2]
    assert len(ran) == number


def test_tables_with_other_columns_are_refused(tmp_path: Path) -> None:
    """They would fail in the middle, when the first new part is written beside them."""
    experiment(tmp_path, 0)
    before = files(tmp_path)
    wider = {**TABLES, "runs": ("run", "value", "harm")}
    with pytest.raises(ValueError, match="tables of another version of the library: choose another --out or"):
        Ledger(tmp_path, {"seed": 0}, False, wider, lambda row: row["run"])
    assert files(tmp_path) == before
    assert not Ledger(tmp_path, {"seed": 0}, True, wider, lambda row: row["run"]).finished


def test_what_all_parts_share_is_made_once(tmp_path: Path) -> None:
    def ledger(out: Path | None, seed: int = 0) -> Ledger:
        return Ledger(out, {"seed": seed}, seed > 0, {"runs": ("run",)}, lambda row: row["run"], ["shared.json"])

    assert ledger(tmp_path).once("shared.json", lambda: {"score": 0.5}) == {"score": 0.5}
    assert ledger(tmp_path).once("shared.json", lambda: {"score": 0.7}) == {"score": 0.5}
    assert ledger(tmp_path, seed=1).once("shared.json", lambda: {"score": 0.7}) == {"score": 0.7}
    assert ledger(None).once("shared.json", lambda: {"score": 0.9}) == {"score": 0.9}
    with pytest.raises(ValueError, match="not one of the ledger's files"):
        ledger(None).once("other.json", dict)


def test_an_identity_leaves_out_what_can_be_added() -> None:
    config = CompareConfig("rooms", ("bc",), training={"updates": 1})
    found = identity("compare", config, grows=("methods", "num_seeds"), more=3)
    assert (found["experiment"], found["task"], found["more"], found["training"]) == (
        "compare",
        "rooms",
        3,
        {"updates": 1},
    )
    assert not {"methods", "num_seeds", "network"} & set(found)


def test_an_interrupted_pendulum_continues_and_grows(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium")
    config = PendulumConfig(num_seeds=2, num_episodes=1, contestants=("demonstrator",))
    with pytest.raises(KeyboardInterrupt):
        run_pendulum(config, tmp_path, Stop(1))
    seen = Stop(-1)
    rows = run_pendulum(config, tmp_path, seen)
    assert seen.seen == [(1, 2), (2, 2)]
    assert [row["return"] for row in rows] == [row["return"] for row in run_pendulum(config)]
    assert len(run_pendulum(replace(config, num_seeds=3), tmp_path)) == 3
