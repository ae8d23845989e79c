"""Timing by turns, and what a comparison says."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax


@dataclass(frozen=True)
class Measurement:
    """One figure beside the one it is compared with.

    Attributes:
        case: Name of the case.
        quantity: What was measured.
        ours: The library's figure, in ``unit``.
        unit: ``s`` for seconds (shown in a handier unit), or what was counted.
        reference: What it is compared with; empty if the figure stands alone.
        reference_value: The same quantity of the reference, in ``unit``; None if the figure stands alone.
        ratio: ``ours / reference_value`` where less is better, the inverse where ``at_least``; None likewise.
        target: Bound on the ratio, or on ``ours`` where there is no reference; None if there is no target.
        at_least: Whether the target is a lower bound (a speed-up) instead of an upper one (a cost).
    """

    case: str
    quantity: str
    ours: float
    unit: str = "s"
    reference: str = ""
    reference_value: float | None = None
    target: float | None = None
    at_least: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times as long as the reference; how many times as fast where ``at_least``."""
        if self.reference_value is None:
            return None
        return self.reference_value / self.ours if self.at_least else self.ours / self.reference_value

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if there is none."""
        if self.target is None:
            return None
        value = self.ours if self.ratio is None else self.ratio
        return value >= self.target if self.at_least else value <= self.target

    def as_record(self) -> dict[str, Any]:
        """For a file: numbers as they were measured."""
        return {
            "case": self.case,
            "quantity": self.quantity,
            "ours": self.ours,
            "unit": self.unit,
            "reference": self.reference,
            "reference_value": self.reference_value,
            "ratio": self.ratio,
            "target": self.target,
            "at_least": self.at_least,
            "met": self.met,
        }

    def as_row(self) -> dict[str, Any]:
        """For a table, with rounded numbers."""
        return {
            "case": self.case,
            "quantity": self.quantity,
            "ours": show(self.ours, self.unit),
            "reference": self.reference,
            "its value": "" if self.reference_value is None else show(self.reference_value, self.unit),
            "ratio": "" if self.ratio is None else f"{self.ratio:.3g}",
            "target": "" if self.target is None else f"{'>=' if self.at_least else '<='} {self.target:g}",
            "met": self.met if self.met is not None else "",
        }


def time_by_turns(
    functions: Mapping[str, Callable[[], Any]], repeats: int, calls: Mapping[str, int] | int = 1
) -> dict[str, float]:
    """Median seconds of one call of each function.

    The functions take turns, so that whatever else the machine does hits all of them alike. Each turn begins with a
    call that is not timed, so that nobody pays for what the one before left in the caches, or for compilation.

    Args:
        functions: By name; a JAX result is waited for.
        repeats: Turns of each.
        calls: Calls per turn, one number for all or one for each: many for a function of microseconds.
    """
    per_turn = {name: calls if isinstance(calls, int) else calls[name] for name in functions}
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            jax.block_until_ready(function())
            start = time.perf_counter()
            for _ in range(per_turn[name]):
                jax.block_until_ready(function())
            seconds[name].append((time.perf_counter() - start) / per_turn[name])
    return {name: statistics.median(values) for name, values in seconds.items()}


_Scale = tuple[float, Literal["s", "ms", "us", "ns"]]
_SCALES: tuple[_Scale, ...] = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))


def show(value: float, unit: str) -> str:
    """A figure with three digits, seconds in a handy unit."""
    if unit != "s":
        return f"{value:.3g} {unit}"
    scale, name = next((pair for pair in _SCALES if abs(value) >= pair[0]), _SCALES[-1])
    return f"{value / scale:.3g} {name}"
