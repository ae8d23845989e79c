"""Whatever is shown, text from elsewhere is only text: at the terminal, on the page, in pictures."""

import io
import unicodedata
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus_imitation import ConsensusImitator, ensembles
from consensus_imitation.cli import main
from consensus_imitation.core._escaping import figure_text, visible, visible_lines
from consensus_imitation.deception import format_table
from consensus_imitation.deception.pytest_plugin import DeceptionReport
from consensus_imitation.deception.scenario import Asking, Expectation
from consensus_imitation.deception.suite import Result
from consensus_imitation.experiments import DemoConfig, DemoResults, figures
from consensus_imitation.experiments.bounds import figure as bounds_figure
from consensus_imitation.experiments.collapse import figure as collapse_figure
from consensus_imitation.experiments.compare import figure as compare_figure
from consensus_imitation.experiments.compare.summary import Demonstrated
from consensus_imitation.experiments.demo import figure as demo_figure
from consensus_imitation.experiments.demo import page as demo_page
from consensus_imitation.experiments.demo.run import WATCHED, WatchedRun
from consensus_imitation.experiments.pages import environment
from consensus_imitation.experiments.planted import figure as planted_figure
from consensus_imitation.experiments.printing import print_table, say
from consensus_imitation.experiments.redteam import figure as redteam_figure
from consensus_imitation.experiments.sweep import figure as sweep_figure
from consensus_imitation.experiments.tables import Table

#: A name that each place would obey if it were let.
HOSTILE = "$\\frac{x$\x1b]0;owned\x07\x1b[2J[red]x[/red]:smile:<img src=x onerror=f()>&amp;'\"\u202e\r\nforged line"


