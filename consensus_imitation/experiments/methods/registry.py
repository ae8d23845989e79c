"""The compared methods by name."""

import difflib
from collections.abc import Callable
from typing import Any, NamedTuple

from consensus_imitation.core.aggregation import (
    MAP,
    Aggregation,
    EntropyGate,
    MajorityVote,
    MaxProbGate,
    Minimum,
    MinimumGate,
    PosteriorMixture,
    RandomQueries,
    VarianceGate,
)
from consensus_imitation.core.selection import TopK
from consensus_imitation.experiments.methods.base import Apprentice, Setup
from consensus_imitation.experiments.methods.dagger import Dagger
from consensus_imitation.experiments.methods.nearest import NearestNeighbours, check_limit
from consensus_imitation.experiments.methods.safedagger import SafeDagger
from consensus_imitation.experiments.methods.variance import EnsembleDagger, ThriftyDagger


class _Entry(NamedTuple):
    make: Callable[..., Apprentice]
    text: str
    number: str | None = None
    #: Raises ValueError for a number out of range, before anything runs.
    check: Callable[[float], Any] = lambda _: None


def _ruled(rule: Callable[[], Aggregation]) -> Callable[[Setup], Apprentice]:
    return lambda setup: Apprentice(setup, rule())


def _minimum(setup: Setup, number: float | None = None) -> Apprentice:
    if number is None:
        return Apprentice(setup, Minimum())
    return Apprentice(setup, Minimum(), _top(number))


def _top(number: float) -> TopK:
    if number % 1 != 0:
        raise ValueError(f"k must be an integer, got {number:g}")
    return TopK(int(number))


def _share(what: str) -> Callable[[float], None]:
    def check(number: float) -> None:
        if not 0 <= number <= 1:
            raise ValueError(f"{what} must lie in [0, 1], got {number:g}")

    return check


def _rate(number: float) -> None:
    if not 0 < number < 1:
        raise ValueError(f"rate must lie in (0, 1), got {number:g}")


def _random(setup: Setup, number: float | None = None) -> Apprentice:
    matched = min(1.0, setup.demonstrator.budget / setup.horizon)
    return Apprentice(setup, RandomQueries(matched if number is None else number))


_METHODS = {
    "minimum": _Entry(_minimum, "the library's own, with its defaults; minimum-4 for TopK(4)", "k", _top),
    "bc": _Entry(_ruled(lambda: RandomQueries(1.0)), "behavioural cloning: the demonstrator acts for the whole budget"),
    "dagger": _Entry(
        Dagger, "labels every state visited; the demonstrator acts ever less", "decay of beta", _share("decay"),
    ),
    "safedagger": _Entry(
        SafeDagger, "a classifier foresees the novice's mistakes", "share of unconditional answers", _share("initial"),
    ),
    "ensembledagger": _Entry(
        EnsembleDagger, "a limit on the members' variance and discrepancy", "largest variance", VarianceGate,
    ),
    "thriftydagger": _Entry(
        ThriftyDagger, "the members' variance at a wanted rate, without the risk critic", "rate", _rate,
    ),
    "maxprob": _Entry(
        lambda setup, number=0.9: Apprentice(setup, MaxProbGate(number)), "asks where the likeliest action is unlikely",
        "least probability", MaxProbGate,
    ),
    "entropy": _Entry(
        lambda setup, number=0.3: Apprentice(setup, EntropyGate(number)), "asks where the mixture's entropy is high",
        "nats", EntropyGate,
    ),
    "nearest": _Entry(
        NearestNeighbours, "asks where the 5th nearest answered observation is far, acts as the mixture",
        "largest distance in deviations", check_limit,
    ),
    "random": _Entry(
        _random, "asks at random, at the rate that the budget allows over the horizon", "rate", RandomQueries,
    ),
    "mixture": _Entry(_ruled(lambda: MinimumGate(PosteriorMixture())), "asks as the minimum, acts as the mixture"),
    "map": _Entry(_ruled(lambda: MinimumGate(MAP())), "asks as the minimum, acts as the heaviest member"),
    "vote": _Entry(_ruled(lambda: MinimumGate(MajorityVote())), "asks as the minimum, acts by majority vote"),
}  # fmt: skip


def names() -> tuple[str, ...]:
    """Return the names that `make_method` knows, without parameters.

    Example:
        >>> from consensus_imitation.experiments import methods
        >>> methods.names()[:3]
        ('minimum', 'bc', 'dagger')
    """
    return tuple(_METHODS)


def describe(name: str) -> str:
    """Return what a method does, in one line, with its parameter.

    Raises:
        ValueError: for an unknown name.
    """
    entry, _ = _find(name)
    return entry.text if entry.number is None else f"{entry.text} [-NUMBER: {entry.number}]"


def check_method(name: str) -> None:
    """Raise ValueError if there is no such method, or its parameter is out of range or one that it does not take.

    Example:
        >>> from consensus_imitation.experiments import methods
        >>> methods.check_method("maxprob-0.8")
    """
    _find(name)


def make_method(name: str, setup: Setup) -> Apprentice:
    """Return the method of that name.

    Args:
        name: one of `names`, for some followed by a dash and a number: ``"minimum-4"`` for TopK(4), ``"maxprob-0.8"``.
        setup: the input of all methods.

    Raises:
        ValueError: for an unknown name, or a number out of range.
    """
    entry, number = _find(name)
    return entry.make(setup) if number is None else entry.make(setup, number)


def _find(name: str) -> tuple[_Entry, float | None]:
    stem, dash, text = name.partition("-")
    entry: Any = _METHODS.get(stem)
    if entry is None:
        close = difflib.get_close_matches(stem, _METHODS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(_METHODS)}"
        raise ValueError(f"there is no method {name!r}: {hint}")
    if not dash:
        return entry, None
    if entry.number is None:
        raise ValueError(f"the method {stem!r} takes no number, got {name!r}")
    try:
        number = float(text.removeprefix("k"))
    except ValueError:
        raise ValueError(f"after {stem!r} and a dash comes a number ({entry.number}), got {name!r}") from None
    try:
        entry.check(number)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name!r}: {error}") from None
    return entry, number
