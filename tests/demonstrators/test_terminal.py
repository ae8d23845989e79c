"""A person at a terminal: what is shown, slips, help, undo, silence, the end; and a real pseudo-terminal."""

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Patience, SafeAction, TopK, demonstrators, ensembles
from consensus_imitation.demonstrators.people.keys import actions_of
from consensus_imitation.demonstrators.people.terminal import Terminal
from consensus_imitation.demonstrators.people.views import minigrid_text, png, view
from consensus_imitation.demonstrators.question import Question
from consensus_imitation.errors import ConfigurationError, DemonstratorTimeoutError
from consensus_imitation.journal.reader import reading
from tests.demonstrators.terminal_run import ANSWERS

LONG = 120.0
#: Colours, and where the cursor goes.
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
#: Two members that agree on nothing: every step asks.
APART = np.eye(4)[:2, None, :].repeat(16, 1)


class Env:
    """Four actions, and nothing else."""

    action_space = gymnasium.spaces.Discrete(4)

    def __init__(self, world: Any = None) -> None:
        self.world = world


def person(lines: Iterable[str], env: Any = None, **more: Any) -> tuple[Terminal, list[str]]:
    said: list[str] = []
    rest = iter(lines)
    env = Env() if env is None else env
    names = ["up", "left", "down", "right"]
    actions = actions_of(env, None, names)
    return Terminal(env, actions, read=lambda: next(rest, ""), write=said.append, **more), said


def imitator(one: Any, **more: Any) -> ConsensusImitator:
    return ConsensusImitator(ensembles.tabular(APART), one, selection=TopK(2), seed=0, **more)


@pytest.mark.parametrize(
    ("lines", "action"),
    [
        (["w\n", "\n"], 0),
        (["left\n", "\n"], 1),
        (["2\n", "\n"], 2),
        (["W\n", "\n"], 0),
        (["d!\n"], 3),
        (["w\n", "u\n", "d\n", "\n"], 3),  # taken back
        (["w\n", "d\n", "\n"], 3),  # changed
        (["w\n", "zzz\n", "\n"], 0),  # a slip does not lose the choice
        (["\n", "zzz\n", "?\n", "why\n", "show\n", "99\n", "-1\n", "w\n", "\n"], 0),
    ],
)
def test_an_answer_is_chosen_and_given(lines: list[str], action: int) -> None:
    assert person(lines)[0](0) == action


def test_without_confirmation_the_first_enter_counts() -> None:
    assert person(["zzz\n", "d\n"], confirm=False)[0](0) == 3


def test_a_slip_is_named_and_the_keys_are_shown_again() -> None:
    one, said = person(["zzz\n", "w!\n"])
    one(0)
    assert any("'zzz' is no action" in text and "w up" in text for text in said)


def test_i_do_not_know_is_silence_with_which_patience_deals() -> None:
    one, _ = person(["i\n"])
    with pytest.raises(DemonstratorTimeoutError, match="I don't know"):
        one(0)
    decision = imitator(person(["i\n"])[0], patience=Patience(then=SafeAction(2))).act(0)
    assert (decision.action, decision.unanswered) == (2, True)
    asked = imitator(person(["i\n", "w!\n"])[0])
    with pytest.raises(DemonstratorTimeoutError):
        asked.act(0)
    assert asked.act(0).action == 0  # the same question, once more
    assert asked.num_queries == 1


@pytest.mark.parametrize("lines", [["stop\n"], []])
def test_to_stop_and_the_end_of_input_are_an_interrupt(lines: list[str]) -> None:
    one = imitator(person(lines)[0])
    with pytest.raises(KeyboardInterrupt):
        one.act(0)
    assert one.num_queries == 0


