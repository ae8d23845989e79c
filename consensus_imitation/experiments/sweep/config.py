"""The settings of a sweep."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consensus_imitation.experiments.setting import Setting


@dataclass(frozen=True)
class SweepConfig:
    """What a sweep runs.

    Attributes:
        env: name of the world; the command envs lists them.
        k: values for ``TopK(k)``, from 1 to N.
        alpha: values for ``AlphaThreshold(alpha)``, in (0, 1].
        num_members: N, size of the ensemble, the deceptive member included.
        num_seeds: independent runs per setting.
        num_steps: T, steps per run.
        deceptive: plant a member that copies the demonstrator for a quarter of the run and then seeks harm.
        seed: of everything random.

    Raises:
        ValueError: for k > N, alpha outside (0, 1], nothing to sweep, or non-positive sizes.
    """

    env: str = "cliff"
    k: tuple[int, ...] = (1, 2, 4, 8)
    alpha: tuple[float, ...] = ()
    num_members: int = 8
    num_seeds: int = 20
    num_steps: int = 2000
    deceptive: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.k and not self.alpha:
            raise ValueError("nothing to sweep: give at least one k or one alpha")
        for name in ("num_seeds", "num_steps", "num_members"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        # Imported when it is needed: the command's help starts at once.
        from consensus_imitation.core.selection import AlphaThreshold, TopK

        for k in self.k:
            TopK(k).check(self.num_members)
        for alpha in self.alpha:
            AlphaThreshold(alpha)

    @property
    def betray_at(self) -> int | None:
        """Step at which the deceptive member turns."""
        return self.num_steps // 4 if self.deceptive else None

    def setting(self) -> "Setting":
        """Return the problem."""
        from consensus_imitation.experiments.setting import make_setting

        return make_setting(self.env, self.num_members, self.seed, self.betray_at)
