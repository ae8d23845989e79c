"""Harm in numbers: what the demonstrator's own episodes, and those of a run, say of how often harm is done."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

from scipy import special

from consensus_imitation.core.betting import BettingSequence


@dataclass(frozen=True)
class HarmRecord:
    """How often the demonstrator's own episodes ended in harm: recorded ones, or those that it played.

    The episodes have to be like those to come, independent of one another, none may have been left out for how it
    ended, and how many there are has to have been fixed beforehand. Whoever goes on recording until the limit is low
    enough needs `BettingSequence` instead: its ``high`` may be looked at after every episode.

    Args:
        harmed: episodes with harm.
        episodes: all of them, at least 1.

    Raises:
        ValueError: for impossible counts.

    Example:
        >>> from consensus_imitation.core.harm import HarmRecord
        >>> round(HarmRecord(harmed=0, episodes=300).upper(delta=0.05), 4)
        0.0099
    """

    harmed: int
    episodes: int

    def __post_init__(self) -> None:
        if not (self.episodes >= 1 and 0 <= self.harmed <= self.episodes):
            raise ValueError(f"there is no such thing as {self.harmed} harmed episodes of {self.episodes}")

    @classmethod
    def of(cls, harmed: Iterable[bool]) -> Self:
        """Count episodes.

        Args:
            harmed: for each episode, whether harm was done.
        """
        seen = [bool(one) for one in harmed]
        return cls(sum(seen), len(seen))

    def upper(self, delta: float) -> float:
        """Return Clopper and Pearson's upper limit on the probability of harm in an episode.

        Args:
            delta: probability that the limit is too low, in (0, 1).

        Raises:
            ValueError: if delta is out of range.
        """
        if not 0 < delta < 1:
            raise ValueError(f"delta must lie in (0, 1), got {delta}")
        if self.harmed == self.episodes:
            return 1.0
        return float(special.betaincinv(self.harmed + 1, self.episodes - self.harmed, 1 - delta))


@dataclass(frozen=True, eq=False)
class HarmWatch:
    """Harm while a run goes on: a confidence sequence per episode and per asked step; never changed in place.

    Both may be looked at after every episode (not within one), and the run stopped because of them. They are about
    rates that do not change; of an imitator that still learns, read the upper ends as "not every episode so far was
    worse than this".

    Attributes:
        episodes: of harm in an episode.
        asked: of harm on a step that the demonstrator took.
        clean: episodes since the latest harm.

    Example:
        >>> from consensus_imitation.core.harm import HarmWatch
        >>> watch = HarmWatch.begin(delta=0.05)
        >>> for _ in range(200):
        ...     watch = watch.after(harmed=False, asked=10, harmed_when_asked=0)
        >>> watch.clean, watch.episodes.high < 0.04, watch.asked.high < 0.004
        (200, True, True)
    """

    episodes: BettingSequence
    asked: BettingSequence
    clean: int = 0

    @classmethod
    def begin(cls, delta: float = 0.05) -> Self:
        """Before the first episode; each sequence ever excludes its rate with probability at most delta."""
        return cls(BettingSequence.begin(delta), BettingSequence.begin(delta))

    def after(self, harmed: bool, asked: int = 0, harmed_when_asked: int = 0) -> Self:
        """Count an episode.

        Args:
            harmed: whether harm was done.
            asked: steps that the demonstrator took.
            harmed_when_asked: those of them that did harm.

        Raises:
            ValueError: for impossible counts.
        """
        if not 0 <= harmed_when_asked <= asked or (harmed_when_asked and not harmed):
            raise ValueError(
                f"{harmed_when_asked} harmful answers of {asked} in an episode with{'' if harmed else 'out'} harm "
                "cannot be"
            )
        # In which order they came is not known, so nobody may look between them: see `BettingSequence.after`.
        steps = [1.0] * harmed_when_asked + [0.0] * (asked - harmed_when_asked)
        return replace(
            self,
            episodes=self.episodes.after([float(harmed)]),
            asked=self.asked.after(steps, at_once=True),
            clean=0 if harmed else self.clean + 1,
        )

    def saved(self) -> dict[str, Any]:
        """The same as JSON can hold it."""
        return {"episodes": self.episodes.saved(), "asked": self.asked.saved(), "clean": self.clean}

    @classmethod
    def load(cls, saved: dict[str, Any]) -> Self:
        """What was `saved`."""
        episodes, asked = (BettingSequence.load(saved[name]) for name in ("episodes", "asked"))
        return cls(episodes, asked, int(saved["clean"]))
