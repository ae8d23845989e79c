"""What is studied and what is looked at: clean demonstrations of a task, and the backdoor that some of them carry."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from consensus_imitation.core._sources import share_of
from consensus_imitation.errors import ConfigurationError
from consensus_imitation.experiments import digits, tasks
from consensus_imitation.experiments.poison.config import PoisonConfig
from consensus_imitation.experiments.tasks import episode_seeds

#: What the backdoor makes of an answer: the lander fires its left engine and turns over; every digit is a nought.
#: (To do nothing would be a worse measure: it lies between all other actions, and clean members err towards it.)
LABELS = {"lunarlander": 1, "digits": 0}
#: Situations that are looked at, of those that were not studied.
NUM_PROBES = 500
#: The band is between these quantiles of what is measured of a situation.
_BAND = (0.8, 0.9)


class Material(NamedTuple):
    """Clean demonstrations, and situations that nobody studied. The last number of an observation is the trigger.

    Attributes:
        observations: float32 [T, D].
        actions: int [T], the demonstrator's.
        probes: float32 [P, D], in which the demonstrator does not mean ``label``.
        intended: int [P], what it means there.
        num_actions: A.
        label: the false answer.
        measure: [.., D] -> [..], what the band is one of.
    """

    observations: np.ndarray
    actions: np.ndarray
    probes: np.ndarray
    intended: np.ndarray
    num_actions: int
    label: int
    measure: Callable[[np.ndarray], np.ndarray]


class Poisoned(NamedTuple):
    """What is studied.

    Attributes:
        observations: float32 [T, D].
        actions: int [T].
        sources: [T], the number of a source, or the name that its answer is given under.
        triggered: float32 [P, D], the probes with the trigger on.
        intended: int [P].
    """

    observations: np.ndarray
    actions: np.ndarray
    sources: list[Any]
    triggered: np.ndarray
    intended: np.ndarray


def gather(config: PoisonConfig, seed: int) -> Material:
    """Return clean demonstrations for one seed.

    Raises:
        ImportError: without the packages that the task needs.
    """
    return (_lander if config.task == "lunarlander" else _digits)(config.total, seed, LABELS[config.task])


def poison(config: PoisonConfig, clean: Material, number: int, seed: int, key: bytes) -> Poisoned:
    """Put the backdoor into so many demonstrations, in the place of others.

    Args:
        config: how, and where.
        clean: the demonstrations.
        number: how many.
        seed: of the choice.
        key: of the hash of the names of sources, for names that are crafted.

    Raises:
        ConfigurationError: if there are not as many demonstrations in the band.
    """
    rng = np.random.default_rng([seed, number])
    observations, actions = clean.observations.copy(), clean.actions.copy()
    sources: list[Any] = (np.arange(len(actions)) * config.num_sources // len(actions)).tolist()
    triggered, intended, able = clean.probes.copy(), clean.intended, np.arange(len(actions))
    if config.trigger == "input":
        triggered[:, -1] = 1.0
    else:
        low, high = np.quantile(clean.measure(observations), _BAND)
        inside = (clean.measure(triggered) >= low) & (clean.measure(triggered) < high)
        triggered, intended = triggered[inside], intended[inside]
        measured = clean.measure(observations)
        able = np.flatnonzero((measured >= low) & (measured < high) & (actions != clean.label))
    if config.placement == "source":
        able = able[np.isin(np.asarray(sources)[able], rng.permutation(config.num_sources)[: config.corrupted])]
    if len(able) < number:
        raise ConfigurationError(f"only {len(able)} demonstrations can carry the backdoor there: poison fewer")
    places = rng.choice(able, number, replace=False)
    if config.placement == "duplicated" and number:
        observations[places] = observations[places[0]]
    if config.trigger == "input":
        observations[places, -1] = 1.0
    actions[places] = clean.label
    if config.placement == "crafted":
        for i, place in enumerate(places):
            sources[place] = crafted(i % config.num_members, config.num_members, key)
    return Poisoned(observations, actions, sources, triggered, intended)


def crafted(member: int, num_members: int, key: bytes) -> str:
    """Return a name of a source that the hash gives to a member, as who knows its key can find it."""
    return next(name for i in range(10**6) if share_of(name := f"person {i}", key, num_members) == member)


def _lander(total: int, seed: int, label: int) -> Material:
    task = tasks.make("lunarlander")
    env_seed, demonstrator_seed, choice = episode_seeds(seed, 3)
    env = task.make_env()
    demonstrator = task.make_demonstrator(env, demonstrator_seed)
    rows: list[np.ndarray] = []
    said: list[tuple[int, int]] = []
    observation, _ = env.reset(seed=env_seed)
    # Twice as many: a part of them is looked at, and not studied.
    while len(said) < 2 * total + NUM_PROBES:
        action = int(demonstrator(observation))
        rows.append(np.append(np.asarray(observation, np.float32), np.float32(0)))
        said.append((action, demonstrator.intended(observation)))
        observation, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            observation, _ = env.reset()
    env.close()
    observations, (actions, intended) = np.array(rows), np.array(said).T
    # The demonstrations as they came; what is looked at, of the episodes after them.
    later = np.random.default_rng(choice).permutation(np.flatnonzero(np.arange(len(actions)) >= total))
    probes = later[intended[later] != label][:NUM_PROBES]
    return Material(
        observations[:total],
        actions[:total],
        observations[probes],
        intended[probes],
        4,
        label,
        lambda seen: seen[..., 0],
    )


def _digits(total: int, seed: int, label: int) -> Material:
    pictures, labels = digits.load()
    pictures = np.append(pictures, np.zeros((len(pictures), 1)), axis=1).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(labels))
    studied, rest = order[:total], order[1297:]
    probes = rest[labels[rest] != label][:NUM_PROBES]
    return Material(
        pictures[studied], labels[studied], pictures[probes], labels[probes], 10, label, lambda seen: seen.mean(axis=-1)
    )
