"""Attacks on the page: all refused, and the run and its window go on unharmed."""

import http.client
import json
import re
import socket
import time
from collections.abc import Generator, Iterable
from contextlib import ExitStack
from typing import Any

import gymnasium
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import connect

from consensus_imitation.demonstrators.people.web import server as serving
from consensus_imitation.demonstrators.people.web.page import Page
from consensus_imitation.errors import ConfigurationError

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"


class Env:
    action_space = gymnasium.spaces.Discrete(2)


@pytest.fixture
def page() -> Generator[Page, None, None]:
    with Page([Env()], names=["go", SCRIPT], title=SCRIPT, run="r") as one:
        one.board.pose(0, {"id": 7, "why": [SCRIPT], "members": [], "minimum": [], "theta": 0.5, "allowed": None})
        yield one


def get(page: Page, path: str = "/", method: str = "GET", body: bytes = b"", **headers: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", page.server.port, timeout=10)
    given = {"Host": f"127.0.0.1:{page.server.port}", "Cookie": cookie(page), **headers}
    connection.request(method, path, body, {name: value for name, value in given.items() if value})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, answer.headers


def cookie(page: Page) -> str:
    return f"consensus-imitation-{page.server.port}={page.server.token}"


def window(page: Page, origin: str | None = "", **more: str) -> Any:
    place = f"127.0.0.1:{page.server.port}"
    headers = {"Cookie": cookie(page), **more}
    own = f"http://{place}" if origin == "" else origin
    return connect(f"ws://{place}/socket", origin=own, additional_headers=headers, open_timeout=10, proxy=None)


def is_closed_after(one: Any, messages: Iterable[Any]) -> None:
    """The server closes a window that says this."""
    try:
        for message in messages:
            one.send(message)
        while True:
            one.recv(timeout=10)
    except ConnectionClosed:
        return


def is_unharmed(page: Page) -> None:
    """A window opens, sees the question, and answers it."""
    with window(page) as one:
        state = json.loads(one.recv(timeout=10))
        question = state["seats"][0]["question"]
        assert question["id"] == 7
        one.send(json.dumps({"id": 1, "do": "answer", "env": 0, "run": "r", "query": 7, "action": 0}))
        while "heard" not in (said := json.loads(one.recv(timeout=10))):
            pass
        assert said == {"heard": 1, "refused": ""}
    given = page.board.given(0)
    assert given is not None
    assert given.action == 0


def test_the_page_is_served_to_whoever_has_the_token_which_leaves_the_address(page: Page) -> None:
    status, _, headers = get(page, f"/?token={page.server.token}", Cookie="")
    assert (status, headers["Location"]) == (303, "/")
    assert re.search("HttpOnly; SameSite=Strict", headers["Set-Cookie"])
    status, text, headers = get(page)
    assert (status, "<main>" in text) == (200, True)
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert SCRIPT not in text
    assert not re.search(
        r"https?://(?!www\.w3\.org/2000/svg)", text + get(page, "/page.js")[1] + get(page, "/page.css")[1]
    )
    is_unharmed(page)


@pytest.mark.parametrize(
    ("status", "path", "method", "headers"),
    [
        (403, "/", "GET", {"Cookie": ""}),
        (403, "/page.js", "GET", {"Cookie": ""}),
        (403, "/?token=wrong", "GET", {}),
        (403, "/?token=", "GET", {"Cookie": ""}),
        (421, "/", "GET", {"Host": "evil.example"}),
        (421, "/", "GET", {"Host": "127.0.0.1"}),
        (403, "/", "GET", {"Origin": "http://evil.example"}),
        (403, "/", "GET", {"Origin": "null"}),
        (403, "/", "GET", {"Origin": "https://127.0.0.1:1"}),
        (405, "/", "POST", {}),
        (404, "/../pyproject.toml", "GET", {}),
        (404, "/static/page.js", "GET", {}),
        (404, "/socket", "GET", {}),
    ],
)
def test_a_request_is_refused(page: Page, status: int, path: str, method: str, headers: dict[str, str]) -> None:
    given, text, _ = get(page, path, method, **headers)
    assert given == status
    assert page.server.token not in text
    is_unharmed(page)


@pytest.mark.parametrize(
    ("origin", "headers"),
    [
        (None, {}),  # of no page
        ("http://evil.example", {}),  # of a foreign page, with the cookie that a browser would send
        ("null", {}),
        ("", {"Cookie": ""}),
        ("", {"Cookie": "consensus-imitation-1=wrong"}),
    ],
)
def test_a_socket_is_refused(page: Page, origin: str | None, headers: dict[str, str]) -> None:
    with pytest.raises(InvalidStatus) as refused, window(page, origin, **headers):
        pass
    assert refused.value.response.status_code == 403
    is_unharmed(page)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "[]",
        "null",
        "1",
        '"x"',
        "{}",
        '{"id": "1"}',
        '{"id": true}',
        "[" * 2000,
        b"\x00\xff",
        "x" * 5000,
        b"x" * 10**6,
    ],
)
def test_a_malformed_or_oversized_frame_closes_its_window_only(page: Page, message: Any) -> None:
    with window(page) as one:
        one.recv(timeout=10)
        is_closed_after(one, [message])
    is_unharmed(page)


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ({"do": "answer", "env": 0, "run": "r", "query": 6, "action": 0}, "closed"),
        ({"do": "answer", "env": 0, "run": "other", "query": 7, "action": 0}, "closed"),
        ({"do": "answer", "env": 0, "run": "r", "query": 7, "action": 2}, "no such action"),
        ({"do": "answer", "env": 0, "run": "r", "query": 7, "action": True}, "no such action"),
        ({"do": "answer", "env": 0, "run": "r", "query": 7, "action": "0"}, "no such action"),
        ({"do": "answer", "env": 1, "run": "r", "query": 7, "action": 0}, "no such environment"),
        ({"do": "answer", "env": -1, "run": "r", "query": 7, "action": 0}, "no such environment"),
        ({"do": "takeover", "env": 0, "on": True}, "does not offer"),
        ({"do": "pause", "on": 1}, "not understood"),
        ({"do": "__class__", "env": 0}, "does not offer"),
        ({"do": ["answer"], "env": 0}, "does not offer"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(page: Page, said: Any, refused: str) -> None:
    assert refused in page.board.hear(said)
    assert page.board.given(0) is None
    is_unharmed(page)


def test_the_same_answer_again_counts_once_and_another_one_is_refused(page: Page) -> None:
    answer = {"do": "answer", "env": 0, "run": "r", "query": 7, "action": 0}
    assert page.board.hear(answer) == ""
    assert page.board.hear(answer) == ""
    assert "another answer" in page.board.hear({**answer, "action": 1})
    assert page.board.given(0).action == 0  # type: ignore[union-attr]


@pytest.mark.slow
def test_too_many_messages_close_their_window_only(page: Page) -> None:
    with window(page) as one:
        undo = (json.dumps({"id": number, "do": "undo", "env": 0}) for number in range(10 * serving.MESSAGES))
        is_closed_after(one, undo)
    is_unharmed(page)


def test_a_thousand_connections_leave_an_open_window_alone(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEADER_SECONDS", 1.0)
    with ExitStack() as silent, window(page) as one:
        one.recv(timeout=10)
        for _ in range(1000):
            try:
                silent.enter_context(socket.create_connection(("127.0.0.1", page.server.port), timeout=5))
            except OSError:
                break
        began = time.monotonic()
        one.send(json.dumps({"id": 1, "do": "undo", "env": 0}))
        assert json.loads(one.recv(timeout=10))
        assert time.monotonic() - began < 5
        # Those who ask for nothing are sent away, and others get in again.
        deadline = time.monotonic() + 20
        while True:
            try:
                with window(page) as other:
                    other.recv(timeout=5)
                break
            except (OSError, TimeoutError, InvalidHandshake, EOFError, ConnectionClosed):
                assert time.monotonic() < deadline
                time.sleep(0.2)
    is_unharmed(page)


def test_more_windows_than_anybody_needs_are_refused(page: Page) -> None:
    with ExitStack() as stack:
        for _ in range(serving.WINDOWS):
            stack.enter_context(window(page)).recv(timeout=10)
        with window(page) as late, pytest.raises(ConnectionClosed, match="too many windows"):
            late.recv(timeout=10)
    time.sleep(0.2)
    is_unharmed(page)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org", "256.1.1.1"])
def test_an_address_that_cannot_be_held_against_a_request_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError):
        Page([Env()], host=host)


def test_only_this_machine_is_loopback() -> None:
    assert all(map(serving.is_loopback, ("127.0.0.1", "::1", "localhost")))
    assert not any(map(serving.is_loopback, ("192.168.1.2", "0.0.0.0", "example.org")))
