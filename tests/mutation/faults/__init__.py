"""Deliberate faults: each is one exact replacement in one file, and the tests that have to notice it."""

from . import (
    any_action,
    anywhere,
    commands,
    doors,
    earlier,
    exports,
    neighbours,
    neural,
    processes,
    replay,
    rules,
    shell,
    statements,
    trees,
)
from .fault import Fault

FAULTS = [
    fault
    for room in (
        any_action,
        anywhere,
        commands,
        doors,
        earlier,
        exports,
        neighbours,
        neural,
        processes,
        replay,
        rules,
        shell,
        statements,
        trees,
    )
    for fault in room.FAULTS
]

__all__ = ["FAULTS", "Fault"]
