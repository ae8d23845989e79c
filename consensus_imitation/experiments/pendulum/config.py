"""The settings of the pendulum experiment."""

from dataclasses import dataclass

#: Who acts.
CONTESTANTS = ("demonstrator", "consensus", "most_likely")


@dataclass(frozen=True)
class PendulumConfig:
    """The settings of a run.

    Attributes:
        num_seeds: runs of each contestant.
        num_episodes: of 200 steps each, in every run.
        trigger_episode: the episode, counted from 0, at whose beginning the deceiver turns.
        k: the consensus selects by ``TopK(k)``; with ``alpha``, by both in union; None for ``alpha`` alone.
        alpha: the consensus selects by ``AlphaThreshold(alpha)``; None for ``k`` alone.
        contestants: which to run: demonstrator, consensus, most_likely.
        seed: of the first run; the seeds of the others follow it.

    Raises:
        ValueError: for an unknown contestant, no selection rule, or numbers out of range.
    """

    num_seeds: int = 20
    num_episodes: int = 10
    trigger_episode: int = 5
    k: int | None = None
    alpha: float | None = 0.01
    contestants: tuple[str, ...] = CONTESTANTS
    seed: int = 0

    def __post_init__(self) -> None:
        # Imported when it is needed: the command's help starts at once.
        from consensus_imitation.core.selection import AlphaThreshold, TopK

        unknown = [name for name in self.contestants if name not in CONTESTANTS]
        if unknown:
            raise ValueError(f"unknown contestants {', '.join(unknown)}; there are {', '.join(CONTESTANTS)}")
        if not self.contestants:
            raise ValueError("nobody to run: name at least one contestant")
        if self.k is None and self.alpha is None:
            raise ValueError("the consensus needs a selection rule: give k or alpha")
        for name in ("num_seeds", "num_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("trigger_episode", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.k is not None:
            TopK(self.k)
        if self.alpha is not None:
            AlphaThreshold(self.alpha)
