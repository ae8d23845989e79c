"""Networks trained on the law that they predict under a mask: the softmax over what is legal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ensembles
from consensus_imitation.ensembles.neural import _rounds as rounds
from consensus_imitation.ensembles.neural import training as train
from consensus_imitation.ensembles.neural._learned import Masked
from consensus_imitation.ensembles.neural._temperature import Temperature
from consensus_imitation.errors import ConfigurationError

LEGAL = jnp.array([[True, False, True, True], [True, True, False, True]])
ANSWERS = jnp.array([2, 0])
LOGITS = jnp.array([[0.5, 3.0, -1.0, 0.2], [1.0, 0.1, 5.0, -0.3]])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_that_of_the_conditional_law_and_moves_nothing_illegal(smoothing: float) -> None:
    training = ensembles.Training(masked=True, label_smoothing=smoothing)

    def loss(logits: jax.Array) -> jax.Array:
        return rounds.loss(training, lambda _, x: x, None, None, Masked(logits, LEGAL), ANSWERS, jnp.ones(2))

    expected = 0.0
    for logits, legal, answer in zip(np.asarray(LOGITS, float), np.asarray(LEGAL), np.asarray(ANSWERS), strict=True):
        law = np.exp(logits) * legal / (np.exp(logits) * legal).sum()
        target = (1 - smoothing) * np.eye(4)[answer] + smoothing * legal / legal.sum()
        expected -= (target[legal] * np.log(law[legal])).sum() / 2
    assert float(loss(LOGITS)) == pytest.approx(expected, rel=1e-5)
    assert not np.asarray(jax.grad(loss)(LOGITS))[~np.asarray(LEGAL)].any()


def test_what_was_legal_is_read_off_the_predictions() -> None:
    training = ensembles.Training(masked=True)
    said = jnp.log(jnp.array([[0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]))  # the second member's cannot be used
    assert train.kept(training, 7, said).legal.tolist() == [True, False, True]
    assert train.kept(training, 7, said[1:]).legal.tolist() == [True] * 3
    assert train.kept(ensembles.Training(), 7, said) == 7


def test_temperatures_follow_answers_under_a_mask() -> None:
    """As over the legal actions alone, and never from NaN."""
    logits = jnp.array([[1.0, 0.0, 2.0], [0.3, 0.0, 0.1]])
    masked = jax.nn.log_softmax(jnp.where(jnp.array([True, False, True]), logits, -jnp.inf))
    before = Temperature(log=jnp.zeros(2), curvature=jnp.full(2, 10.0))
    found, alone = before.step(masked, jnp.int32(0)), before.step(masked[:, ::2], jnp.int32(0))
    np.testing.assert_allclose(found.log, alone.log, rtol=1e-5)
    np.testing.assert_allclose(found.curvature, alone.curvature, rtol=1e-5)
    assert (np.asarray(found.log) != 0).all()


def test_masked_is_true_or_false() -> None:
    with pytest.raises(ConfigurationError, match="masked must be True or False"):
        ensembles.Training(masked=1)  # type: ignore[arg-type]
