"""The settings of the experiment with a world that changes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ShiftConfig:
    """The settings of a run.

    Attributes:
        task: one of `worlds.SHIFTS`.
        num_seeds: independent runs.
        num_steps: that members learn for, asking, in the standard world.
        episodes: of each contestant in each world, per seed, with members that learn no more.
        more_episodes: of each imitator in each changed world, per seed, that goes on learning; 0 for none.
        calibration: familiar episodes from which thresholds come, per seed.
        familiar: share of familiar steps on which contestants with a threshold ask, in (0, 1).
        num_members: N.
        k: of the minimum, in 1 .. N.
        contestants: of `contestants.contestants_of` the task; empty for all.
        worlds: of those of the task; empty for all.
        seed: of everything random.

    Raises:
        ValueError: for an unknown task, contestant or world, or a number out of range.
    """

    task: str = "lunarlander"
    num_seeds: int = 3
    num_steps: int = 6000
    episodes: int = 16
    more_episodes: int = 8
    calibration: int = 16
    familiar: float = 0.1
    num_members: int = 5
    k: int = 3
    contestants: tuple[str, ...] = ()
    worlds: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        # Imported when it is needed: the command's help starts at once.
        from consensus_imitation.experiments.shift.contestants import contestants_of
        from consensus_imitation.experiments.shift.worlds import SHIFTS

        if self.task not in SHIFTS:
            raise ValueError(f"no changes are known for the task {self.task!r}; there are {', '.join(SHIFTS)}")
        for what, given, known in (
            ("contestant", self.contestants, contestants_of(self.task)),
            ("world", self.worlds, SHIFTS[self.task]),
        ):
            for name in given:
                if name not in known:
                    raise ValueError(f"there is no {what} {name!r}; there are {', '.join(map(repr, known))}")
        for name in ("num_seeds", "num_steps", "episodes", "num_members"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.calibration < 2:
            raise ValueError(f"calibration must be at least 2 episodes, got {self.calibration}")
        if self.more_episodes < 0 or self.seed < 0:
            raise ValueError("more_episodes and seed must be at least 0")
        if not 1 <= self.k <= self.num_members:
            raise ValueError(f"k must be in 1 .. {self.num_members}, got {self.k}")
        if not 0 < self.familiar < 1:
            raise ValueError(f"familiar must lie in (0, 1), got {self.familiar}")