def test_the_person_sees_what_each_member_would_do_who_objects_and_why() -> None:
    one, said = person(["why\n", "w!\n"])
    imitator(one).act(0)
    text = "".join(said)
    assert "query 0, step 0" in text
    assert "member 0, weight 0.50: up (100%)" in text
    assert "member 1, weight 0.50: left (100%)" in text
    assert "objects (" in text
    assert "members disagree: 100.0%" in text
    assert "asked with the rest, 100.0%" in text


def test_an_action_that_is_not_allowed_is_not_taken() -> None:
    one, said = person(["w!\n", "d!\n"])
    nothing = np.zeros(0)
    allowed = np.array([False, True, True, True])
    one.consider(
        Question("", 0, 0, None, 1.0, np.zeros(4), np.zeros((0, 4)), nothing, nothing, nothing, allowed=allowed)
    )
    assert one(0) == 3
    assert any("up cannot be done here" in text for text in said)


def test_what_comes_from_elsewhere_is_not_obeyed_by_the_terminal() -> None:
    class Wicked(Env):
        mission = "go \x1b[2J\x07there"

    one, said = person(["w!\n"], Wicked())
    one(0)
    assert "go \\x1b[2J\\x07there" in "".join(said)
    assert "\x1b" not in "".join(said)


def test_several_environments_have_a_person_each_and_say_which() -> None:
    people = demonstrators.terminal([Env(), Env()])
    said: list[str] = []
    for one in people:
        one._read, one._write = lambda: "1!\n", said.append
    one = ConsensusImitator(ensembles.tabular(APART), people, selection=TopK(2), seed=0, num_envs=2)
    assert one.act(np.array([0, 1])).action.tolist() == [0, 0]
    assert "environment 0: query 0" in "".join(said)
    assert "environment 1: query 0" in "".join(said)


# --- keys and views ---


def test_keys_come_from_the_user_the_environment_and_usage() -> None:
    class Own(Env):
        def get_keys_to_action(self) -> dict[Any, int]:
            return {(ord("h"),): 0, (ord("h"), ord("j")): 1, "k": 2, ("?",): 3}

    assert actions_of(Own()).keys == ("h", "1", "k", "2")
    assert actions_of(Env(), {"z": 0, ord("y"): 3}, ["go", "left", "b", "c"]).keys == ("z", "a", "1", "y")
    assert actions_of(Env(), "hjkl").keys == ("h", "j", "k", "l")
    assert actions_of(gymnasium.make("CartPole-v1")).names == ("left", "right")


@pytest.mark.parametrize(
    ("keys", "names", "said"),
    [
        ({"?": 0}, None, "means 'help'"),
        ({"ab": 0}, None, "one printable character"),
        ({"a": 9}, None, "none of the 4 actions"),
        ({"a": True}, None, "none of the 4 actions"),
        ("aabc", None, "may appear once"),
        (None, ["a", "b"], "must be 4 different"),
        (None, ["a", "a", "b", "c"], "must be 4 different"),
    ],
)
def test_impossible_keys_and_names_are_refused(keys: Any, names: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        actions_of(Env(), keys, names)


def test_actions_that_are_not_numbered_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="numbered actions"):
        demonstrators.terminal(gymnasium.make("Pendulum-v1"))


def test_a_minigrid_view_is_drawn_with_the_agent_looking_up() -> None:
    tiles = np.zeros((7, 7, 3), np.uint8)
    tiles[:, :, 0] = 1
    tiles[5, 4] = (6, 0, 0)  # a red ball, two to the right and two ahead
    tiles[3, 6] = (5, 4, 0)  # a yellow key, carried
    rows = minigrid_text(tiles).split("\n")
    assert rows[6].split()[3] == "^"
    assert rows[4].split()[5] == "Br"
    assert rows[7] == "Br red ball, 2 ahead and 2 to the right; you carry the yellow key"


