"""Log-probabilities from logits: the values of JAX's own softmax, in less memory within a decision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation.benchmarks import decisions
from consensus_imitation.core.aggregation import from_logits
from consensus_imitation.core.learner import Learner


@pytest.mark.parametrize("shift", [0.0, 1e4, -3e37])
def test_the_values_are_those_of_double_precision(shift: float) -> None:
    logits = np.random.default_rng(0).normal(size=(5, 300)).astype(np.float32) + np.float32(shift)
    exact = logits.astype(np.float64)
    exact = exact - exact.max(-1, keepdims=True)
    exact = exact - np.log(np.exp(exact).sum(-1, keepdims=True))
    np.testing.assert_allclose(from_logits(jnp.asarray(logits)), exact, atol=2e-6)


def test_what_is_forbidden_keeps_nothing_and_nan_spoils_its_row_alone() -> None:
    rows = jnp.array([[0.0, -jnp.inf, 0.0], [0.0, jnp.nan, 0.0], [-jnp.inf, -jnp.inf, -jnp.inf]])
    found = np.asarray(from_logits(rows))
    np.testing.assert_allclose(found[0], [-np.log(2), -np.inf, -np.log(2)], atol=1e-6)
    assert np.isnan(found[1:]).all()


def test_its_gradient_is_the_softmax_less_the_answer() -> None:
    logits = jnp.array([0.3, -1.0, 2.0])
    gradient = jax.grad(lambda logits: from_logits(logits)[1])(logits)
    np.testing.assert_allclose(gradient, jax.nn.one_hot(1, 3) - jax.nn.softmax(logits), atol=1e-6)


@pytest.mark.slow
def test_a_decision_of_many_actions_keeps_no_second_array_of_their_size() -> None:
    batch, members, actions = 8, 4, 32_000
    logits, log_weights, _ = decisions.inputs(batch, members, actions)
    learner, state = decisions.learner_of(batch, members, actions, 2, log_weights, normalised=True)

    def temporary(normalise: object) -> int:
        def decide(state: object, logits: jax.Array) -> object:
            return Learner.decide_batch(learner, state, normalise(logits))

        found = jax.jit(decide).lower(state, jnp.asarray(logits)).compile().memory_analysis()
        return found.temp_size_in_bytes

    # What the decision itself needs, if the predictions are there already.
    assert temporary(from_logits) < temporary(lambda given: given) + logits.nbytes // 2
