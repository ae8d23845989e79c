"""Deliberate faults: each is one exact replacement in one file, and the tests that have to notice it."""

from . import any_action, commands, doors, earlier, exports, neural, processes, replay, rules, shell, statements, trees
from .fault import Fault

_ROOMS = (any_action, commands, doors, earlier, exports, neural, processes, replay, rules, shell, statements, trees)

FAULTS = [fault for room in _ROOMS for fault in room.FAULTS]

__all__ = ["FAULTS", "Fault"]
