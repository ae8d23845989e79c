"""Serves a page on the loopback address to whoever has its token, and to nobody else.

As Jupyter does: the address holds a random token, which a cookie takes over at the first visit. Every request and every
socket must name this server as its ``Host``, and come from a page of this server (``Origin``), so that no page from
elsewhere can reach it through the browser of somebody who is allowed in. Sizes, rates and numbers are bounded.
"""

import asyncio
import contextlib
import ipaddress
import json
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable
from importlib import import_module
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs

from consensus_imitation.demonstrators.people.web.board import Board
from consensus_imitation.errors import ConfigurationError

#: Bytes of a message from a window, messages a second (with a burst of as many), and windows at the same time.
MESSAGE_BYTES, MESSAGES, WINDOWS = 4096, 60, 16
#: Connections at the same time, and seconds that one may take to ask for something.
CONNECTIONS, HEADER_SECONDS = 64, 5.0
#: Seconds between two pictures of one window, at least.
PAUSE = 0.015

_FILES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
_MISSING = 'a page in the browser needs starlette, uvicorn and websockets: pip install "consensus_imitation[web]"'


class Server:
    """A server in a thread of its own.

    Args:
        board: what it shows.
        host: the address that it listens on. Any but the loopback address lets others on the network try; there is no
            encryption.
        port: 0 for a free one.
        token: that opens the page; None for a new one.

    Attributes:
        url: the page's address, with the token.
        port: the port.
        token: the token.

    Raises:
        ImportError: without the extra `web`.
        ConfigurationError: if the address cannot be listened on.
    """

    def __init__(self, board: Board, host: str = "127.0.0.1", port: int = 0, token: str | None = None) -> None:
        try:
            import uvicorn

            import_module("websockets")  # uvicorn imports it when somebody connects
        except ImportError as error:
            raise ImportError(_MISSING) from error
        self._socket = _listening(host, port)
        self.port = int(self._socket.getsockname()[1])
        self.token = secrets.token_urlsafe(32) if token is None else token
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.port}/?token={self.token}"
        hosts = {f"{shown}:{self.port}"}
        if is_loopback(host):
            hosts |= {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        # Refusals are answers, not news: whoever tries must not fill the terminal of whoever runs this.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        config = uvicorn.Config(
            Guard(_app(board), frozenset(hosts), self.token, f"consensus-imitation-{self.port}"),
            http=_bounded(),
            ws="websockets-sansio",
            ws_max_size=MESSAGE_BYTES,
            ws_per_message_deflate=False,
            h11_max_incomplete_event_size=16384,
            timeout_graceful_shutdown=1,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="page", daemon=True)
        self._thread.start()
        end = time.monotonic() + 10
        while not self._server.started and self._thread.is_alive() and time.monotonic() < end:
            time.sleep(0.005)

    def _serve(self) -> None:
        with contextlib.suppress(SystemExit):
            self._server.run(sockets=[self._socket])

    def close(self) -> None:
        """Serve no more."""
        self._server.should_exit = True
        self._thread.join(5)
        self._socket.close()


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listening(host: str, port: int) -> socket.socket:
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError as error:
        raise ConfigurationError(f"host must be an address of this machine, such as 127.0.0.1; got {host!r}") from error
    if address.is_unspecified:
        raise ConfigurationError(
            f"{host} is every address of this machine, so that no request can be held against it: name the one that "
            "browsers will use"
        )
    if not 0 <= port < 65536:
        raise ConfigurationError(f"port must lie in 0 .. 65535, got {port}")
    listening = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((str(address), port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error}") from error
    return listening


class Guard:
    """Lets in who names this server, comes from its pages, and has its token.

    Args:
        app: what it guards.
        hosts: names of this server, with its port.
        token: that opens it.
        cookie: name of the cookie that holds it.
    """

    def __init__(self, app: Any, hosts: frozenset[str], token: str, cookie: str) -> None:
        self._app, self._hosts, self._token, self._cookie = app, hosts, token, cookie
        sockets = " ".join(sorted(f"ws://{host}" for host in hosts))
        policy = (
            f"default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self' {sockets}; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        self._headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"cache-control", b"no-store"),
        ]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass on what is allowed, and refuse the rest."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refused(scope, headers)
        if scope["type"] == "websocket":
            if refused:
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._app(scope, receive, send)
            return
        if not refused and (token := _token_of(scope)) is not None:
            # From now on the cookie opens it, and the token stands neither in the address bar nor in the history.
            cookie = f"{self._cookie}={token}; HttpOnly; SameSite=Strict; Path=/"
            await self._answer(send, 303, "", [(b"location", b"/"), (b"set-cookie", cookie.encode())])
        elif refused:
            await self._answer(send, *refused, [])
        else:
            name, kind = _FILES[scope["path"]]
            await self._answer(send, 200, _static(name), [], kind)

    def _refused(self, scope: Any, headers: dict[str, str]) -> tuple[int, str] | None:
        if headers.get("host", "") not in self._hosts:
            return 421, "This server does not answer to that name."
        origin = headers.get("origin")
        if origin is None:
            if scope["type"] == "websocket":
                return 403, "A socket must say which page it comes from."
        elif origin.removeprefix("http://") not in self._hosts or not origin.startswith("http://"):
            return 403, "Pages from elsewhere are not let in."
        if scope["type"] == "websocket":
            if scope["path"] != "/socket":
                return 404, "There is nothing here."
        elif scope["method"] not in ("GET", "HEAD"):
            return 405, "This page is only read."
        elif scope["path"] not in _FILES:
            return 404, "There is nothing here."
        given = _token_of(scope) if scope["type"] == "http" else None
        given = _cookies(headers).get(self._cookie, "") if given is None else given
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            return 403, (
                "This page opens with the token of its run, and this one is missing or wrong.\n"
                "Open the whole address that was printed where the run was started."
            )
        return None

    async def _answer(
        self, send: Any, status: int, text: str, more: list[tuple[bytes, bytes]], kind: str = "text/plain"
    ) -> None:
        body = text.encode()
        headers = [(b"content-type", f"{kind}; charset=utf-8".encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": [*headers, *self._headers, *more]})
        await send({"type": "http.response.body", "body": body})


def _token_of(scope: Any) -> str | None:
    if scope["path"] != "/" or not scope["query_string"]:
        return None
    found = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=4).get("token")
    return found[0] if found else None


def _cookies(headers: dict[str, str]) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
    return {name: value for name, _, value in pairs}


def _static(name: str) -> str:
    return files(__package__ or "").joinpath("static", name).read_text(encoding="utf-8")


def _app(board: Board) -> Any:
    try:
        from starlette.websockets import WebSocket, WebSocketDisconnect
    except ImportError as error:
        raise ImportError(_MISSING) from error
    windows: set[Any] = set()

    async def window(scope: Any, receive: Any, send: Any) -> None:
        """One window, from its connection to its end."""
        websocket = WebSocket(scope, receive, send)
        while not board.is_ready:
            await asyncio.sleep(PAUSE)
        await websocket.accept()
        if len(windows) >= WINDOWS:
            await websocket.close(1013, "too many windows are open")
            return
        windows.add(websocket)
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        listener = _waker(loop, news)
        board.listen(listener)
        news.set()
        sending = loop.create_task(_show(websocket, board, news))
        try:
            await _hear(websocket, board)
        except WebSocketDisconnect:
            pass
        finally:
            board.forget(listener)
            windows.discard(websocket)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await sending

    return window


def _waker(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> Callable[[], object]:
    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody shows anything any more.
            loop.call_soon_threadsafe(news.set)

    return wake


async def _show(websocket: Any, board: Board, news: asyncio.Event) -> None:
    """Send the latest state, as often as there is another."""
    shown = -1
    while True:
        await news.wait()
        news.clear()
        version, text = board.state()
        if version != shown:
            shown = version
            await websocket.send_text(text)
            await asyncio.sleep(PAUSE)


async def _hear(websocket: Any, board: Board) -> None:
    """Do what a window says, and tell it whether that was done; a window that is no page of ours is closed."""
    left, then = float(MESSAGES), time.monotonic()
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        now = time.monotonic()
        left, then = min(MESSAGES, left + MESSAGES * (now - then)) - 1, now
        if left < 0:
            await websocket.close(1008, "too many messages")
            return
        try:
            said = json.loads(message.get("text") or "")
            number = said.get("id")
            if type(number) is not int:
                raise TypeError("a message has a number")
            refused = board.hear(said)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            await websocket.close(1008, "not understood")
            return
        await websocket.send_text(json.dumps({"heard": number, "refused": refused}))


def _bounded() -> Any:
    """Uvicorn's protocol, with a limit to connections, and to how long one may ask for nothing."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Bounded(H11Protocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > CONNECTIONS:
                transport.abort()
            else:
                self._late = self.loop.call_later(HEADER_SECONDS, self._give_up, transport)

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._asked()
            super().handle_websocket_upgrade(event)

        def connection_lost(self, exc: Exception | None) -> None:
            self._asked()
            super().connection_lost(exc)

        def _asked(self) -> None:
            if self._late is not None:
                self._late.cancel()

        def _give_up(self, transport: Any) -> None:
            # A request that was answered has the limit of connections that are kept open.
            if getattr(self, "cycle", None) is None:
                transport.abort()

    return Bounded
