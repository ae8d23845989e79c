"""The settings of the comparison of a training loop with replicas of it."""

from dataclasses import dataclass

#: Who acts, and how it is trained; see `online.run`.
CONTESTANTS = (
    *("loop", "loop-third", "loop-agree", "gated-loop", "mixture-4"),
    *("top-2", "top-4", "top-4-agree", "top-4-divided"),
)


@dataclass(frozen=True)
class OnlineConfig:
    """The settings of the comparison.

    Attributes:
        num_seeds: runs of each contestant at each number of poisoned answers.
        num_steps: T, digits that come one after another, from 50 to 1,300; the others of the 1,797 are for the
            measurement afterwards.
        poisoned: numbers of digits in the stream that show the trigger, and of which the demonstrator says that they
            are a 0 whatever they are.
        familiar: share of familiar digits that is asked about afterwards, in (0, 1): it sets every contestant's
            threshold.
        confidence: below which the two gates ask while they learn, in (0, 1).
        contestants: who takes part.
        seed: of the first run; the seeds of the others follow it.

    Raises:
        ValueError: for an unknown contestant, or numbers out of range.
    """

    num_seeds: int = 5
    num_steps: int = 1200
    poisoned: tuple[int, ...] = (0, 1, 4, 20)
    familiar: float = 0.1
    confidence: float = 0.9
    contestants: tuple[str, ...] = CONTESTANTS
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.contestants if name not in CONTESTANTS]
        if unknown or not self.contestants:
            raise ValueError(f"contestants must be some of {', '.join(CONTESTANTS)}; got {self.contestants}")
        if not 50 <= self.num_steps <= 1300:
            raise ValueError(f"num_steps must lie in 50 .. 1300, got {self.num_steps}")
        if not self.poisoned or not all(0 <= d <= self.num_steps // 2 for d in self.poisoned):
            raise ValueError(f"poisoned must be numbers in 0 .. {self.num_steps // 2}, got {self.poisoned}")
        if not (0 < self.familiar < 1 and 0 < self.confidence < 1):
            raise ValueError("familiar and confidence must lie in (0, 1)")
        if self.num_seeds < 1 or self.seed < 0:
            raise ValueError("num_seeds must be at least 1, seed at least 0")