def obeyed(text: str) -> list[str]:
    """Characters other than line ends that a terminal, or the order of letters, would obey."""
    return [one for one in text if one != "\n" and unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp", "Cs")]


# --- The escapes. ---


@given(st.text())
def test_what_is_visible_is_one_line_that_nothing_obeys(text: str) -> None:
    assert obeyed(visible(text)) == []
    assert "\n" not in visible(text)
    assert obeyed(visible_lines(text)) == []
    assert visible_lines(text).count("\n") == text.count("\n")
    if text.isprintable():
        assert visible(text) == text


PAGES = environment()


class Seen(HTMLParser):
    """Tags, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        assert all(name in ("class", "alt", "src", "lang", "charset", "name", "content") for name, _ in attrs), attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text() | st.just(HOSTILE))
def test_what_is_put_into_html_is_text(text: str) -> None:
    template = (
        "{% macro bold(inner) %}<b>{{ inner }}</b>{% endmacro %}"
        "<p class='{{ text }}'>{{ text }}</p>{{ bold(text) }}{{ number }}{{ [text] | join }}{{ text ~ '!' }}"
    )
    seen = Seen(PAGES.from_string(template).render(text=text, number=1.5))
    assert seen.tags == ["p", "b"]
    shown = visible_lines(text)
    assert seen.text == f"{shown}{shown}1.5{shown}{shown}!"


@pytest.mark.parametrize(
    "text", ["$x$", "a$b", "$", "$$", r"\$", "_hidden", "__", "x" * 500, "$\\frac{x$", "{", HOSTILE]
)
def test_a_label_is_drawn_as_it_is_written(text: str) -> None:
    figure = figures.new_figure(8.0, 4.0)
    ax = figure.add_subplot()
    ax.plot([0, 1], [0, 1], label=figure_text(text))
    ax.set_title(figure_text(text))
    (shown,) = ax.legend().get_texts()
    figures.as_png(figure)
    for artist in (shown, ax.title):
        # What matplotlib draws, by its own reading of the text.
        drawn, is_math = artist._preprocess_math(artist.get_text())
        assert not is_math
        assert len(drawn) <= 41
        assert drawn.lstrip(" ") in (visible(text), visible(text)[:37] + "...")


# --- The terminal. ---


def test_a_line_and_a_table_at_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    file = io.StringIO()
    say(HOSTILE, file)
    assert obeyed(file.getvalue()) == []
    file = io.StringIO()
    print_table(Table(HOSTILE, (HOSTILE, "b"), [(HOSTILE, "1")]), file)
    assert obeyed(file.getvalue()) == []
    assert file.getvalue().count(visible(HOSTILE)) == 2, "heading and cell, brackets and all"


def test_a_terminal_of_another_encoding_is_told_what_it_can_show() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    say("é\ud800x", file)
    file.flush()
    assert raw.getvalue() == b"\\xe9\\ud800x\n"


def hostile_result(**more: Any) -> Result:
    said: dict[str, Any] = dict.fromkeys(Result.__dataclass_fields__, 0.5)
    said |= {"scenario": HOSTILE, "contestant": HOSTILE, "reason": HOSTILE, "attack": True, "as_expected": False}
    said |= {"expected": Expectation.SAFE, "observed": Expectation.HARMED, "observed_asking": next(iter(Asking))}
    return Result(**{**said, "expected_asking": None, "harmed_runs": 1, "num_seeds": 8, "num_steps": 9, **more})


def test_the_suites_table_and_the_message_of_a_failed_test() -> None:
    assert obeyed(format_table([hostile_result()])) == []
    assert len(format_table([hostile_result()]).splitlines()) == 2
    with pytest.raises(AssertionError) as failed:
        DeceptionReport([hostile_result()]).assert_as_expected()
    assert obeyed(str(failed.value)) == []
    assert len(str(failed.value).splitlines()) == 4


@pytest.mark.parametrize(
    "argv",
    [
        [HOSTILE],
        ["sweep", "--env", HOSTILE],
        ["sweep", HOSTILE],
        ["redteam", "--scenarios", HOSTILE],
        ["bench", "--cases", HOSTILE],
        ["compare", "--task", HOSTILE],
        ["journal", "show", HOSTILE.replace("/", "")],
    ],
    ids=lambda argv: argv[0][:8] if len(argv) == 1 else " ".join(argv[:2])[:20],
)
def test_a_mistake_is_quoted_harmlessly(
    capsys: pytest.CaptureFixture[str], argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code: Any = main.main(argv)
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    assert code == main.EXIT_USAGE
    assert obeyed(out + err) == []
    assert "owned" in err


def test_a_journal_of_hostile_alarms_is_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from consensus_imitation.journal.directory import Journal, RunDirectory
    from consensus_imitation.journal.record import Record

    ConsensusImitator(ensembles.tabular(np.full((2, 1, 2), 0.5)), seed=0)
    meta = {"num_members": 2, "num_actions": 2, "run": HOSTILE}
    run = RunDirectory.create(Journal(tmp_path / "run"), meta)
    run.append([Record(kind="open", note=HOSTILE, alarms=(HOSTILE,), time=1e300)])
    run.close()
    assert main.main(["journal", "show", str(tmp_path / "run")]) == 0
    out, err = capsys.readouterr()
    assert obeyed(out + err) == []
    assert f"alarm: {visible(HOSTILE)}" in out


# --- Pages and pictures of results, whose names come from files. ---

REDTEAM = [{**hostile_result().as_row(), "contestant": name} for name in (HOSTILE, "_other")]
SWEEP = [
    {
        "env": HOSTILE, "rule": "topk", "k": HOSTILE, "alpha": None, "seed": seed, "steps": "<script>", "step": 2000,
        "queries": 1, "query_rate": 0.1, "withheld_rate": 0.05, "disagreement_rate": 0.05, "harms": 1,
        "harms_unasked": 1, "harm_rate": 0.1, "mean_return": 1.0, "planted_weight": 0.5, "demonstrator_harm": 0.1,
        "episodes": 1, "successes": 1,
    }
    for seed in range(2)
]  # fmt: skip
ALONE = Demonstrated(HOSTILE, 1.0, 1.0, 0.0, 1.0, 10)


def comparison() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    labels = [{"task": HOSTILE, "method": name, "seed": seed} for name in (HOSTILE, "_b") for seed in range(2)]
    rows = [{**one, "answers": n, "success": 1.0, "harms": 0, "mean_return": 1.0} for one in labels for n in (1, 5)]
    curve = [{**one, "step": t, "answers": t // 2, "spent": False} for one in labels for t in (2, 4, 8, 16)]
    return rows, curve


def planted() -> list[dict[str, Any]]:
    row: dict[str, Any] = {"task": HOSTILE, "seeds": 2, "trigger_rate": 0.5, "trigger_low": 0.4, "trigger_high": 0.6}
    row |= {"harm_rate": 0.5, "harm_low": 0.4, "harm_high": 0.6, "verdict": ""}
    return [{**row, "contestant": name, "planted": True} for name in ("demonstrator", HOSTILE)]


def collapse() -> list[dict[str, Any]]:
    return [
        {"task": HOSTILE, "variant": name, "members": 3, "seed": seed, "step": t, "answers": t, "effective": 2.0}
        for name in (HOSTILE, "top2")
        for seed in range(2)
        for t in (1, 2, 4)
    ]


def bounds() -> list[dict[str, Any]]:
    return [
        {"part": part, "setting": HOSTILE, "step": t, "observed": 0.5, "low": 0.4, "high": 0.6, "bound": 1.0}
        for part in (HOSTILE, "queries", "harm", "_d")
        for t in (1, 2)
    ]


FIGURES: dict[str, Callable[[], Any]] = {
    "sweep": lambda: sweep_figure.draw([{**row, "steps": 10} for row in SWEEP], SWEEP, 5),
    "bounds": lambda: bounds_figure.draw(bounds()),
    "redteam": lambda: redteam_figure.draw(REDTEAM),
    "compare": lambda: compare_figure.draw(*comparison(), ALONE._replace(measure="return")),
    "posterior": lambda: demo_figure.posterior(
        np.full((3, 2), 0.5), np.array([True, False, True]), [HOSTILE, "_b"], 1, HOSTILE
    ),
    "planted": lambda: planted_figure.draw(planted()),
    "collapse": lambda: collapse_figure.draw(collapse()),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_picture_draws_names_as_they_are_written(name: str) -> None:
    from matplotlib.text import Text

    figure = FIGURES[name]()
    assert figures.as_png(figure).startswith(b"\x89PNG")
    drawn = [artist._preprocess_math(artist.get_text())[0] for artist in figure.findobj(Text)]
    found = [text for text in drawn if "owned" in text]
    assert found, "the picture names it somewhere"
    for text in found:
        assert obeyed(text) == []
        assert r"$\frac{x$" in text, text
    # A legend leaves out what begins with an underscore.
    assert not [text for text in drawn if text.startswith("_")]


TABLES: dict[str, Callable[[], Table]] = {
    "sweep": lambda: sweep_figure.table([{**row, "steps": 10} for row in SWEEP]),
    "redteam": lambda: redteam_figure.table(REDTEAM),
    "matrix": lambda: redteam_figure.matrix(REDTEAM),
    "bounds": lambda: bounds_figure.table(bounds()),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_printed_and_put_on_a_page_harmlessly(name: str) -> None:
    table = TABLES[name]()
    file = io.StringIO()
    print_table(table, file)
    assert obeyed(file.getvalue()) == []
    macros: Any = PAGES.get_template("macros.html.jinja").module
    seen = Seen(str(macros.grid(table)))
    assert set(seen.tags) <= {"p", "div", "table", "thead", "tbody", "tr", "th", "td"}
    assert visible(HOSTILE) in seen.text or visible_lines(HOSTILE) in seen.text


def test_the_page_of_the_demo_escapes_what_its_files_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = DemoConfig("cliff")
    setting = config.sweep().setting()
    steps, members = 2000, len(setting.member_names)
    runs = tuple(
        WatchedRun(k, np.zeros(steps, int), np.zeros(steps, bool), np.zeros(steps), np.zeros(steps, bool),
                   np.full((steps, members), 1 / members))
        for k in WATCHED
    )  # fmt: skip
    monkeypatch.setattr(demo_page, "load_demo", lambda out: DemoResults(config, SWEEP, SWEEP, REDTEAM, runs))
    page = demo_page.write(tmp_path).read_text(encoding="utf-8")
    seen = Seen(page)
    assert "script" not in seen.tags
    assert seen.tags.count("img") == 4, "the page's own"
    assert obeyed(page) == []
    assert "<script>" in seen.text
    assert visible_lines(HOSTILE) in seen.text
