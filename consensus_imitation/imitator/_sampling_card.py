"""How often an imitator with actions of any kind would ask about observations."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from consensus_imitation.core.sampling_learner import SamplingLearner, SamplingState
from consensus_imitation.imitator._card import over
from consensus_imitation.imitator._sampling_acting import seen_by
from consensus_imitation.imitator._sampling_run import SamplingRun

#: Proposals by which the probability of asking about one probe is estimated.
NUM_PROPOSALS = 256


def asked(run: SamplingRun, probes: Iterable[Any] | None) -> float | None:
    """Return the estimated mean probability of asking about some observations, each as if it came next.

    The mean of `NUM_PROPOSALS` unbiased estimates for each, in [0, 1]. Its standard error is at most .03, and may not
    fall with more probes: all are looked at with the same random numbers. Nothing changes.

    The arguments and errors are those of `_card.over`.

    Raises:
        ObservationError: if an observation cannot be shown to the members.
    """
    own = run.setup.taken(run.state, None if run.setup.num_envs is None else 0)
    own = own.replace(stream=own.stream.replace(asked=jnp.zeros_like(own.stream.asked)))

    def theta(probe: Any) -> float:
        return float(_estimate(run.setup.learner, own, seen_by(own, probe)))

    return over(probes, bool(run.queries.waiting()), theta)


@jax.jit
def _estimate(learner: SamplingLearner, state: SamplingState, observation: Any) -> jax.Array:
    # Proposals that no step makes: a probe tells nobody what will be proposed.
    keys = jax.random.split(jax.random.key(0), NUM_PROPOSALS)

    def theta(key: jax.Array) -> jax.Array:
        stream = state.stream.replace(proposals=key)
        return learner.decide(state.replace(stream=stream), observation).query_prob_estimate

    return jnp.mean(jax.lax.map(theta, keys))
