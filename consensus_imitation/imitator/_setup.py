"""What does not change over a run: members, rules, and how many environments; and whether a state fits them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, TypeVar

import jax
import jax.numpy as jnp

from consensus_imitation.core._validation import check_instance
from consensus_imitation.core.aggregation import Minimum
from consensus_imitation.core.alarm import MisspecificationAlarm
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.members import Ensemble
from consensus_imitation.core.rules import Rules
from consensus_imitation.core.sampling_learner import SamplingState
from consensus_imitation.core.state import LearnerState
from consensus_imitation.errors import ConfigurationError
from consensus_imitation.imitator import kernels
from consensus_imitation.imitator._host_members import core_ensemble, initial_state
from consensus_imitation.imitator._teaching import shaped

S = TypeVar("S", LearnerState, SamplingState)


@dataclass(frozen=True)
class Setup:
    """What does not change over a run: the members, the rules, and B or None."""

    ensemble: Ensemble
    learner: Learner
    num_envs: int | None

    @classmethod
    def of(cls, ensemble: Ensemble, rules: Rules, num_envs: int | None) -> Self:
        """These members and rules; of members on the host the learner sees their predictions only.

        Raises:
            ConfigurationError: if the alarm cannot tell what those members see.
        """
        alarm = rules.alarm
        check_instance("alarm", alarm, MisspecificationAlarm, "pass for example MisspecificationAlarm(0.01)")
        if alarm is not None and alarm.num_contexts > 1 and not ensemble.pure:
            raise ConfigurationError(
                "with members that run on the host the alarm cannot tell observations apart: "
                "use MisspecificationAlarm(num_contexts=1)"
            )
        return cls(ensemble, Learner.of(core_ensemble(ensemble), rules), num_envs)

    @property
    def ends_when_alone(self) -> bool:
        """Whether a member that is selected alone all but ends learning: nobody disagrees with it."""
        return self.ensemble.learns and isinstance(self.learner.aggregation, Minimum)

    @cached_property
    def apart(self) -> kernels.Apart:
        """The learner for the programs of every step."""
        return kernels.Apart.of(self.learner)

    def rows(self, env: int | None) -> int | None:
        """How many environments a step is about: B in lockstep; None for a single one, or one of a batch."""
        return None if env is not None else self.num_envs

    def taken(self, state: LearnerState, env: int | None) -> LearnerState:
        """`taken`."""
        return taken(state, env)

    def put(self, state: LearnerState, after: LearnerState, env: int | None) -> LearnerState:
        """`put`."""
        return put(state, after, env)


def taken(state: S, env: int | None) -> S:
    """The state as the step sees it: with the stream of environment ``env`` only, if one is given."""
    return state if env is None else state.replace(stream=kernels.take_row(state.stream, env))


def put(state: S, after: S, env: int | None) -> S:
    """The whole state again, after the step."""
    if env is None:
        return after
    return after.replace(stream=kernels.put_row(state.stream, after.stream, env))


def num_envs_of(state: Any) -> int | None:
    """How many environments a state is of: None for a single one.

    Raises:
        ConfigurationError: for anything that is not such a state.
    """
    if not isinstance(state, LearnerState):
        raise ConfigurationError(f"expected the state of a ConsensusImitator or a Learner, got {state!r:.200}")
    steps = jnp.shape(state.stream.step)
    return steps[0] if steps else None


def check_fits(setup: Setup, state: LearnerState) -> None:
    """Raise ConfigurationError unless a state is one of this ensemble and these rules."""
    num_envs_of(state)
    like = shapes(setup)
    if jax.tree.map(lambda leaf: leaf.shape, shaped(state)) != jax.tree.map(lambda leaf: leaf.shape, like):
        raise ConfigurationError(
            f"the state does not fit: it holds {state.posterior.log_weights.shape[0]} weights, the ensemble has "
            f"{setup.ensemble.num_members} members; memory, alarm, merging, what was learned and number of "
            "environments have to agree, too"
        )


def check_types(like: S, state: S) -> None:
    """Raise ConfigurationError unless a journal that begins from a state, which is to be ``like``, can be read back."""
    if jax.tree.map(lambda leaf: leaf.dtype, shaped(state)) != jax.tree.map(lambda leaf: leaf.dtype, like):
        raise ConfigurationError(
            "a run with a journal cannot begin from this state, whose arrays or keys are of other types than an "
            "imitator's own: pass one as the imitator's `state` gives it"
        )


def shapes(setup: Setup) -> LearnerState:
    """Shapes and types of a state of this ensemble and these rules."""
    return jax.eval_shape(lambda: initial_state(setup.learner, setup.ensemble, jax.random.key(0), setup.num_envs))
