"""A game in which not everything is legal: members are asked for a legal action, and no other is ever taken."""

from typing import Any

import gymnasium
import numpy as np

from consensus_imitation import ConsensusImitator, ensembles
from consensus_imitation.experiments import run_gymnasium


class Nim(gymnasium.Env[np.ndarray, np.int64]):
    """Take 1, 2 or 3 stones of one of three heaps; who takes the last one wins. The opponent moves at random."""

    observation_space = gymnasium.spaces.Box(0.0, 5.0, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(9)  # 3 * heap + stones - 1

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin with up to five stones in each heap."""
        super().reset(seed=seed)
        self.heaps = self.np_random.integers(1, 6, 3)
        return self.heaps.astype(np.float32), {"action_mask": self.legal()}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move, and let the opponent move."""
        reward = self._take(int(action), 1.0)
        if not reward:
            reward = self._take(int(self.np_random.choice(np.flatnonzero(self.legal()))), -1.0)
        return self.heaps.astype(np.float32), reward, bool(reward), False, {"action_mask": self.legal()}

    def legal(self) -> np.ndarray:
        """Whether a heap has so many stones."""
        return (self.heaps[:, None] > np.arange(3)).ravel()

    def _take(self, action: int, prize: float) -> float:
        if not self.legal()[action]:
            raise RuntimeError("an illegal move")
        self.heaps[action // 3] -= 1 + action % 3
        return 0.0 if self.heaps.any() else prize


def expert(observation: np.ndarray, action_mask: np.ndarray) -> int:
    """Take as much as there is of the largest heap; a demonstrator that names the mask is shown it."""
    return int(max(np.flatnonzero(action_mask), key=lambda action: (observation[action // 3], action % 3)))


def main() -> None:
    """Play 600 moves."""
    members = ensembles.mlp(Nim.observation_space, 9, num_members=3, training=ensembles.Training(masked=True))
    imitator = ConsensusImitator(members, demonstrator=expert, seed=0)
    for moves in (200, 400):
        before = imitator.num_queries
        run = run_gymnasium(Nim(), imitator, num_steps=moves, seed=imitator.num_steps, progress=False)
        won = np.mean([episode["return"] > 0 for episode in run.episodes])
        print(f"{moves} moves, none illegal: asked on {(imitator.num_queries - before) / moves:.0%}, won {won:.0%}")


if __name__ == "__main__":
    main()
