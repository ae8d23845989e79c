"""Whatever draws on the screen makes way while somebody is asked."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

#: What hides a display, and what says that it may be drawn again.
Display = tuple[Callable[[bool], object], Callable[[], object]]

_DISPLAYS: list[Display] = []
_LOCK = threading.Lock()
_asked = 0


@contextmanager
def making_way(hide: Callable[[bool], object], show: Callable[[], object]) -> Generator[None, None, None]:
    """Have a display hidden whenever a demonstrator is asked, and shown again when nobody is asked any more.

    Args:
        hide: called in the thread that asks, before the demonstrator is, with whether it is known to be a person.
        show: called after it, whatever happened.
    """
    display = (hide, show)
    _DISPLAYS.append(display)
    try:
        yield
    finally:
        _DISPLAYS.remove(display)


@contextmanager
def attention(person: bool = False) -> Generator[None, None, None]:
    """Ask somebody within, who may be known to be a person."""
    _count(1, person)
    try:
        yield
    finally:
        _count(-1)


def _count(change: int, person: bool = False) -> None:
    global _asked
    if not _DISPLAYS and not _asked:
        # Nobody draws: nobody need count. (A display that begins while somebody is asked is not hidden.)
        return
    with _LOCK:
        before, _asked = _asked, max(0, _asked + change)
        if before == 0 and change > 0:
            for hide, _ in _DISPLAYS:
                hide(person)
        elif _asked == 0 and change < 0:
            for _, show in _DISPLAYS:
                show()
