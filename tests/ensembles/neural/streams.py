"""Streams of observations and answers, and members that go through them as a learner would."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.ensembles import Context, Neural


class Prequential(NamedTuple):
    """log_probs [T, N, A], each made before its answer was learned from, and what was known in the end."""

    log_probs: np.ndarray
    learned: Any
    carry: Any


@partial(jax.jit, static_argnames=("length",))
def _run(members: Neural, learned: Any, observations: Any, answers: jax.Array, starts: jax.Array, length: int) -> Any:
    def step(state: Any, part: Any) -> Any:
        learned, carry = state
        observation, answer, starts_here = part
        carry = jax.tree.map(partial(jnp.where, starts_here), members.begin_episode(carry), carry)
        context = Context(jnp.int32(0), jnp.zeros(members.num_members), 0, learned)
        log_probs = members.log_probs(carry, observation, context)
        learned = members.learn(learned, carry, observation, answer, log_probs)
        carry = members.advance(carry, observation, context, answer, jnp.array(True))
        return (learned, carry), log_probs

    return jax.lax.scan(step, (learned, members.init_carry()), (observations, answers, starts), length)


def prequential(
    members: Neural, observations: Any, answers: Any, key: jax.Array, starts: Any = None, learned: Any = None
) -> Prequential:
    """Predict, then learn, answer after answer; observations are encoded, with leading axis T."""
    answers = jnp.asarray(answers, jnp.int32)
    starts = jnp.arange(len(answers)) == 0 if starts is None else jnp.asarray(starts)
    learned = jax.jit(Neural.init_learned)(members, key) if learned is None else learned
    (learned, carry), log_probs = _run(members, learned, observations, answers, starts, len(answers))
    return Prequential(np.asarray(log_probs), learned, carry)


def losses(found: Prequential, answers: Any) -> np.ndarray:
    """Log-loss of every member at every step, [T, N]."""
    return -found.log_probs[np.arange(len(answers)), :, np.asarray(answers)]


def separable(rng: np.random.Generator, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Four classes that a network of any size can tell apart."""
    observations = rng.normal(size=(length, 3)).astype(np.float32)
    return observations, (2 * (observations[:, 0] > 0) + (observations[:, 1] > 0)).astype(np.int32)
