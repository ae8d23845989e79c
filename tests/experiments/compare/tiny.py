"""A task that is learned in a moment: eight rooms, and in each one right way out. In half of them the other harms."""

from typing import Any

import gymnasium
from gymnasium import spaces

from consensus_imitation.experiments.tasks import Rules, Task

ROOMS, LENGTH = 8, 6


class Rooms(gymnasium.Env[int, int]):
    """Rooms in random order; the right way out is the parity of the room."""

    observation_space = spaces.Discrete(ROOMS)
    action_space = spaces.Discrete(2)

    def __init__(self) -> None:
        self.room = self.time = 0
        self.seeds: list[int | None] = []
        self.starts = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.starts += 1
        self.time = 0
        self.room = int(self.np_random.integers(ROOMS))
        return self.room, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        right = int(action) == self.room % 2
        fallen = not right and self.room >= ROOMS // 2
        self.time += 1
        self.room = int(self.np_random.integers(ROOMS))
        return self.room, float(right), fallen, self.time == LENGTH and not fallen, {}


def expert(observation: Any) -> int:
    return int(observation) % 2


class Watching:
    """An expert that writes down what it is told."""

    def __init__(self) -> None:
        self.resets = 0
        self.asked: list[int] = []
        self.told: list[tuple[int, str]] = []

    def __call__(self, observation: Any) -> int:
        self.asked.append(int(observation))
        return expert(observation)

    def reset(self) -> None:
        self.resets += 1

    def observe(self, action: int, who: str) -> None:
        self.told.append((int(action), who))


def rooms(**changes: Any) -> Task:
    settings: dict[str, Any] = {
        "name": "rooms",
        "env_id": "Rooms-v0",
        "success_means": "going right six times",
        "harm_means": "falling",
        "threshold": "success",
        "max_episode_steps": LENGTH,
        "members": "one-hot",
        "rules": Rules(
            solved=lambda episode: episode.total >= LENGTH,
            unsafe_step=lambda reward, terminated: terminated,
        ),
        "build_env": lambda render_mode: Rooms(),
        "build_demonstrator": lambda env, seed, epsilon: expert,
    }
    return Task(**{**settings, **changes})
