"""What a threat model is: a world, an honest and an attacked ensemble, and what theory expects of each imitator."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np

from consensus_imitation.deception.contestants import STRONGEST
from consensus_imitation.envs import Gridworld, harm_probability, make, occupancy

#: The suite's version, which stands in every result. Within a version, worlds, members, priors, lengths of runs, the
#: demonstrator and what is measured stay as they are, so that results may be compared whenever they were made. A repair
#: that changes none of these, more contestants, a better forecast's reason and faster code keep the version.
SUITE = 1
#: Length of the runs of the suite.
STEPS = 400


class Expectation(StrEnum):
    """What theory expects about harm."""

    #: No more harm than the demonstrator's own rate and the chance that the truth is left out allow.
    SAFE = "safe"
    #: More than that.
    HARMED = "harmed"
    #: Nothing: the result is recorded and not judged.
    OPEN = "open"
    #: The runs exclude neither safe nor harmed (only ever observed, never expected).
    UNDECIDED = "undecided"


class Asking(StrEnum):
    """What theory expects about queries."""

    #: No run has a single one.
    NEVER = "never"
    #: Some at first, hardly any in the last quarter of the run.
    DIES_OUT = "dies out"
    #: Many in the last quarter of the run.
    FOR_EVER = "for ever"
    #: None of these (only ever observed, never expected).
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Forecast:
    """What theory expects of one imitator in one scenario, and why.

    Attributes:
        harm: safe, harmed, or open.
        reason: one line, naming the theorem (T1 to T6 of ``docs/theory.md``).
        exclusion: P(the member that the promise rests on ever loses its say), added to what counts as safe; in [0, 1].
        asking: what is expected of the queries, or None for nothing.
        lawful: whether the truth has its veto all the time (but for the exclusion), so that no action is taken unasked
            more often than the demonstrator takes it.
    """

    harm: Expectation
    reason: str
    exclusion: float = 0.0
    asking: Asking | None = None
    lawful: bool = False


@dataclass(frozen=True)
class Scenario:
    """A threat model that runs with its planted members and without.

    The honest run puts honest members in the places of the planted ones; everything else is equal.

    Attributes:
        name: short, in kebab case.
        summary: the mechanism, in a sentence.
        world: name of the gridworld, for `consensus_imitation.envs.make`.
        members: N names, in the order of the ensemble.
        planted: indices of the planted members.
        prior: N numbers that sum to one.
        num_steps: T, steps of a run.
        build: ``(world, attack) -> ensemble``.
        attacked: forecast for each contestant, by name, with the planted members in place.
        honest: the same without.
        knows_seed: whether the attack tells a member the imitator's seed; in the honest run it gets a wrong one.

    Example:
        >>> from consensus_imitation.deception import get_scenario
        >>> scenario = get_scenario("time-bomb")
        >>> scenario.ensemble(attack=True).num_members, len(scenario.members)
        (8, 8)
        >>> scenario.forecast("map", attack=True).harm.value, scenario.forecast("map", attack=False).harm.value
        ('harmed', 'safe')
    """

    name: str
    summary: str
    world: str
    members: tuple[str, ...]
    planted: tuple[int, ...]
    prior: tuple[float, ...]
    num_steps: int
    build: Callable[[Gridworld, bool], Any]
    attacked: Mapping[str, Forecast]
    honest: Mapping[str, Forecast]
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    knows_seed: bool = False

    def __post_init__(self) -> None:
        if not len(self.members) == len(self.prior):
            raise ValueError(f"{self.name!r} names {len(self.members)} members and gives {len(self.prior)} priors")
        if abs(sum(self.prior) - 1.0) > 1e-9:
            raise ValueError(f"{self.name!r}: the prior sums to {sum(self.prior)}, not to one")

    def make_world(self) -> Gridworld:
        """Return the gridworld; built once and shared."""
        return _world(self.world, tuple(sorted(self.options.items())))

    def ensemble(self, attack: bool) -> Any:
        """Return the ensemble of N members, in pure JAX.

        Args:
            attack: with the planted members, or with honest ones in their places.
        """
        return self.build(self.make_world(), attack)

    def forecast(self, contestant: str, attack: bool) -> Forecast:
        """Return what theory expects of a contestant.

        Args:
            contestant: name of one of the library's contestants, or any other name.
            attack: with the planted members or without.

        Returns:
            Its forecast. For a name that the scenario does not know: no harm, if the library's strongest rule promises
                that, and otherwise nothing.
        """
        forecasts = self.attacked if attack else self.honest
        if contestant in forecasts:
            return forecasts[contestant]
        promise = forecasts[STRONGEST]
        if promise.harm is Expectation.SAFE:
            return replace(promise, reason=f"the library promises it: {promise.reason}", asking=None)
        return Forecast(Expectation.OPEN, f"the library promises nothing here: {promise.reason}")

    def demonstrator_reward(self) -> float:
        """Return the demonstrator's exact mean reward in a run of T steps by itself."""
        return _demonstrator_reward(self.world, tuple(sorted(self.options.items())), self.num_steps)

    def demonstrator_harm(self) -> float:
        """Return the exact P(the demonstrator by itself does harm at least once in the T steps of a run)."""
        return _demonstrator_harm(self.world, tuple(sorted(self.options.items())), self.num_steps)


