"""What a deliberate fault is."""

from typing import NamedTuple


class Fault(NamedTuple):
    """A mistake somebody could make.

    Attributes:
        name: unique.
        file: below `consensus_imitation`, without the ending.
        old: text that occurs exactly once in the file.
        new: what takes its place.
        tests: files or tests, of which at least one has to fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
