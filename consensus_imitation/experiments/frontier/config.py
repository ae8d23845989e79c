"""The settings of the frontier of answers against unsafe episodes."""

from dataclasses import dataclass
from typing import NamedTuple

from consensus_imitation.experiments.compare.config import CompareConfig
from consensus_imitation.experiments.settings import Settings


class Contestant(NamedTuple):
    """A method with its members, as a `CompareConfig` names them."""

    method: str
    network: Settings
    training: Settings


#: What is compared, by name. Whether there is a temperature is said of all, so that no default can change a figure.
CONTESTANTS = {
    "plain": Contestant("minimum", {}, {"temperature": "repeats"}),
    "temperature": Contestant("minimum", {}, {"temperature": True}),
    "one-update": Contestant("minimum", {}, {"temperature": "repeats", "updates": 1}),
    "local-caution": Contestant("minimum", {}, {"temperature": "repeats", "local_caution": 0.05}),
    "wide-alike": Contestant(
        "minimum",
        {"hidden": [256, 256]},
        {"temperature": "repeats", "averaging": 100, "updates": 16, "bootstrap": "none"},
    ),
}


@dataclass(frozen=True)
class FrontierConfig:
    """What to compare, and for how long.

    Attributes:
        task: name of the task; the command tasks lists them.
        contestants: names: plain (the library's defaults), temperature (fitted to all answers), one-update (a round),
            local-caution (0.05), wide-alike (networks of 256,256, averaging=100, updates=16, bootstrap=none).
        queries: most answers in each run, in which it learns.
        num_seeds: runs of each contestant. Run s of each has the same environment and demonstrator.
        num_steps: T, steps of environment in each run.
        num_members: N.
        evaluations: how many times the learned policy is evaluated while it spends its answers, evenly.
        episodes: of each evaluation, the same for all.
        demonstrator_episodes: for the measurement of the demonstrator's own score.
        seed: of everything random.

    Raises:
        ValueError: for an unknown task or contestant, one named twice, or non-positive sizes.
    """

    task: str = "lunarlander"
    contestants: tuple[str, ...] = tuple(CONTESTANTS)
    queries: int = 1000
    num_seeds: int = 10
    num_steps: int = 7000
    num_members: int = 5
    evaluations: int = 20
    episodes: int = 20
    demonstrator_episodes: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.contestants if name not in CONTESTANTS]
        if unknown or not self.contestants:
            raise ValueError(f"contestants must be some of {', '.join(CONTESTANTS)}; got {self.contestants}")
        if len(set(self.contestants)) != len(self.contestants):
            raise ValueError(f"name each of the contestants once, got {', '.join(self.contestants)}")
        for name in self.contestants:
            self.comparison(name)

    def comparison(self, contestant: str) -> CompareConfig:
        """Return the comparison of which the runs of a contestant are a part.

        Raises:
            ValueError: for sizes that are not positive.
        """
        method, network, training = CONTESTANTS[contestant]
        return CompareConfig(
            task=self.task,
            methods=(method,),
            queries=self.queries,
            num_seeds=self.num_seeds,
            num_steps=self.num_steps,
            num_members=self.num_members,
            evaluations=self.evaluations,
            episodes=self.episodes,
            demonstrator_episodes=self.demonstrator_episodes,
            seed=self.seed,
            network=network,
            training=training,
        )
