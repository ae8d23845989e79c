"""A person plays a level at the page, in a real browser: keys, buttons, slips, lost connections, a killed process."""

import statistics
from collections.abc import Generator
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from consensus_imitation.core._packing import unpack
from consensus_imitation.journal.audit import replay
from consensus_imitation.journal.reader import reading
from tests.web.browser import Run, Window, needs_browser, start, until

pytestmark = needs_browser

#: The median from a key to the next picture, on loopback, in milliseconds. (Speed is no test of its own: a slow machine
#: gets ten times as long.)
SOON = 90

#: Measures from the key to the frame in which another picture is drawn.
MEASURE = """
const [key, done] = arguments, image = document.getElementById("picture"), began = performance.now();
const watch = new MutationObserver(() => image.decode().catch(() => 0).then(() => requestAnimationFrame(() => {
  watch.disconnect(); done(performance.now() - began); })));
watch.observe(image, { attributes: true, attributeFilter: ["src"] });
document.getElementById("stage").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
setTimeout(() => { watch.disconnect(); done(null); }, 1500);
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Generator[Any, None, None]:
    one = start(tmp_path_factory.mktemp("profile"))
    yield one
    one.quit()


def records(run_dir: Path) -> list[Any]:
    with reading(run_dir) as reader:
        return [entry.record for entry in reader.entries()]


@pytest.mark.slow
def test_a_level_is_played_by_key_and_button_with_undo_takeover_lost_connections_and_a_killed_process(
    driver: Any, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run", "--task", "gotoredballgrey", "--speed", "50")
    try:
        window = Window(driver, run.url)
        assert window.asked() == 0
        assert "token" not in driver.current_url
        assert window.text("#mission") == "Mission: go to the red ball"
        given: list[int] = []

        def answer(how: str) -> None:
            number, action = window.asked(), len(given) % 3
            if how == "key":
                window.press("adw"[action])
            else:
                window.click(f"#buttons button:nth-child({action + 1})")
            given.append(action)
            until(lambda: (window.seat().get("question") or {}).get("id") != number, "the question is closed")

        for how in ("key", "button", "key", "button"):
            answer(how)

        # A slip is taken back before it is given.
        window.click("#confirm")
        until(lambda: window.state()["run"]["confirm"], "a choice is to be given")
        window.asked()
        window.press("x")
        until(lambda: window.seat().get("chosen") == 6, "done is chosen")
        window.press("u")
        until(lambda: window.seat().get("chosen") is None, "the choice is taken back")
        number = window.asked()
        window.press("a")
        until(lambda: window.seat().get("chosen") == 0, "left is chosen")
        window.press("\ue007")
        given.append(0)
        until(lambda: (window.seat().get("question") or {}).get("id") != number, "it was given")
        window.click("#confirm")
        until(lambda: not window.state()["run"]["confirm"], "answers count at once again")

        # "I don't know" leaves the question, which can still be answered.
        number = window.asked()
        window.press("i")
        until(lambda: window.seat().get("status") == "unknown", "the person does not know")
        assert window.asked() == number
        answer("key")

        # A lost connection, and a second window: the same question.
        number = window.asked()
        driver.execute_script("socket.close()")
        until(lambda: driver.execute_script("return socket.readyState") == 1, "connected again")
        assert window.asked() == number
        driver.switch_to.new_window("tab")
        second = Window(driver, run.url)
        assert second.asked() == number
        driver.close()
        driver.switch_to.window(driver.window_handles[0])
        answer("key")

        # Taking over: the next question is answered first, as a question.
        window.driver.execute_script("document.getElementById('stage').focus()")
        window.press("\ue004")  # Tab
        until(lambda: window.seat().get("driver") == "person", "the person has taken over")
        answer("button")
        turn = window.seat()["turn"]
        for k in range(3):
            window.press("a")
            until(lambda then=turn + k: window.seat()["turn"] > then, "the person acted")
        window.press("t")
        until(lambda: window.seat().get("driver") == "imitator", "handed back")

        # The process is killed while it asks, and the same window finds the same question again.
        number, picture = window.asked(), window.seat()["picture"]
        run.kill()
        until(lambda: "lost" in window.text("#connection"), "the page says so")
        window.press("w")  # what is said now is said again, and counts once
        run.start()
        until(lambda: driver.execute_script("return socket.readyState") == 1, "connected to the new process")
        given.append(2)
        until(lambda: (window.seat().get("question") or {}).get("id", -1) > number, "the answer counted")
        for how in ("key", "button"):
            answer(how)
        assert picture.startswith("data:image/png;base64,")

        # How soon the next picture is there.
        took: list[float] = []
        for _ in range(15):
            window.asked()
            action = len(given) % 2  # turning always changes the picture
            ms = driver.execute_async_script(MEASURE, "ad"[action])
            given.append(action)
            if ms is not None:
                took.append(ms)
        figure = f"key to next picture: median {statistics.median(took):.0f} ms of {len(took)}"
        (tmp_path / "soon.txt").write_text(figure, encoding="utf-8")
        assert statistics.median(took) < 10 * SOON
        window.asked()
    finally:
        run.kill()

    found = records(run.out)
    answers = [one for one in found if one.kind == "answer"]
    assert [one.action for one in answers] == given
    assert [one.query for one in answers] == list(range(len(given)))
    assert all(one.latency is not None and one.latency > 0 for one in answers)
    taken = [one for one in found if one.kind == "takeover"]
    assert [(one.who, one.action) for one in taken] == [("demonstrator", 0)] * 3
    assert not [one for one in found if one.kind == "withdraw"]
    assert replay(run.out).exact
    _is_one_history(run.out)


def _is_one_history(run_dir: Path) -> None:
    """The observations are those of an environment in which exactly these actions were taken: nothing lost or twice."""
    from consensus_imitation.experiments import tasks
    from consensus_imitation.experiments.playing import episode_seed

    env, seen, episode = tasks.make("gotoredballgrey").make_env(), None, -1
    with reading(run_dir) as reader:
        entries = list(reader.entries())
        asked: dict[int, Any] = {}
        for entry in entries:
            record = entry.record
            if record.kind == "begin":
                episode += 1
                seen, _ = env.reset(seed=episode_seed(0, 0, episode))
            elif record.kind in ("act", "ask", "takeover"):
                kept = unpack(reader.observation_of(entry.call) or b"")
                assert seen is not None
                assert (kept["image"] == seen["image"]).all()
                asked[entry.call] = kept
            if record.kind in ("act", "answer", "takeover"):
                seen, *_ = env.step(int(record.action))
    assert isinstance(env, gymnasium.Env)
