"""The settings of the experiment with a planted network."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PlantedConfig:
    """The settings of a run.

    Attributes:
        task: one of `plantings.PLANTINGS`.
        num_seeds: independent runs of each contestant.
        num_steps: T, steps of phase 2.
        demonstrations: steps studied in phase 1.
        training: steps that the planted network is trained on.
        updates: gradient steps of its training.
        num_honest: members that learn, beside the planted one.
        contestants: of `contestants.CONTESTANTS`, such as minimum or "random queries"; empty for all.
        seed: of everything random.

    Raises:
        ValueError: for an unknown task or contestant, sizes below 1, or random queries without the minimum.
    """

    task: str = "lunarlander"
    num_seeds: int = 10
    num_steps: int = 5000
    demonstrations: int = 2000
    training: int = 20_000
    updates: int = 4000
    num_honest: int = 4
    contestants: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        # Imported when it is needed: the command's help starts at once.
        from consensus_imitation.experiments.planted.contestants import CONTESTANTS
        from consensus_imitation.experiments.planted.plantings import PLANTINGS

        if self.task not in PLANTINGS:
            raise ValueError(f"no trigger is known for the task {self.task!r}; there are {', '.join(PLANTINGS)}")
        for name in self.contestants:
            if name not in CONTESTANTS:
                raise ValueError(f"there is no contestant {name!r}; there are {', '.join(map(repr, CONTESTANTS))}")
        if "random queries" in self.contestants and "minimum" not in self.contestants:
            raise ValueError("random queries come at the minimum's rate: name the contestant 'minimum', too")
        for name in ("num_seeds", "num_steps", "demonstrations", "training", "updates", "num_honest"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
