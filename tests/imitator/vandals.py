"""A world whose arrays are used again and again, and those who write into whatever they are shown."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import ConsensusImitator, ensembles
from consensus_imitation.core.members import FixedMembers

A, B, STEPS = 3, 2, 8
GARBAGE = -77.0


def bits(one: ConsensusImitator) -> list[bytes]:
    """All that members have learned."""
    leaves = jax.tree.leaves(one.state.learned)
    is_key = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
    return [np.asarray(leaf).tobytes() for leaf, key in zip(leaves, is_key, strict=True) if not key]


def spoil(seen: Any) -> None:
    """Write into it wherever that is possible."""
    if isinstance(seen, np.ndarray) and seen.flags.writeable:
        seen[...] = GARBAGE
    if isinstance(seen, dict):
        for part in seen.values():
            spoil(part)
        seen.clear()
    if isinstance(seen, list):
        for part in seen:
            spoil(part)
        seen.clear()


def law(seen: Any) -> np.ndarray:
    """Mostly 1 on the right and 0 on the left; nothing is impossible."""
    return 0.02 / A + 0.98 * np.eye(A)[int(seen["place"][0] > 0)]


def noted(seen: Any) -> Any:
    """What was seen, so that it can be compared."""
    return jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), seen)


class World:
    """Observations in arrays that are used again for each of them; with ``spoils`` everybody writes into everything.

    Attributes:
        seen: by the honest members, and by the demonstrator.
    """

    def __init__(self, spoils: bool, batch: bool) -> None:
        self.spoils, self.batch, self.rng = spoils, batch, np.random.default_rng(0)
        self.place = np.zeros((B, 2) if batch else 2, np.float32)
        self.seen: list[Any] = []

    def observation(self) -> Any:
        if not self.spoils:
            self.place = np.zeros_like(self.place)
        self.place[...] = self.rng.integers(-4, 5, self.place.shape)
        return {"place": self.place} if self.batch else {"place": self.place, "marks": [1, 2], "pair": ([3], 4)}

    def overwrite(self) -> None:
        if self.spoils:
            self.place[...] = GARBAGE

    def answer(self, seen: Any) -> int:
        self.overwrite()
        self.seen.append(("demonstrator", noted(seen)))
        action = int(seen["place"][0] > 0)
        if self.spoils:
            spoil(seen)
        return action

    def honest(self, seen: Any) -> np.ndarray:
        self.seen.append(("member", noted(seen)))
        # What is withheld is asked about.
        return 0.4 * law(seen)

    def vandal(self, seen: Any) -> np.ndarray:
        probs = np.full(A, 1 / A) if seen["place"][1] > 0 else law(seen)
        if self.spoils:
            spoil(seen)
        return probs


class Remembering(FixedMembers):
    """One member on the host that sees, remembers and learns, and spoils what it is shown each time."""

    pure, learns, num_members, num_actions, prior = False, True, 1, A, jnp.ones(1)

    def __init__(self, world: World) -> None:
        self.world = world
        self.buffer = np.zeros(64, np.float32)

    def _told(self, what: str, observation: Any) -> None:
        self.world.seen.append((what, noted(observation)))
        if self.world.spoils:
            spoil(observation)

    def _again(self, before: Any, by: float) -> np.ndarray:
        """A result in an array that is used again, if anything is."""
        if not self.world.spoils:
            self.buffer = np.zeros(64, np.float32)
        self.buffer[...] = np.asarray(before) + by
        return self.buffer

    def init_carry(self) -> Any:
        return np.zeros(64, np.float32)

    def init_learned(self, key: Any) -> Any:
        return np.zeros(64, np.float32)

    def log_probs(self, carry: Any, observation: Any, context: Any) -> Any:
        place = np.asarray(observation["place"]).copy()
        self._told("log_probs", observation)
        right = 0.5 + 0.3 * np.tanh(0.1 * float(carry[0]) + 0.1 * float(context.learned[0])) * np.sign(place[0])
        return np.log(np.array([[0.8 - 0.8 * right, 0.8 * right, 0.1]], np.float32))

    def advance(self, carry: Any, observation: Any, context: Any, action: Any, queried: Any) -> Any:
        place = float(observation["place"][0])
        self._told("advance", observation)
        return self._again(carry, place)

    def learn(self, learned: Any, carry: Any, observation: Any, answer: Any, log_probs: Any) -> Any:
        place = float(observation["place"][1])
        self._told("learn", observation)
        return self._again(learned, place)


def plain(world: World) -> Any:
    return ensembles.callables([world.honest, world.vandal, world.honest], A)


MEMBERS: dict[str, Callable[[World], Any]] = {
    "callables": plain,
    "union": lambda world: ensembles.union(
        ensembles.callables([world.vandal], A), ensembles.callables([world.honest], A)
    ),
    "that remember and learn": lambda world: ensembles.union(
        Remembering(world), ensembles.callables([world.vandal, world.honest], A)
    ),
}
