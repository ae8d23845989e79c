"""Every example that a user may copy runs: the README's, the docs', and those in docstrings."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import consensus_imitation
import consensus_imitation.benchmarks
import consensus_imitation.envs

ROOT = Path(__file__).parents[2]
#: The pages that everybody reads; the examples of the others run with the slow tests.
MAIN = [ROOT / "README.md", ROOT / "docs/quickstart.md", ROOT / "docs/concepts.md"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/howto").glob("*.md"))]


def all_modules() -> list[str]:
    """Every module; `envs` and `benchmarks` lie outside the package's own folder, so they are walked separately."""
    names = ["consensus_imitation"]
    for package in (consensus_imitation, consensus_imitation.envs, consensus_imitation.benchmarks):
        names += [found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return sorted({*names, "consensus_imitation.envs", "consensus_imitation.benchmarks"})


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    "page",
    [page if page in MAIN else pytest.param(page, marks=pytest.mark.slow) for page in PAGES],
    ids=page_id,
)
def test_examples_of_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    namespace: dict[str, object] = {"__name__": page.stem}
    for block in blocks:
        exec(compile(block, str(page), "exec"), namespace)


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
