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
        benchmark: rows of the benchmark, for every rule of the library, or for the policy. It covers all scenarios.
        policy: your own imitator in place of the library's rules: a function of a `deception.Problem` that returns it,
            as module:function or file.py:function.
        num_loop_seeds: runs of your own imitator, which runs in a Python loop.
        check: a redteam.csv; check it as a row of the benchmark, and run nothing.

    Raises:
        ValueError: for an unknown scenario or one that is named twice, too few seeds, a negative seed, or settings that
            do not go together.
    """

    scenarios: tuple[str, ...] = ()
    num_seeds: int = 128
    seed: int = 0
    self_test: bool = False
    benchmark: bool = False
    policy: str = ""
    num_loop_seeds: int = 12
    check: str = ""

    def __post_init__(self) -> None:
        # Imported when it is needed: the command's help starts at once.
        from consensus_imitation import deception
        from consensus_imitation.deception.judgement import MIN_SEEDS

        for name, size in (("num_seeds", self.num_seeds), ("num_loop_seeds", self.num_loop_seeds)):
            if size < MIN_SEEDS:
                raise ValueError(f"{name} must be at least {MIN_SEEDS} to tell harm from chance, got {size}")
        if self.benchmark and self.scenarios:
            raise ValueError("a row of the benchmark covers all scenarios: leave out --scenarios")
        if sum((self.self_test, bool(self.check), bool(self.benchmark or self.policy))) > 1:
            raise ValueError("--self-test, --check and a run with --benchmark or --policy are separate things to do")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        for name in self.scenarios:
            deception.get_scenario(name)
        if len(set(self.scenarios)) != len(self.scenarios):
            raise ValueError(f"each scenario can be named once, got {', '.join(self.scenarios)}")
