"""What the members learn: labelled inputs, others like them, and inputs of which they know nothing."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from consensus_imitation.demonstrators import as_demonstrator
from consensus_imitation.ensembles.neural.encoding import make_encoder
from consensus_imitation.experiments import digits, tasks


class Problem(NamedTuple):
    """Inputs as vectors, and the right action of each.

    Attributes:
        inputs: float32 [Q, D], those to learn from.
        answers: int32 [Q].
        familiar: float32 [P, D], others of the same kind.
        right: int32 [P], the answers to those.
        foreign: float32 [P, D] each, by name.
        num_actions: A.
    """

    inputs: np.ndarray
    answers: np.ndarray
    familiar: np.ndarray
    right: np.ndarray
    foreign: dict[str, np.ndarray]
    num_actions: int


def problem(task: str, num_answers: int, seed: int) -> Problem:
    """Return a problem, in an order of its own for each seed.

    *Shuffled* inputs have each feature of another familiar input: each looks as it should, and nothing fits together.
    *Turned* digits are turned by 90 degrees.

    Args:
        task: ``digits``, or the name of a task.
        num_answers: Q.
        seed: of the order, and of the shuffling.

    Raises:
        ValueError: for more answers than there are.
    """
    if task == "digits":
        everything, labels, num_actions = *digits.load(), digits.NUM_CLASSES
    else:
        everything, labels, num_actions = _steps(task, num_answers + 500)
    if num_answers > len(everything) - 100:
        raise ValueError(f"num_answers can be at most {len(everything) - 100} with {task}, got {num_answers}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(everything))
    first, rest = order[:num_answers], order[num_answers:]
    familiar = everything[rest]
    foreign = {"shuffled": np.stack([rng.permutation(column) for column in familiar.T], axis=1)}
    if task == "digits":
        foreign["turned"] = digits.turned(familiar)
    return Problem(everything[first], labels[first], familiar, labels[rest], foreign, num_actions)


@lru_cache(maxsize=2)
def _steps(task: str, count: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return different observations of the demonstrator's own episodes, and what it did at each."""
    given = tasks.make(task)
    env = given.make_env()
    demonstrator = as_demonstrator(given.make_demonstrator(env, seed=0))
    encoder = make_encoder(env.observation_space)
    found: dict[bytes, tuple[np.ndarray, int]] = {}
    episode = 0
    while len(found) < count:
        observation, _ = env.reset(seed=episode)
        demonstrator.reset()
        done, episode = False, episode + 1
        while not done:
            action = int(demonstrator(observation))
            features = np.asarray(encoder.features(encoder(observation)), np.float32)
            found.setdefault(features.tobytes(), (features, action))
            demonstrator.observe(action, "demonstrator")
            observation, _, terminated, truncated, _ = env.step(action)
            done = bool(terminated or truncated)
    inputs, actions = zip(*list(found.values())[:count], strict=True)
    # A feature that never changes would only cost time.
    array = np.stack(inputs)
    return array[:, array.std(axis=0) > 0], np.array(actions, np.int32), int(env.action_space.n)
