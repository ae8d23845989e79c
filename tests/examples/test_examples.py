"""Every example runs, prints what its README says it shows, stays short, and is listed."""

import importlib.util
import itertools
import re
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))
README = (FOLDER / "README.md").read_text(encoding="utf-8")
LONGEST = 60

#: What each one has to print: patterns, in this order. Numbers that depend on rounding are left open.
PRINTED = {
    "alarm": [r"alarm after \d+ steps", "no member explains", "asks on 50", "was cleared"],
    "ask_and_tell": [r"steps of the environments: \[", "changes nothing: True", "is refused"],
    "certificate": [
        r"P\(imitator\) <= 2 \* P\(demonstrator\) \+ 0.01",
        "at most 2 members are dishonest",
        r"tolerated: 2",
    ],
    "continuous_actions": ["it asks: True; the member that objects: 2", r"\d+ questions in 300 steps", r"5\.0: 0\.0\}"],
    "dam": [r"^k=1 \| ", r"^k=2 \| "],
    "deceptive_member": ["k=1: 32 of 32 runs are harmed; 0.0 questions", r"k=4: [0-3] of 32 runs are harmed"],
    "gridworld": ["A~~~~~~G", r"500 steps, \d+ questions", "weight of the model"],
    "hazard": [r"1/300: 4\.2% in 16", r"1/3000: 0\.5% in 16", r"\d+ episodes, \d+ with harm", "believed of the next"],
    "illegal_moves": [r"200 moves, none illegal: asked on \d+%", r"400 moves, none illegal: asked on [1-3]?\d%, won"],
    "isolated_members": ["it asks: False", "it asks: True, and took less than five seconds: True", "^member 1 gave"],
    "journal_and_resume": [r"with question \d+ open", "bit for bit: True", r"is answered: action 1"],
    "own_environment": ["asked on", r"asked on", r"at (1[89]|2[01]) of 21 temperatures"],
    "own_suite": [r"k=1 \| attack \| 100 ", r"harmed \| harmed \|", r"k=2 \| attack \| 0 .* safe \| safe \|"],
    "person_at_the_console": [r"was asked [1-9]\d* times in 12 steps", "weights of the models"],
    "recordings": ["no recordings: ", "600 recorded steps: "],
    "slow_expert": [r"nobody answered 1 of them", "safe action was taken"],
    "sweep_over_k": [
        "every member is honest",
        r"k=1: asks on +0.0%",
        "deceives",
        r"k=1: .* 8 of 8 runs harmed",
        r"k=8: .*",
    ],
    "trained_policy": [r"\d+ answers in 1000 steps; \d+ episodes"],
    "training_loop": [r"asked on [3-9]\d%, wrong", r"asked on [12]?\d%, wrong on [0-5]\.\d%\n$"],
    "training_loop_policy": [r"\d{2,3} answers in 2000 steps; \d+ episodes, the shortest of \d{2,3} steps"],
    "vector_environment": [r"150 steps of 8 copies, \d+ answers", "share the weights"],
}

#: What some of them need besides the extras that every test run has.
NEEDS = {"training_loop": "sklearn"}


def load(script: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{script.stem}", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example_prints_what_it_shows(
    script: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if script.stem in NEEDS:
        pytest.importorskip(NEEDS[script.stem])
    typed = itertools.chain(["not a key"], itertools.cycle("r"))
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    monkeypatch.chdir(tmp_path)
    load(script).main()
    printed = capsys.readouterr().out
    assert re.search(".*".join(PRINTED[script.stem]), printed, flags=re.S | re.M), printed
    assert not any(tmp_path.iterdir()), "an example leaves nothing in the folder where it is run"


def test_every_example_has_its_patterns() -> None:
    assert {script.stem for script in SCRIPTS} == set(PRINTED)
    assert len(SCRIPTS) >= 10


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example_is_short_and_listed(script: Path) -> None:
    lines = script.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LONGEST
    assert f"[`{script.name}`]({script.name})" in README


def test_the_readme_lists_only_what_is_there() -> None:
    listed = re.findall(r"\]\((\w+\.py)\)", README)
    assert sorted(listed) == [script.name for script in SCRIPTS]
