"""What all windows of a page see, and what a person did there: one value between the run's thread and the server's.

The run publishes, and waits for answers. A window gets the latest whole state whenever it comes, so that a lost
connection loses nothing, and a second window sees the same. What a window sends names the question (or the turn) that
it is about. So nothing counts twice, however often it is sent.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

#: Lines of the history, and points of the curve, that a window is sent.
HISTORY, POINTS = 60, 200


class Given(NamedTuple):
    """What a person said to a question.

    Attributes:
        action: None if she does not know.
        seconds: since the question was shown.
    """

    action: int | None
    seconds: float


class Board:
    """The state of a page.

    Args:
        about: what does not change: title, names and keys of actions, what the run offers besides answers.
        num_seats: environments.

    Attributes:
        is_ready: whether windows are shown anything. A run that is taken up first poses the question again that waits:
            what a window says of it once more would be refused before.
    """

    def __init__(self, about: Mapping[str, Any], num_seats: int) -> None:
        self._news = threading.Condition()
        self.is_ready = True
        self._about = dict(about)
        self._run: dict[str, Any] = {"answers": 0, "steps": 0, "weights": [], "alarms": [], "certificate": ""}
        self._seats: list[dict[str, Any]] = [{"env": b, "status": "begins"} for b in range(num_seats)]
        self._flags = {"paused": False, "confirm": False, "learn": False, "ended": False}
        self._history: deque[dict[str, Any]] = deque(maxlen=HISTORY)
        self._rate: list[tuple[int, float]] = []
        self._posed: dict[int, float] = {}
        self._given: dict[int, Given] = {}
        self._acts: dict[int, int] = {}
        self._next: set[int] = set()
        self._listeners: set[Callable[[], object]] = set()
        self._version, self._text = 0, ""
        self._written = -1
        self._notice = ""

    # --- the run's side ---

    def seat(self, env: int, **fields: Any) -> None:
        """Show other things of an environment."""
        with self._news:
            self._seats[env].update(fields)
            self._changed()

    def pose(self, env: int, question: dict[str, Any], **fields: Any) -> None:
        """Ask about an environment; ``question`` has an ``id``, unique within the run."""
        with self._news:
            self._given.pop(env, None)
            self._posed[env] = time.monotonic()
            self._seats[env].update(question=question, chosen=None, status="asked", since=time.time(), **fields)
            self._changed()

    def close(self, env: int, **fields: Any) -> None:
        """The question of an environment is closed."""
        with self._news:
            self._given.pop(env, None)
            self._posed.pop(env, None)
            self._seats[env].update(question=None, chosen=None, **fields)
            self._changed()

    def reopen(self, env: int, notice: str) -> None:
        """Take up an answer that the run could not use; the question waits on."""
        with self._news:
            self._given.pop(env, None)
            self._notice = notice
            self._changed()

    def publish(self, **fields: Any) -> None:
        """Show other things of the run."""
        with self._news:
            self._run.update(fields)
            self._changed()

    def told(self, line: dict[str, Any], rate: tuple[int, float] | None = None) -> None:
        """Add a line to the history, and a point (step, rate) to the curve."""
        with self._news:
            self._history.append(line)
            if rate is not None:
                self._rate.append(rate)
                if len(self._rate) > 2 * POINTS:
                    self._rate = self._rate[::2]
            self._changed()

    def say(self, notice: str) -> None:
        """Show a sentence at the top of the page."""
        with self._news:
            self._notice = notice
            self._changed()

    def flag(self, name: str) -> bool:
        """Whether something is switched on: paused, confirm, learn, ended."""
        return self._flags[name]

    def switch(self, name: str, on: bool) -> None:
        """Switch it."""
        with self._news:
            self._flags[name] = on
            self._changed()

    def driver(self, env: int) -> str:
        """Who acts in an environment: "imitator" or "person"."""
        return self._seats[env].get("driver", "imitator")

    def given(self, env: int) -> Given | None:
        """What was said to the open question of an environment, so far."""
        return self._given.get(env)

    def take_act(self, env: int) -> int | None:
        """Return what a person who has taken over does next, once."""
        with self._news:
            return self._acts.pop(env, None)

    def take_next(self, env: int) -> bool:
        """Return whether the next episode is asked for, once."""
        with self._news:
            wanted = env in self._next
            self._next.discard(env)
            return wanted

    def is_called(self, env: int) -> bool:
        """Whether a person wants something of an environment that it has not done yet."""
        return env in self._acts or env in self._next

    def wait_for(self, ready: Callable[[], Any], seconds: float | None = None) -> Any:
        """Wait until it is so."""
        with self._news:
            return self._news.wait_for(ready, seconds)

    # --- the windows' side ---

    def listen(self, listener: Callable[[], object]) -> None:
        """Have something called, from whatever thread, whenever there is something new to show."""
        with self._news:
            self._listeners.add(listener)

    def forget(self, listener: Callable[[], object]) -> None:
        """Do not call it any more."""
        with self._news:
            self._listeners.discard(listener)

    def state(self) -> tuple[int, str]:
        """All that a window shows, as JSON; and its number."""
        with self._news:
            if self._written != self._version:
                run = {
                    **self._run,
                    **self._flags,
                    "history": list(self._history),
                    "rate": self._rate,
                    "notice": self._notice,
                }
                self._text = json.dumps(
                    {"about": self._about, "run": run, "seats": self._seats, "version": self._version}
                )
                self._written = self._version
            return self._version, self._text

    def hear(self, said: Any) -> str:
        """Do what a window says; return why not, "" if it was done (now, or before, by the same words)."""
        if not isinstance(said, dict):
            return "not understood"
        with self._news:
            refused = self._heard(said)
            self._changed()
            self._news.notify_all()
            return refused

    def _heard(self, said: dict[str, Any]) -> str:
        what = said.get("do")
        if what in ("pause", "confirm", "learn"):
            if type(said.get("on")) is not bool:
                return "not understood"
            if what == "learn" and "learn" not in self._about.get("offers", ()):
                return "this run does not offer that"
            self._flags["paused" if what == "pause" else what] = said["on"]
            return ""
        env = said.get("env")
        if type(env) is not int or not 0 <= env < len(self._seats):
            return "there is no such environment"
        seat = self._seats[env]
        if what in ("answer", "choose", "undo", "unknown"):
            return self._answered(str(what), said, env, seat)
        if what not in self._about.get("offers", ()):
            return "this run does not offer that"
        if what == "takeover" and type(said.get("on")) is bool:
            seat["driver"] = "person" if said["on"] else "imitator"
            self._acts.pop(env, None)
            return ""
        if what == "act":
            return self._acted(said, env, seat)
        if what == "next":
            if said.get("turn") != seat.get("turn"):
                return "that was another step"
            self._next.add(env)
            return ""
        return "not understood"

    def _answered(self, what: str, said: dict[str, Any], env: int, seat: dict[str, Any]) -> str:
        question = seat.get("question")
        if question is None or said.get("query") != question["id"] or said.get("run") != self._about.get("run"):
            return "this question is closed"
        if self._flags["paused"]:
            return "paused: go on first"
        if what == "undo":
            if env in self._given:
                return "it was given already, and counts"
            seat["chosen"] = None
            return ""
        action = None if what == "unknown" else said.get("action")
        refused = "" if what == "unknown" else self._impossible(action, question)
        if refused:
            return refused
        if what == "choose":
            if env in self._given:
                return "an answer was given already"
            seat["chosen"] = action
            return ""
        if env in self._given:
            return "" if self._given[env].action == action else "another answer was given already"
        seat["chosen"] = action
        self._given[env] = Given(action, time.monotonic() - self._posed.get(env, time.monotonic()))
        return ""

    def _acted(self, said: dict[str, Any], env: int, seat: dict[str, Any]) -> str:
        if seat.get("driver") != "person":
            return "take over first"
        if seat.get("question") is not None:
            return "answer the question first"
        if self._flags["paused"]:
            return "paused: go on first"
        if said.get("turn") != seat.get("turn") or env in self._acts:
            return "that was another step"
        refused = self._impossible(said.get("action"), {"allowed": seat.get("allowed")})
        if not refused:
            self._acts[env] = said["action"]
        return refused

    def _impossible(self, action: Any, question: Mapping[str, Any]) -> str:
        if type(action) is not int or not 0 <= action < len(self._about["names"]):
            return "there is no such action"
        allowed = question.get("allowed")
        return "this action cannot be done here" if allowed is not None and not allowed[action] else ""

    def _changed(self) -> None:
        self._version += 1
        self._news.notify_all()
        for listener in self._listeners:
            listener()
