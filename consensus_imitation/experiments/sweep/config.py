"""The settings of a sweep."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consensus_imitation.experiments.settings import Settings, normalised

if TYPE_CHECKING:
    from consensus_imitation.core.selection import SelectionRule
    from consensus_imitation.experiments.places import Place
    from consensus_imitation.experiments.setting import Setting

#: The settings that mean nothing in one of the library's worlds.
ANYWHERE = ("demonstrator", "harm", "success", "network", "training")


@dataclass(frozen=True)
class SweepConfig:
    """What a sweep runs.

    Attributes:
        env: where: a world (the command envs lists them); a task, such as cartpole (the command tasks lists them); a
            Gymnasium id, such as CartPole-v1; or module:function (or file.py:function), your own function that takes a
            seed and returns (env, demonstrator), (env, demonstrator, ensemble) or a Task.
        k: values for ``TopK(k)``, from 1 to N.
        alpha: values for ``AlphaThreshold(alpha)``, in (0, 1].
        num_members: N, size of the ensemble, the deceptive member included; networks that learn, outside of worlds.
        num_seeds: independent runs per setting.
        num_steps: T, steps per run.
        deceptive: plant a member that copies the demonstrator for a quarter of the run and then seeks harm; in worlds
            only.
        seed: of everything random.
        demonstrator: module:function, observation -> action: who answers in an environment of Gymnasium's.
        harm: module:function, (reward, terminated, info) -> bool: whether a step did harm; not for worlds and tasks,
            which know it.
        success: module:function, (episode, info) -> bool: whether an episode succeeded; likewise.
        network: for a task, differences from the default networks, as for the command compare.
        training: likewise, such as caution=0.

    Raises:
        ValueError: for k > N, alpha outside (0, 1], nothing to sweep, non-positive sizes, or a setting that means
            nothing in a world.
    """

    env: str = "cliff"
    k: tuple[int, ...] = (1, 2, 4, 8)
    alpha: tuple[float, ...] = ()
    num_members: int = 8
    num_seeds: int = 20
    num_steps: int = 2000
    deceptive: bool = True
    seed: int = 0
    demonstrator: str = ""
    harm: str = ""
    success: str = ""
    network: Settings = field(default_factory=dict)
    training: Settings = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("network", "training"):
            object.__setattr__(self, name, normalised(name, getattr(self, name)))
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
        given = [name for name in ANYWHERE if getattr(self, name)]
        if given and self.in_world:
            raise ValueError(f"{given[0]} means nothing in the world {self.env!r}, which has its own: leave it out")

    @property
    def in_world(self) -> bool:
        """Whether it runs in one of the library's worlds."""
        from consensus_imitation import envs

        return self.env in envs.names()

    @property
    def betray_at(self) -> int | None:
        """Step at which the deceptive member turns; None if there is none."""
        return self.num_steps // 4 if self.deceptive and self.in_world else None

    def rules(self) -> "list[SelectionRule]":
        """Return the selection rules, k before alpha."""
        from consensus_imitation.core.selection import AlphaThreshold, TopK

        return [*(TopK(k) for k in self.k), *(AlphaThreshold(alpha) for alpha in self.alpha)]

    def place(self) -> "Place":
        """Return where it runs, outside of the library's worlds.

        Raises:
            ValueError: if there is nothing of that name, or something is missing.
        """
        from consensus_imitation.experiments import places

        more = {name: getattr(self, name) for name in ANYWHERE}
        return places.find(self.env, self.num_members, **more)

    def setting(self) -> "Setting":
        """Return the problem."""
        from consensus_imitation.experiments.setting import make_setting

        return make_setting(self.env, self.num_members, self.seed, self.betray_at)
