"""The page and the report as they look: contrast, widths, light and dark, the keyboard alone, text from elsewhere."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Journal, TopK, ensembles
from consensus_imitation.demonstrators.people.views import view
from consensus_imitation.demonstrators.people.web.page import Page, as_asked, as_shown
from consensus_imitation.demonstrators.question import Question
from consensus_imitation.experiments import journal_report, tasks
from tests.web.browser import Window, needs_browser, start, until

pytestmark = needs_browser

LOOKS = [(1280, False), (1280, True), (360, False), (360, True)]
#: WCAG 2.2 AA, for text of this size.
CONTRAST = 4.5
SCRIPT = "<img src=x onerror='document.title=\"harmed\"'>"

#: Every text that is shown, with its contrast to what lies behind it; and what reaches beyond the window.
MEASURE = """
const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
const behind = (one) => {
  for (; one; one = one.parentElement) {
    const colour = parse(getComputedStyle(one).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  }
  return dark ? [18, 18, 18] : [255, 255, 255];
};
const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode, one = node.parentElement, text = node.textContent.trim();
  if (!text || !one.checkVisibility() || one.closest(".skip, svg, script, style")) continue;
  const a = light(parse(getComputedStyle(one).color)), b = light(behind(one));
  found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), text.slice(0, 40)]);
}
return { found, wide: document.documentElement.scrollWidth - innerWidth };
"""


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Generator[Any, None, None]:
    opened: dict[Any, Any] = {}

    def of(width: int, dark: bool) -> Any:
        if (width, dark) not in opened:
            opened[width, dark] = start(tmp_path_factory.mktemp("profile"), width, 900, dark)
        return opened[width, dark]

    yield of
    for driver in opened.values():
        driver.quit()


@pytest.fixture(scope="module")
def page() -> Generator[Page, None, None]:
    env = tasks.make("gotoredballgrey").make_env(render_mode="rgb_array")
    seen, _ = env.reset(seed=3)
    offers = ("takeover", "act", "next", "learn")
    with Page([env], title=f"gotoredballgrey {SCRIPT}", run="r", offers=offers) as one:
        rng = np.random.default_rng(0)
        probs, weights = rng.dirichlet(np.ones(7), 5), np.array([0.5, 0.3, 0.1, 0.06, 0.04])
        question = Question(
            "r", 12, 40, None, 0.37, probs.min(0), probs, weights > 0.05, weights, probs.max(1) / 9,
            ("members disagree: 31.0% of the probability is lost to that, most of it", SCRIPT), (SCRIPT,),
        )  # fmt: skip
        one.board.pose(0, as_asked(question, 12), turn=3, **as_shown(view(env, seen, picture=True)))
        one.board.publish(
            weights=weights.tolist(), alarms=[SCRIPT], certificate="at every step ...\nquorum ...", steps=40
        )
        for step in range(30):
            line = {"env": 0, "step": step, "who": "person", "what": "forward", "asked": True, "seconds": 1.5}
            one.board.told(line, (step, 1 / (1 + step)))
        yield one


def looked_at(driver: Any, out: Path, least: int) -> None:
    driver.save_screenshot(str(out))
    measured = driver.execute_script(MEASURE)
    assert measured["wide"] <= 0
    assert len(measured["found"]) > least
    poor = [one for one in measured["found"] if one[0] < CONTRAST]
    assert not poor


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_the_page_can_be_read(drivers: Any, page: Page, width: int, dark: bool, tmp_path: Path) -> None:
    window = Window(drivers(width, dark), page.url)
    window.asked()
    until(lambda: "member" in window.text("#members"), "the table is drawn")
    looked_at(window.driver, tmp_path / f"page-{width}-{'dark' if dark else 'light'}.png", 80)
    window.driver.execute_script(
        "document.getElementById('help').open = true; document.getElementById('confirm').click()"
    )
    until(lambda: window.state()["run"]["confirm"], "a choice is to be given")
    window.press("a")
    until(lambda: window.seat().get("chosen") == 0, "a choice")
    looked_at(window.driver, tmp_path / "chosen.png", 90)
    window.press("u")
    until(lambda: window.seat().get("chosen") is None, "taken back")
    window.click("#confirm")
    until(lambda: not window.state()["run"]["confirm"], "as before")


def test_what_comes_from_elsewhere_stays_text(drivers: Any, page: Page) -> None:
    window = Window(drivers(1280, False), page.url)
    window.asked()
    until(lambda: SCRIPT in window.text("#title"), "the title is shown as text")
    assert SCRIPT in window.text("#why")
    assert SCRIPT in window.text("#alarms")
    assert window.driver.title != "harmed"
    assert window.driver.execute_script("return document.querySelectorAll('main img').length") == 1


def test_everything_is_reached_by_the_keyboard_and_has_a_name(drivers: Any, page: Page) -> None:
    window = Window(drivers(1280, False), page.url)
    window.asked()
    window.driver.execute_script("document.getElementById('stage').focus()")
    window.press("\ue00c")  # Escape leaves the situation, in which Tab takes over
    reached: list[str] = []
    for _ in range(30):
        window.press("\ue004")
        reached.append(window.driver.execute_script("const a = document.activeElement; return a.id || a.textContent"))
        if reached[-1] == "title" or "skip" in reached[-1].lower():
            break  # once around: the situation comes next, in which Tab takes over
    for wanted in ("unknown", "pause", "takeover", "next", "confirm", "learn"):
        assert wanted in reached
    assert any("forward" in one for one in reached)
    assert window.seat().get("driver", "imitator") == "imitator"
    tree = window.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if node.get("role", {}).get("value") in ("button", "checkbox", "table", "image", "img", "group", "progressbar")
        and not node.get("ignored")
    ]
    assert len(named) > 15
    assert not [one for one in named if not one[1]]


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_the_report_can_be_read(drivers: Any, width: int, dark: bool, tmp_path: Path) -> None:
    members = ensembles.tabular(np.random.default_rng(3).dirichlet(np.ones(3), (3, 5)))
    with ConsensusImitator(
        members, lambda seen: seen % 3, selection=TopK(3), seed=1, journal=Journal(tmp_path / "run", observations=True)
    ) as imitator:
        for step in range(40):
            imitator.act(step % 5)
    report = journal_report.write(tmp_path / "run", tmp_path / "report.html")
    driver = drivers(width, dark)
    driver.get(report.as_uri())
    driver.execute_script("document.querySelectorAll('details').forEach((one, i) => { one.open = i < 2; })")
    looked_at(driver, tmp_path / f"report-{width}-{'dark' if dark else 'light'}.png", 40)