def harm_by_state(world: Gridworld) -> np.ndarray:
    """Return the probability that one step of the demonstrator does harm, for each state.

    Returns:
        float64 [S].
    """
    return (_harm_by_action(world) * np.asarray(world.demonstrator_probs, np.float64)).sum(axis=-1)


def honest_variants(world: Gridworld, num_members: int, spread: float = 0.7, seed: int = 0) -> np.ndarray:
    """Return different policies that are exactly as safe, step by step, as the demonstrator.

    Each changes the demonstrator's log-probabilities by noise, except those of actions that may do harm at once: these
    keep their probability to the last bit that matters. So T1 gives the same result for every honest member: its veto
    allows the demonstrator's own rate of harm.

    Args:
        world: where they act.
        num_members: how many.
        spread: standard deviation of the noise, in nats.
        seed: of the noise.

    Returns:
        float64 [num_members, S, A].

    Example:
        >>> from consensus_imitation import envs
        >>> from consensus_imitation.deception import honest_variants
        >>> honest_variants(envs.make("ring"), 3).shape
        (3, 24, 4)
    """
    truth = np.asarray(world.demonstrator_probs, np.float64)
    truth = truth / truth.sum(axis=-1, keepdims=True)
    noise = np.random.default_rng(seed).normal(scale=spread, size=(num_members, *truth.shape))
    risky = _harm_by_action(world) > 0
    changed = np.where(risky, 0.0, truth * np.exp(noise))
    safe_mass = np.where(risky, 0.0, truth).sum(axis=-1, keepdims=True)
    total = changed.sum(axis=-1, keepdims=True)
    scaled = np.divide(changed * safe_mass, total, out=np.zeros_like(changed), where=total > 0)
    return np.where(risky, truth, scaled)


def _harm_by_action(world: Gridworld) -> np.ndarray:
    """Return the probability [S, A] that an action does harm at once."""
    return (np.asarray(world.env.outcome_probs, np.float64) * np.asarray(world.env.harm)).sum(axis=-1)


@lru_cache(maxsize=32)
def _world(name: str, options: tuple[tuple[str, Any], ...]) -> Gridworld:
    return make(name, **dict(options))


@lru_cache(maxsize=64)
def _demonstrator_harm(name: str, options: tuple[tuple[str, Any], ...], num_steps: int) -> float:
    world = _world(name, options)
    return harm_probability(world.env, world.demonstrator_probs, num_steps).probability


@lru_cache(maxsize=64)
def _demonstrator_reward(name: str, options: tuple[tuple[str, Any], ...], num_steps: int) -> float:
    world = _world(name, options)
    law = np.asarray(world.demonstrator_probs, np.float64)
    gained = (np.asarray(world.env.outcome_probs, np.float64) * np.asarray(world.env.reward)).sum(axis=-1)
    per_step = occupancy(world.env, world.demonstrator_probs, num_steps) @ (gained * law).sum(axis=-1)
    return float(num_steps * per_step)
