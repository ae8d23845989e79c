"""Ctrl-C and SIGTERM: they end a command at once, with its exit code and a true word."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from consensus_imitation.cli import main
from consensus_imitation.cli.interrupts import Interrupts

from .interrupts import COMMANDS, strike

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")

#: Moments of every command that `python -m tests.cli.interrupts` does for longer.
QUICK = ("sweep", "journal verify")


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_after_ctrl_c_at_a_terminal_the_next_call_completes_it(name: str, tmp_path: Path) -> None:
    struck = list(strike(name, moments=2, again=1, folder=tmp_path))
    assert 130 in [one.code for one in struck]


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in QUICK])
def test_after_ctrl_c_at_a_terminal_the_next_call_completes_any(name: str, tmp_path: Path) -> None:
    assert 130 in [one.code for one in strike(name, moments=4, again=2, folder=tmp_path)]


def test_every_command_is_among_those_that_are_interrupted() -> None:
    known = {action.split(",")[0].split(" ")[0] for action in COMMANDS}
    # A run that waits for a person has no end to be compared with: tests/web/test_play.py breaks one off.
    assert known == set(main.all_commands()) - {"play"}


# --- what is done on a signal, whatever the process does meanwhile ---

_WATCHING = "import sys; from consensus_imitation.cli.interrupts import watch; watch('what it costs'); "
#: A handler of Python's does not interrupt it: it returns after many minutes. Another thread says that it is under way.
_NATIVE = """
import hashlib, threading
threading.Timer(1, lambda: print('ready', flush=True)).start()
hashlib.pbkdf2_hmac('sha256', b'', b'', 2_000_000_000)
"""
_SWALLOWING = """
import time
print('ready', flush=True)
while True:
    try:
        time.sleep(600)
    except BaseException:
        pass
"""
_WITH_A_CHILD = """
import multiprocessing, time
child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
child.start()
print(child.pid, flush=True)
child.join()
"""


def begin(program: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Whoever runs the tests in the background may have Ctrl-C ignored, which is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def said(running: "subprocess.Popen[str]") -> str:
    assert running.stdout is not None
    return running.stdout.readline().strip()


def rest(running: "subprocess.Popen[str]") -> tuple[str, str]:
    """What it says until it has ended; a process that hears no signal would go on for far longer than this waits."""
    try:
        return running.communicate(timeout=120)
    finally:
        running.kill()


@pytest.mark.filterwarnings("ignore:os.fork")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("doing", [_NATIVE, _SWALLOWING], ids=["native code", "exceptions swallowed"])
def test_the_process_ends_with_the_message_and_its_code(doing: str, number: signal.Signals) -> None:
    running = begin(_WATCHING + "exec(" + repr(doing) + ")")
    assert said(running) == "ready"
    running.send_signal(number)
    assert rest(running) == ("", "\nwhat it costs\n")
    assert running.returncode == 128 + number


@pytest.mark.filterwarnings("ignore:os.fork")
def test_what_it_began_ends_with_it() -> None:
    running = begin(_WATCHING + "exec(" + repr(_WITH_A_CHILD) + ")")
    child = int(said(running))
    running.send_signal(signal.SIGINT)
    # The child holds the other ends of these pipes: they are at their end when it is over.
    assert rest(running) == ("", "\nwhat it costs\n")
    assert running.returncode == 130
    assert not alive(child)


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and that nobody has collected does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "State:\tZ" not in status.read_text()


def test_a_signal_that_is_ignored_from_the_start_is_ignored_further() -> None:
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
        + _WATCHING
        + "import os; os.kill(os.getpid(), signal.SIGINT); print('still there')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("still there\n", "")


def test_nothing_heavy_is_imported_before_it_listens() -> None:
    program = (
        "import sys, consensus_imitation.__main__; "
        "print([name for name in ('jax', 'numpy', 'argparse') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --- what is said ---

_ANEW = "unfinished work is not kept, and the same command starts from the beginning"


@pytest.mark.parametrize(
    ("argv", "cost"),
    [
        (["demo"], "finished parts are saved in demo, and the same command continues with the rest"),
        (["sweep"], "finished seeds are saved in out/sweep, and the same command continues with the rest"),
        (["redteam", "--out", "o"], "finished scenarios are saved in o, and the same command continues with the rest"),
        (["bounds"], "finished settings are saved in out/bounds, and the same command continues with the rest"),
        (
            ["compare", "--task", "x"],
            "finished runs are saved in out/compare, and the same command continues with the rest",
        ),
        (["pendulum"], "finished runs are saved in out/pendulum, and the same command continues with the rest"),
        (["planted"], "finished runs are saved in out/planted, and the same command continues with the rest"),
        (
            ["collapse", "--task", "x"],
            "finished runs are saved in out/collapse, and the same command continues with the rest",
        ),
        (
            ["sweep", "--overwrite"],
            "finished seeds are saved in out/sweep, and the same command without --overwrite continues with the rest",
        ),
        (["journal", "show", "x"], _ANEW),
        (["journal", "verify", "x"], _ANEW),
        (["journal", "export", "x", "--format", "csv", "--out", "y"], _ANEW),
        (["journal", "mend", "x"], _ANEW),
        (["bench"], _ANEW),
        (["envs"], _ANEW),
        (["tasks"], _ANEW),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_interrupt_says_what_it_costs(
    argv: Sequence[str], cost: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is said then; commands that begin anew say it at the start, too, at a terminal; the help says it."""
    monkeypatch.setattr(main, "_run", lambda *_: 0)
    interrupts = Interrupts("nothing yet")
    assert main.main(argv, interrupts) == 0
    assert interrupts.message.endswith(f": interrupted; {cost}")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main.main(argv, interrupts) == 0
    at_start = capsys.readouterr().err
    assert at_start.endswith(f": if interrupted, {_ANEW}\n") if cost == _ANEW else at_start == ""
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        main.main([argv[0], "--help"])
    shown = capsys.readouterr().out
    assert "If interrupted, " in shown
    assert (_ANEW in shown) == (cost == _ANEW)
