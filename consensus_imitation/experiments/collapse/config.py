"""The settings of a study of collapse."""

from dataclasses import dataclass

#: The variants to run by default.
VARIANTS = (
    *("default", "top2/bayes", "top3/bayes", "alpha0.01/bayes", "alpha0.01/bayes/caution0", "top2+alpha0.01/bayes"),
    *("top2+alpha0.01/share0.1", "top2+alpha0.01/temper0.1", "top2+alpha0.01/forget0.99"),
)


@dataclass(frozen=True)
class CollapseConfig:
    """What to run.

    Attributes:
        task: name of the task, such as lunarlander, cartpole or frozenlake; the command tasks lists them.
        variants: names for `variant.Variant.parse`, such as ``top2+alpha0.01/share0.1/caution20``.
        num_seeds: runs of each variant. Run s of each variant has the same environment and demonstrator.
        num_steps: T, steps of environment in each run.
        num_members: N, size of the ensemble.
        episodes: of the evaluation at the end, the same for all.
        seed: of everything random.

    Raises:
        ValueError: for an unknown task, an invalid variant or one that is named twice, or non-positive sizes.
    """

    task: str
    variants: tuple[str, ...] = VARIANTS
    num_seeds: int = 5
    num_steps: int = 10_000
    num_members: int = 5
    episodes: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        # Imported when it is needed: the command's help starts at once.
        from consensus_imitation.experiments.collapse.variant import Variant

        if not self.variants:
            raise ValueError("nothing to run: name at least one variant")
        for name in self.variants:
            selection = Variant.parse(name).selection
            if selection is not None:
                selection.check(self.num_members)
        if len(set(self.variants)) != len(self.variants):
            raise ValueError(f"each variant can be named once, got {', '.join(self.variants)}")
        for name in ("num_seeds", "num_steps", "num_members", "episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
