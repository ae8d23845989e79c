"""The page of a run: whole, self-contained, harmless, and true to the journal."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Journal, Patience, SafeAction, TopK, ensembles
from consensus_imitation.errors import DemonstratorTimeoutError, JournalError
from consensus_imitation.experiments import journal_report
from consensus_imitation.journal.reader import reading
from tests.cli.command import outcome_of

PROBS = np.random.default_rng(3).dirichlet(np.ones(3), (3, 5))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def person(observation: int) -> int:
    if observation == 4:
        raise DemonstratorTimeoutError("silent")
    return observation % 3


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("report") / "run"
    with ConsensusImitator(
        ensembles.tabular(PROBS),
        person,
        selection=TopK(3),
        seed=1,
        patience=Patience(then=SafeAction(1)),
        journal=Journal(place, observations=True),
    ) as imitator:
        for step in range(30):
            imitator.act(step % 5)
            if step % 10 == 9:
                imitator.take_over(0, 2)
    (place / journal_report.ABOUT).write_text('{"names": ["<b>go</b>", "stay", "turn"], "title": "<script>x</script>"}')
    (place / journal_report.CERTIFICATE).write_text("nothing </pre><script>alert(1)</script>")
    return place


def test_the_page_says_what_the_journal_says(run_dir: Path, tmp_path: Path) -> None:
    said = outcome_of("journal", "report", run_dir, "--out", tmp_path / "page.html")
    assert said.sound
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    with reading(run_dir) as reader:
        kinds = [entry.record.kind for entry in reader.entries()]
        last = [entry.record for entry in reader.entries() if entry.record.kind == "answer"][-1]
    steps = sum(kind in ("act", "answer", "safe", "takeover") for kind in kinds)
    assert f"{steps} steps, 3 members" in page
    for who, kind in (
        ("imitator", "act"),
        ("demonstrator", "answer"),
        ("taken over", "takeover"),
        ("safe action", "safe"),
    ):
        assert f"{who}: {kinds.count(kind)} steps" in page
    assert page.count("<details>") == kinds.count("ask") > 5
    assert "nobody answered: stay" in page
    assert all(f"{weight:.3f}" in page for weight in journal_report.weights_of(last.after))  # type: ignore[arg-type]
    assert "state: 3" in page


def test_the_page_needs_nothing_and_runs_nothing(run_dir: Path, tmp_path: Path) -> None:
    page = journal_report.write(run_dir, tmp_path / "page.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert not [tag for tag, _ in tags.found if tag in ("script", "link", "iframe", "b", "object", "embed", "form")]
    for _, attributes in tags.found:
        assert not [name for name in attributes if name.startswith("on")]
        assert all((attributes.get(name) or "data:").startswith("data:") for name in ("src", "href"))
    assert "&lt;script&gt;alert(1)" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert not re.search(r"https?://", page)


def test_the_rate_is_of_the_last_steps() -> None:
    who = ["demonstrator"] * 50 + ["imitator"] * 50 + ["taken over"] * 10
    rates = journal_report.rates(who)
    assert (rates[0], rates[49], rates[74], rates[99], rates[-1]) == (1.0, 1.0, 0.5, 0.0, 0.0)


def test_an_empty_run_and_no_run(tmp_path: Path) -> None:
    ConsensusImitator(ensembles.tabular(PROBS), journal=tmp_path / "run").close()
    page = journal_report.write(tmp_path / "run", tmp_path / "page.html").read_text(encoding="utf-8")
    assert "0 steps" in page
    with pytest.raises(JournalError):
        journal_report.write(tmp_path / "other", tmp_path / "page.html")
