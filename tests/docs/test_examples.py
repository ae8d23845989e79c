"""Every example that a user may copy runs: the README's, the docs', and those in docstrings."""

import doctest
import importlib
import pkgutil
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest

import consensus_imitation
import consensus_imitation.benchmarks
import consensus_imitation.envs

ROOT = Path(__file__).parents[2]
#: The pages that everybody reads; the examples of the others run with the slow tests.
MAIN = [ROOT / "README.md", ROOT / "docs/concepts.md"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/howto").glob("*.md"))]


def all_modules() -> list[str]:
    """Every module; `envs` and `benchmarks` lie outside the package's own folder, so they are walked separately."""
    names = ["consensus_imitation"]
    for package in (consensus_imitation, consensus_imitation.envs, consensus_imitation.benchmarks):
        names += [found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return sorted({*names, "consensus_imitation.envs", "consensus_imitation.benchmarks"})


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


class PPO:
    """Stands for Stable-Baselines3's, which is no dependency: the calls are the same, in name, order and result."""

    loaded: ClassVar[list["PPO"]] = []

    @classmethod
    def load(cls, path: str, env: Any = None, device: str = "auto") -> "PPO":
        cls.loaded.append(cls())
        return cls.loaded[-1]

    def __init__(self) -> None:
        self.asked = 0

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        assert isinstance(observation, np.ndarray)
        self.asked += 1
        return np.array(int(observation[2] + observation[3] > 0)), None


@pytest.fixture
def beside_sb3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pages import Stable-Baselines3."""
    module: Any = ModuleType("stable_baselines3")
    module.PPO = PPO
    monkeypatch.setitem(sys.modules, "stable_baselines3", module)
    PPO.loaded.clear()


def run_examples(page: Path) -> dict[str, Any]:
    """Run a page's blocks one after another, as a reader who copies them into one session; return what they defined."""
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    namespace: dict[str, Any] = {"__name__": page.stem}
    for block in blocks:
        exec(compile(block, str(page), "exec"), namespace)
    return namespace


@pytest.mark.parametrize(
    "page",
    [page if page in MAIN else pytest.param(page, marks=pytest.mark.slow) for page in PAGES],
    ids=page_id,
)
def test_examples_of_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside_sb3: None) -> None:
    monkeypatch.chdir(tmp_path)
    found = run_examples(page)
    if page.name != "README.md":
        return
    # A reader tries things twice.
    before = found["imitator"].num_steps
    again = run_examples(page)
    assert again["imitator"].num_steps == 2 * before, "the run with a journal continues"


def test_five_lines_from_an_environment_and_a_policy_of_sb3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside_sb3: None
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = [one for one in re.findall(r"^```python\n(.*?)^```", text, flags=re.S | re.M) if "stable_base" in one]
    lines = [line for line in block.splitlines() if line and not line.startswith(("import ", "from "))]
    assert len(lines) == 5
    namespace: dict[str, Any] = {}
    # What the README has imported by then.
    exec("from consensus_imitation import ConsensusImitator, ensembles", namespace)
    exec("from consensus_imitation.experiments import run_gymnasium", namespace)
    exec(block, namespace)
    imitator, (model,) = namespace["imitator"], PPO.loaded
    assert namespace["run"].steps == 200
    assert model.asked == imitator.num_queries < 200, "it asks less than always: it has learned something"
    action, _ = imitator.policy().predict(np.zeros(4, np.float32))
    assert action in (0, 1)


def test_the_command_for_an_environment_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's file and command, as a newcomer copies them, with fewer and shorter runs."""
    from consensus_imitation.cli import main

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text[text.index("## Your own environment") :]
    (block,) = re.findall(r"^```python\n(.*?)^```", section[: section.index("## A person")], flags=re.S | re.M)
    (command,) = re.findall(r"^consensus-imitation (sweep --env mine.*)$", section, flags=re.M)
    (tmp_path / "mine.py").write_text(f"import gymnasium\n{block}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)
    for option, value in (("--seeds", "1"), ("--steps", "60")):
        words[words.index(option) + 1] = value
    assert main.main(words) == 0
    assert "harmed" in capsys.readouterr().out
    assert (tmp_path / "out" / "mine" / "sweep.png").exists()


def test_the_main_pages_have_examples() -> None:
    for name in ("README.md", "docs/quickstart.md", "docs/concepts.md", "docs/suite.md"):
        assert "```python" in (ROOT / name).read_text(encoding="utf-8"), f"{name} has no example"


#: Their examples are whole experiments in small.
EXPERIMENTS = ("consensus_imitation.experiments.", "consensus_imitation.deception.")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name.startswith(EXPERIMENTS) else ()) for name in all_modules()],
)
def test_examples_in_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_there_are_many_examples_in_docstrings() -> None:
    finder = doctest.DocTestFinder()
    found = sum(bool(test.examples) for name in all_modules() for test in finder.find(importlib.import_module(name)))
    assert found > 50
