"""Leduc hold'em against an opponent that plays at random: a small game in which not everything is legal everywhere.

Two suits of three ranks; each player antes 1 and holds one card. Two rounds of betting, with raises of 2 and then 4, at
most two in a round; before the second a public card is turned up. A pair wins, then the higher rank.
"""

from typing import Any

import gymnasium
import numpy as np

CALL, RAISE, FOLD, CHECK = range(4)
A = 4


class Leduc(gymnasium.Env[np.ndarray, int]):
    """The player that acts is number 0 in every game, whoever begins; an episode is a game.

    What is not legal raises: whoever does it fails. ``info["action_mask"]`` says what is, as Gymnasium's own
    environments do; ``action_masks()`` says it as sb3-contrib's do.
    """

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (12,), np.float32)
    action_space = gymnasium.spaces.Discrete(A)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._deck = self.np_random.permutation(np.repeat(np.arange(3), 2)).tolist()
        self._chips, self._round, self._folded = [1, 1], 0, None
        self._first = int(self.np_random.integers(2))
        self._begin_round()
        self._opponent()
        return self._seen(), self._info()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._play(int(action))
        self._opponent()
        over = self._turn is None
        return self._seen(), self._won() if over else 0.0, over, False, self._info()

    def action_masks(self) -> np.ndarray:
        behind = self._turn is not None and self._chips[self._turn] < max(self._chips)
        return np.array([behind, self._raises < 2, behind, not behind])

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self.action_masks().astype(np.int8)}

    def _begin_round(self) -> None:
        self._turn: int | None = self._first
        self._raises = self._moves = 0

    def _opponent(self) -> None:
        while self._turn == 1:
            self._play(int(self.np_random.choice(np.flatnonzero(self.action_masks()))))

    def _play(self, action: int) -> None:
        assert self._turn is not None, "the game is over"
        assert self.action_masks()[action], f"{action} is illegal"
        player, self._moves = self._turn, self._moves + 1
        if action == FOLD:
            self._folded, self._turn = player, None
            return
        if action in (CALL, RAISE):
            self._chips[player] = max(self._chips)
        if action == RAISE:
            self._chips[player] += 2 * (1 + self._round)
            self._raises += 1
        if self._moves < 2 or action == RAISE:
            self._turn = 1 - player
        elif self._round == 0:
            self._round = 1
            self._begin_round()
        else:
            self._turn = None

    def _won(self) -> float:
        if self._folded is not None:
            return float(self._chips[1]) if self._folded == 1 else -float(self._chips[0])
        mine, other = ((self._deck[p] == self._deck[2], self._deck[p]) for p in (0, 1))
        return 0.0 if mine == other else float(self._chips[1]) if mine > other else -float(self._chips[0])

    def _seen(self) -> np.ndarray:
        public = self._deck[2] if self._round else 3
        cards = np.concatenate([np.eye(3)[self._deck[0]], np.eye(4)[public]])
        more = [self._chips[0] / 13, self._chips[1] / 13, *np.eye(3)[self._raises]]
        return np.concatenate([cards, more]).astype(np.float32)


def expert(observation: np.ndarray, action_mask: np.ndarray) -> int:
    """Raise with a pair or a king, fold a jack, otherwise stay in; of what is legal."""
    rank, public = int(observation[:3].argmax()), int(observation[3:7].argmax())
    if rank in (public, 2) and action_mask[RAISE]:
        return RAISE
    if action_mask[CHECK]:
        return CHECK
    return FOLD if rank == 0 and public != rank else CALL


def dealt(games: int = 20, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """What is seen and what is legal, in games that the expert plays."""
    env, found = Leduc(), []
    observation, info = env.reset(seed=seed)
    for _ in range(games):
        over = False
        while not over:
            found.append((observation, info["action_mask"]))
            observation, _, over, _, info = env.step(expert(*found[-1]))
        observation, info = env.reset()
    return found
