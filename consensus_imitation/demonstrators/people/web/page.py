"""A page in the browser at which a person demonstrates, for one environment or several."""

import base64
import time
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from consensus_imitation.core._escaping import visible, visible_lines
from consensus_imitation.demonstrators._base import Demonstrator, Who
from consensus_imitation.demonstrators.people.keys import Actions, actions_of
from consensus_imitation.demonstrators.people.views import View, view
from consensus_imitation.demonstrators.people.web.board import Board
from consensus_imitation.demonstrators.people.web.server import Server
from consensus_imitation.demonstrators.question import Question
from consensus_imitation.errors import DemonstratorTimeoutError

#: Seconds between two pictures of steps on which nobody is asked.
_FRAME = 0.1
#: Characters of a text that is shown, members and actions of a table.
_TEXT, _MEMBERS, _ACTIONS = 4000, 24, 40


class Page:
    """A page, its server, and a seat for each environment.

    Args:
        envs: B environments with the same actions. They are looked at, never stepped.
        keys: see `people.keys.actions_of`.
        names: likewise.
        title: shown at the top.
        run: names the run, so that no answer to an earlier one counts.
        offers: what the run can do besides taking answers: "takeover", "act", "next", "learn".
        host: see `Server`.
        port: likewise.
        token: likewise.
        ready: whether windows may be shown anything yet, see `Board.is_ready`.

    Attributes:
        board: what is shown, and what was said.
        actions: names and keys.
        url: the page's address, with its token.
    """

    def __init__(
        self,
        envs: Sequence[Any],
        keys: Any = None,
        names: Sequence[str] | None = None,
        *,
        title: str = "",
        run: str = "",
        offers: Sequence[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        ready: bool = True,
    ) -> None:
        self.actions: Actions = actions_of(envs[0], keys, names)
        about = {
            "title": visible(title),
            "run": run,
            "names": [visible(name) for name in self.actions.names],
            "keys": list(self.actions.keys),
            "offers": list(offers),
        }
        self.board = Board(about, len(envs))
        self.board.is_ready = ready
        self.server = Server(self.board, host, port, token)
        self.url = self.server.url

    def close(self) -> None:
        """Say that it is over, and serve no more."""
        self.board.switch("ended", True)
        time.sleep(0.1)
        self.server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def as_shown(seen: View) -> dict[str, Any]:
    """Return what a window shows of a situation."""
    picture = "" if seen.picture is None else "data:image/png;base64," + base64.b64encode(seen.picture).decode("ascii")
    return {
        "text": visible_lines(seen.text)[:_TEXT],
        "mission": visible(seen.mission)[:_TEXT],
        "picture": picture,
    }


def as_asked(question: Question | None, number: int) -> dict[str, Any]:
    """Return what a window shows of a question: why it is asked, and a table of members and actions."""
    if question is None:
        return {"id": number, "why": [], "members": [], "minimum": [], "theta": None, "allowed": None}
    order = sorted(range(len(question.weights)), key=lambda n: (not question.selected[n], -question.weights[n]))
    return {
        "id": number,
        "step": question.step,
        "theta": _rounded(question.query_prob),
        "why": [visible(one) for one in question.why],
        "alarms": [visible(one) for one in question.alarms],
        "minimum": [_rounded(p) for p in question.min_probs[:_ACTIONS]],
        "allowed": None if question.allowed is None else [bool(one) for one in question.allowed],
        "members": [
            {
                "member": n,
                "weight": _rounded(question.weights[n]),
                "selected": bool(question.selected[n]),
                "dissent": _rounded(question.dissent[n]),
                "probs": [_rounded(p) for p in question.probs[n, :_ACTIONS]],
            }
            for n in order[:_MEMBERS]
        ],
    }


def _rounded(value: Any) -> float | None:
    number = float(value)
    return round(number, 4) if np.isfinite(number) else None


class Seat(Demonstrator):
    """A person at a page, as the demonstrator of one environment; made by `web`.

    Args:
        page: where she sits.
        env: what she looks at.
        number: of the environment.

    Attributes:
        page: the same.
    """

    def __init__(self, page: Page, env: Any, number: int = 0) -> None:
        self.page = page
        self._env, self._number = env, number
        self._question: Question | None = None
        self._shown = 0.0
        self._steps = self._asked = 0

    def consider(self, question: Question) -> None:
        """Keep why it is asked, to show it."""
        self._question = question

    def __call__(self, observation: Any) -> int:
        """Ask on the page, and wait for the answer.

        Raises:
            DemonstratorTimeoutError: if the person does not know.
        """
        board, b = self.page.board, self._number
        question, self._question = self._question, None
        self._asked += 1
        seen = as_shown(view(self._env, observation, picture=True))
        board.publish(**_readings(question))
        board.pose(b, as_asked(question, self._asked if question is None else question.query), **seen)
        # Not for ever at once: an interrupt should end it.
        while not board.wait_for(lambda: board.given(b) is not None, 0.5):
            pass
        given = board.given(b)
        board.close(b, status="acting")
        action = None if given is None else given.action
        said = "I don't know" if action is None else self.page.actions.names[action]
        line = {"env": b, "step": self._steps, "who": "person", "what": said, "asked": True}
        board.told({**line, "seconds": round(given.seconds, 2) if given else None}, self._rate(question))
        if action is None:
            raise DemonstratorTimeoutError(
                'the person said "I don\'t know": call again to ask again, or let Patience name a SafeAction'
            )
        return action

    def observe(self, action: int, who: Who) -> None:
        """Show the step, and wait while the person has paused the run."""
        board, b = self.page.board, self._number
        self._steps += 1
        if who != "demonstrator":
            name = self.page.actions.names[action]
            board.told({"env": b, "step": self._steps - 1, "who": who, "what": name, "asked": False, "seconds": None})
        now = time.monotonic()
        if now - self._shown >= _FRAME and getattr(self._env, "render_mode", None) == "rgb_array":
            self._shown = now
            board.seat(b, picture=as_shown(view(self._env, 0, picture=True))["picture"], status="acting")
        while board.flag("paused"):
            board.wait_for(lambda: not board.flag("paused"), 0.5)

    def _rate(self, question: Question | None) -> tuple[int, float] | None:
        return None if question is None else (question.step, round(question.query_rate, 4))


def _readings(question: Question | None) -> dict[str, Any]:
    if question is None:
        return {}
    return {
        "answers": question.answers,
        "steps": question.step,
        "weights": [_rounded(one) for one in question.weights[:_MEMBERS]],
        "alarms": [visible(one) for one in question.alarms],
    }


def web(
    env: Any,
    keys: Any = None,
    names: Sequence[str] | None = None,
    *,
    title: str = "",
    host: str = "127.0.0.1",
    port: int = 0,
    open_browser: bool = False,
    announce: Any = print,
) -> Any:
    """Return a person at a page in the browser as a demonstrator; the page's address is printed.

    The page shows the situation (a picture with ``render_mode="rgb_array"``, text otherwise), the actions by key and
    button, why the person is asked, and what was answered. She may pause the run, take a choice back before she gives
    it, and say that she does not know, which is silence (`DemonstratorTimeoutError`) and left to `Patience`. To take
    over unasked, and to go on after a restart with the same question, use ``consensus-imitation play``.

    The page is served on the loopback address to whoever has the token in its address. It is served until
    ``demonstrator.page.close()``, or the end of the process.

    Args:
        env: a Gymnasium environment, which is looked at and never stepped; or a list of B, for ``num_envs=B``.
        keys: ``{key: action}``, as Gymnasium's ``keys_to_action``, or one key for each action.
        names: of the actions.
        title: shown at the top.
        host: another address of this machine lets others on the network try to get in, unencrypted.
        port: 0 for a free one.
        open_browser: whether to open a browser.
        announce: called with a line that holds the address.

    Returns:
        A demonstrator, or a list of B at one page.

    Raises:
        ImportError: without the extra ``web``.
        ConfigurationError: if actions, keys, names or address do not fit.
    """
    several: Any = env if isinstance(env, list | tuple) else [env]
    page = Page(several, keys, names, title=title, host=host, port=port)
    announce(f"a person is asked at {page.url}")
    if open_browser:
        import webbrowser

        webbrowser.open(page.url)
    seats = [Seat(page, one, b) for b, one in enumerate(several)]
    return seats if isinstance(env, list | tuple) else seats[0]
