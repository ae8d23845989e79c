"""How often an imitator with actions of any kind would ask about observations."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core.sampling_learner import SamplingLearner, SamplingState
from consensus_imitation.errors import PendingQueryError
from consensus_imitation.imitator._sampling_acting import seen_by
from consensus_imitation.imitator._sampling_run import SamplingRun

#: Proposals by which the probability of asking about one probe is estimated.
NUM_PROPOSALS = 256


def asked(run: SamplingRun, probes: Iterable[Any] | None) -> float | None:
    """Return the estimated mean probability of asking about some observations, each as if it came next.

    The mean of `NUM_PROPOSALS` unbiased estimates for each, in [0, 1]: its standard error is at most
    ``0.5 / sqrt(256 * P)`` for P probes, .03 for one. Nothing changes.

    Args:
        run: of which nothing waits for an answer.
        probes: observations of a single environment; None for none.

    Raises:
        PendingQueryError: if a query waits: everything would be asked about.
        ObservationError: if an observation cannot be shown to the members.
        ValueError: if there are none.
    """
    if probes is None:
        return None
    if run.queries.waiting():
        raise PendingQueryError("a query waits for an answer: answer or withdraw it before you give probes")
    own = run.setup.taken(run.state, None if run.setup.num_envs is None else 0)
    own = own.replace(stream=own.stream.replace(asked=jnp.zeros_like(own.stream.asked)))
    found = [float(_estimate(run.setup.learner, own, seen_by(own, probe))) for probe in probes]
    if not found:
        raise ValueError("no probes: give at least one observation, or None")
    return float(np.mean(found))


@jax.jit
def _estimate(learner: SamplingLearner, state: SamplingState, observation: Any) -> jax.Array:
    # Proposals that no step makes: a probe tells nobody what will be proposed.
    keys = jax.random.split(jax.random.key(0), NUM_PROPOSALS)

    def theta(key: jax.Array) -> jax.Array:
        stream = state.stream.replace(proposals=key)
        return learner.decide(state.replace(stream=stream), observation).query_prob_estimate

    return jnp.mean(jax.lax.map(theta, keys))
