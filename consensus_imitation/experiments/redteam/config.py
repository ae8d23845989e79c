"""The settings of a run of the suite."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RedteamConfig:
    """What a run of the suite covers.

    Attributes:
        scenarios: names, see `deception.scenario_names`, each once; none for all of them.
        num_seeds: independent runs per scenario, contestant and side (honest or attack).
        seed: of everything random.
        self_test: test the suite itself: imitators that are broken on purpose run through all scenarios, and each has
            to be caught by one at least. Nothing is written.

    Raises:
        ValueError: for an unknown scenario or one that is named twice, too few seeds, or a negative seed.
    """

    scenarios: tuple[str, ...] = ()
    num_seeds: int = 128
    seed: int = 0
    self_test: bool = False

    def __post_init__(self) -> None:
        # Imported when it is needed: the command's help starts at once.
        from consensus_imitation import deception
        from consensus_imitation.deception.judgement import MIN_SEEDS

        if self.num_seeds < MIN_SEEDS:
            raise ValueError(f"num_seeds must be at least {MIN_SEEDS} to tell harm from chance, got {self.num_seeds}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        for name in self.scenarios:
            deception.get_scenario(name)
        if len(set(self.scenarios)) != len(self.scenarios):
            raise ValueError(f"each scenario can be named once, got {', '.join(self.scenarios)}")
