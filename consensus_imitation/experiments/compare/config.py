"""What a comparison runs."""

from dataclasses import dataclass, field

from consensus_imitation.experiments.settings import Settings, normalised

#: What is compared if nothing else is named: every method.
METHODS = (
    *("minimum", "bc", "dagger", "safedagger", "ensembledagger", "thriftydagger"),
    *("maxprob", "entropy", "nearest", "random", "mixture", "map", "vote"),
)


@dataclass(frozen=True)
class CompareConfig:
    """What a comparison runs.

    Attributes:
        task: name of the task, such as lunarlander, cartpole or frozenlake; the command tasks lists them.
        methods: names, see `methods.names`; some take a number: minimum-4 is ``TopK(4)``, maxprob-0.8 a threshold.
        queries: most answers of the demonstrator in each run.
        num_seeds: runs of each method. Run s of each method has the same environment and demonstrator.
        num_steps: T, steps of environment in each run. When the answers are spent, a method continues with its own
            policy.
        num_members: N, size of the ensemble.
        evaluations: how many times a method is evaluated while it spends its answers, evenly.
        episodes: of each evaluation, the same for all.
        demonstrator_episodes: for the measurement of the demonstrator's own score.
        seed: of everything random.
        network: differences from the library's defaults: arguments of `ensembles.cnn` where the task's observations are
            views, of `ensembles.mlp` otherwise, such as hidden=128,128 (in Python ``{"hidden": [128, 128]}``).
        training: likewise, of `ensembles.Training`, such as averaging=40.

    Raises:
        ValueError: for an unknown task or method, a method named twice, non-positive sizes, or a setting that is not a
            number, word, true, false or list of numbers.
    """

    task: str
    methods: tuple[str, ...] = METHODS
    queries: int = 1000
    num_seeds: int = 5
    num_steps: int = 10_000
    num_members: int = 5
    evaluations: int = 20
    episodes: int = 20
    demonstrator_episodes: int = 100
    seed: int = 0
    network: Settings = field(default_factory=dict)
    training: Settings = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("network", "training"):
            object.__setattr__(self, name, normalised(name, getattr(self, name)))
        # Imported when it is needed: the command's help starts at once.
        from consensus_imitation.experiments.methods import check_method

        if not self.methods:
            raise ValueError("nothing to compare: name at least one method")
        for name in self.methods:
            check_method(name)
        if len(set(self.methods)) != len(self.methods):
            raise ValueError(f"each method can be named once, got {', '.join(self.methods)}")
        sizes = ("queries", "num_seeds", "num_steps", "num_members", "evaluations", "episodes", "demonstrator_episodes")
        for name in sizes:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
