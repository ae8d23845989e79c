"""Deliberate faults: each is one exact replacement in one file, and the tests that have to notice it.

Every module of this folder that has ``FAULTS`` is a room of them.
"""

from importlib import import_module
from pkgutil import iter_modules

from .fault import Fault

_ROOMS = [import_module(f"{__name__}.{room.name}") for room in iter_modules(__path__) if room.name != "fault"]

FAULTS: list[Fault] = [fault for room in _ROOMS for fault in room.FAULTS]

__all__ = ["FAULTS", "Fault"]