def test_numbers_have_names() -> None:
    seen = view(gymnasium.make("CartPole-v1"), np.array([0.5, 0, 0, -1], np.float32)).text
    assert seen.split("\n")[0] == "position: 0.5"
    assert "mean 0" in view(None, np.zeros(100)).text
    assert view(None, {"a": 3, "mission": "go"}).mission == "go"
    lake = gymnasium.make("FrozenLake-v1", render_mode="ansi")
    seen, _ = lake.reset(seed=0)
    assert "[S]FFF\nFHFH" in view(lake, seen).text  # where the agent is


def test_a_picture_can_be_read_by_others() -> None:
    image = pytest.importorskip("PIL.Image")
    import io

    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert np.array_equal(np.asarray(image.open(io.BytesIO(png(pixels)))), pixels)


# --- a real terminal ---


class Screen:
    """A program at a pseudo-terminal, and somebody who types."""

    def __init__(self, *words: str) -> None:
        pty = pytest.importorskip("pty", reason="no pseudo-terminals on this system")
        self.fd, inner = pty.openpty()
        env = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "PYTHONPATH": str(Path(__file__).parents[2])}
        self.process = subprocess.Popen(
            [sys.executable, *words], stdin=inner, stdout=inner, stderr=inner, close_fds=True, env=env
        )
        os.close(inner)
        self.seen = ""
        self._read = 0

    def until(self, *patterns: str) -> str:
        """What comes up to the first of the patterns."""
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            found = [match for one in patterns if (match := re.compile(one).search(self.seen, self._read))]
            if found:
                first = min(found, key=lambda match: match.end())
                part, self._read = self.seen[self._read : first.end()], first.end()
                return part
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    data = os.read(self.fd, 65536)
                except OSError:
                    data = b""
                if not data:
                    break
                self.seen += CODES.sub("", data.decode(errors="replace"))
        raise AssertionError(f"none of {patterns} came; after: ...{self.seen[-800:]!r}")

    def type(self, text: str) -> None:
        os.write(self.fd, (text + "\n").encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.fd)


@pytest.mark.slow
def test_thirty_queries_at_a_real_terminal_with_slips_help_undo_a_stop_and_a_resume(tmp_path: Path) -> None:
    words = ("-m", "tests.demonstrators.terminal_run", str(tmp_path / "run"))
    given: list[int] = []
    stopped_at = None
    screen = Screen(*words)
    try:
        while True:
            part = screen.until(r"query (\d+), step \d+: you are asked[\s\S]*?\n> ?$", r"ended with \d+ answers.*\n")
            if "ended with" in part:
                assert f"ended with {ANSWERS} answers, interrupted: False" in part
                break
            # Nothing is drawn over what the person reads.
            asked = part[part.index("query ") :]
            assert "a left" in asked
            assert "member 0" in asked
            assert "━" not in asked
            match len(given) % 6:
                case 1:
                    screen.type("xyzzy")
                    screen.until(r"'xyzzy' is no action")
                case 2:
                    screen.type("?")
                    screen.until("this help")
                case 3:
                    screen.type("a")
                    screen.until("left: Enter gives it, u undoes >")
                    screen.type("u")
                    screen.until("taken back")
                case 4 if stopped_at is None and len(given) >= 10:
                    stopped_at = int(re.findall(r"query (\d+)", asked)[-1])
                    screen.type("stop")
                    assert f"ended with {len(given)} answers, interrupted: True" in screen.until(r"ended with.*\n")
                    screen.close()
                    screen = Screen(*words)
                    continue
                case _:
                    pass
            action = len(given) % 4
            screen.type("asdw"[action])
            screen.until("Enter gives it")
            screen.type("")
            given.append(action)
    finally:
        screen.close()
    assert stopped_at is not None
    with reading(tmp_path / "run") as reader:
        answers = [entry.record for entry in reader.entries() if entry.record.kind == "answer"]
    # Nothing lost, nothing twice, nothing else.
    assert [record.action for record in answers] == given
    assert len(given) == ANSWERS
    assert all(record.latency is not None and record.latency > 0 for record in answers)
