"""Decisions from log-probabilities [B, N, A] under a shared posterior [N]: the library's and the baselines'.

The library's is `Learner.decide_batch`, as users call it, and the parts that it is made of, one by one.

Each NumPy function is independent of the library's code. All take ``(log_probs, log_weights, uniforms, k)`` and return
actions int [B], -1 for a query, and the query probabilities float [B]. The library takes its numbers in two words.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from consensus_imitation.core.aggregation import Minimum, dissent, from_logits, validate
from consensus_imitation.core.draw import QUERY, as_float, draw
from consensus_imitation.core.learner import Learner, random_words
from consensus_imitation.core.members import Carry, Context, PureEnsemble
from consensus_imitation.core.selection import TopK
from consensus_imitation.core.state import LearnerState, PureDecision

_BLOCK = 128


def _decide_one(log_probs: jax.Array, log_weights: jax.Array, number: jax.Array, k: jax.Array) -> Any:
    law = Minimum()(log_probs, log_weights, TopK(k)(log_weights))
    return draw(number, law), law.query_prob


@jax.jit
def library(log_probs: jax.Array, log_weights: jax.Array, numbers: jax.Array, k: jax.Array) -> Any:
    """Return the library: its functions for one stream, vectorised over the batch."""
    return jax.vmap(_decide_one, in_axes=(0, None, 0, None))(log_probs, log_weights, numbers, k)


class Given(PureEnsemble):
    """Members that cost nothing: their predictions, or their logits, are the observation."""

    num_members: int = struct.field(pytree_node=False)
    num_actions: int = struct.field(pytree_node=False)
    logits: bool = struct.field(pytree_node=False, default=False)
    declared: bool = struct.field(pytree_node=False, default=False)

    @property
    def normalised(self) -> bool:
        """As declared."""
        return self.declared

    @property
    def prior(self) -> jax.Array:
        """All the same."""
        return jnp.full(self.num_members, 1.0 / self.num_members)

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """The observation [N, A]."""
        del carry, context
        return from_logits(observation) if self.logits else jnp.asarray(observation)


decide = jax.jit(Learner.decide_batch)

_decide_given = jax.jit(Learner.decide_batch, donate_argnums=2)


def deciding_given(learner: Learner, state: LearnerState, log_probs: np.ndarray) -> Callable[[], PureDecision]:
    """`decide` again and again, of predictions that are given away: those of the decision are the same memory.

    A decision returns its predictions, since an answer is scored by them; of those that a caller keeps it is a copy.
    """
    given = jnp.array(log_probs)

    def call() -> PureDecision:
        nonlocal given
        decided = _decide_given(learner, state, given)
        given = decided.log_probs
        return decided

    return call


def learner_of(
    batch: int,
    num_members: int,
    num_actions: int,
    k: int,
    log_weights: np.ndarray,
    logits: bool = False,
    normalised: bool = False,
) -> tuple[Learner, LearnerState]:
    """A learner that decides from what it is given, and a state with these log-weights."""
    learner = Learner(Given(num_members, num_actions, logits, normalised), TopK(k))
    state = learner.init(jax.random.key(0), num_streams=batch)
    return learner, state.replace(posterior=state.posterior.replace(log_weights=jnp.asarray(log_weights)))


def uniforms_of(state: LearnerState) -> np.ndarray:
    """The numbers that the next decisions are drawn with, as floats in [0, 1)."""
    return np.asarray(as_float(jax.vmap(random_words)(state.stream.key, state.stream.step)))


@jax.jit
def _dissent(decisions: PureDecision, log_probs: jax.Array) -> jax.Array:
    return jax.vmap(dissent)(log_probs, decisions.selected, decisions.queried)


@jax.jit
def _validation(log_probs: jax.Array) -> jax.Array:
    return jax.vmap(validate)(log_probs)[1]


def parts_of(log_probs: jax.Array, decided: PureDecision) -> dict[str, Callable[[], Any]]:
    """What a decision is made of besides its law and draw (`library`): each alone, so that they overlap in memory."""
    return {
        "validation": lambda: _validation(log_probs),
        "dissent of the queries": lambda: _dissent(decided, log_probs),
    }


#: The floor: read the input once.
floor = jax.jit(jnp.sum)

#: The floor from logits: normalise them.
softmax_floor = jax.jit(jax.nn.log_softmax)


@jax.jit
def naive_jit(log_probs: jax.Array, log_weights: jax.Array, key: jax.Array, k: jax.Array) -> Any:
    """Return the first idea in JAX: reduce over the member axis, then draw with ``jax.random.categorical``."""
    rank = jnp.argsort(jnp.argsort(-log_weights))
    probs = jnp.exp(log_probs)
    min_probs = jnp.min(jnp.where((rank < k)[None, :, None], probs, jnp.inf), axis=1)
    query_prob = jnp.clip(1.0 - jnp.sum(min_probs, axis=-1), 0.0, 1.0)
    outcome = jax.random.categorical(key, jnp.log(jnp.concatenate([min_probs, query_prob[:, None]], axis=-1)))
    return jnp.where(outcome == min_probs.shape[-1], QUERY, outcome), query_prob


def textbook_numpy(log_probs: np.ndarray, log_weights: np.ndarray, uniforms: np.ndarray, k: int) -> Any:
    """Compute the definition for one observation, looped over the batch, in NumPy's double precision."""
    actions, query_probs = [], []
    for predictions, uniform in zip(log_probs, uniforms, strict=True):
        probs = np.exp(predictions.astype(np.float64))
        top = np.argsort(-log_weights)[:k]
        min_probs = probs[top].min(axis=0)
        query_prob = max(0.0, 1.0 - min_probs.sum())
        # As np.random.choice does it: the running sum over the query and the actions, searched for a uniform number.
        cumulative = np.cumsum(np.concatenate([[query_prob], min_probs]))
        outcome = np.searchsorted(cumulative / cumulative[-1], uniform, side="right")
        actions.append(outcome - 1 if outcome > 0 else QUERY)
        query_probs.append(query_prob)
    return np.array(actions), np.array(query_probs)


def vectorised_numpy(log_probs: np.ndarray, log_weights: np.ndarray, uniforms: np.ndarray, k: int) -> Any:
    """Compute the definition for the whole batch at once."""
    top = np.argsort(-log_weights)[:k]
    min_probs = np.exp(log_probs[:, top]).min(axis=1)
    # In double precision: a float32 running sum over many actions drifts.
    cumulative = np.cumsum(min_probs, axis=-1, dtype=np.float64)
    query_prob = np.clip(1.0 - cumulative[:, -1], 0.0, 1.0)
    beyond = cumulative > (uniforms - query_prob)[:, None]
    actions = np.where(beyond.any(axis=-1), beyond.argmax(axis=-1), QUERY)
    return np.where(uniforms < query_prob, QUERY, actions), query_prob


class TunedNumpy:
    """The best NumPy that we could write: only the k rows, in place, `exp` of two rows, block-wise inversion.

    With many actions it processes the batch one by one, so that everything stays in the cache.
    """

    def __init__(self, batch: int, num_actions: int) -> None:
        rows = 1 if num_actions >= 4096 else batch
        self._lowest = np.empty((rows, num_actions), np.float32)
        self._reference = np.empty((rows, num_actions), np.float32)
        self._ones = np.ones(_BLOCK, np.float32)
        self._rows = rows

    def __call__(self, log_probs: np.ndarray, log_weights: np.ndarray, uniforms: np.ndarray, k: int) -> Any:
        """Decide for the whole batch."""
        top = np.argpartition(-log_weights, k - 1)[:k]
        B = log_probs.shape[0]
        actions, query_probs = np.empty(B, np.int64), np.empty(B)
        for start in range(0, B, self._rows):
            part = slice(start, start + self._rows)
            actions[part], query_probs[part] = self._decide(log_probs[part], top, uniforms[part])
        return actions, query_probs

    def _decide(self, log_probs: np.ndarray, top: np.ndarray, uniforms: np.ndarray) -> Any:
        probs, gap = self._lowest, self._reference
        reference = log_probs[:, top[0]]
        if len(top) == 1:
            np.exp(reference, out=probs)
        else:
            np.minimum(reference, log_probs[:, top[1]], out=probs)
            for member in top[2:]:
                np.minimum(probs, log_probs[:, member], out=probs)
            np.exp(probs, out=probs)
        np.exp(reference, out=gap)
        np.subtract(gap, probs, out=gap)
        query_prob = np.clip(gap.sum(axis=-1), 0.0, 1.0)
        return self._draw(probs, uniforms - query_prob), query_prob

    def _draw(self, probs: np.ndarray, points: np.ndarray) -> np.ndarray:
        A = probs.shape[-1]
        if A <= 2 * _BLOCK or A % _BLOCK:
            actions = _invert(np.cumsum(probs, axis=-1), points)
        else:
            blocks = probs.reshape(len(probs), -1, _BLOCK)
            mass = np.cumsum(blocks @ self._ones, axis=-1, dtype=np.float64)
            block = _invert(mass, points)
            row = np.arange(len(probs))
            inside = np.cumsum(blocks[row, block], axis=-1)
            before = np.where(block > 0, mass[row, block - 1], 0.0)
            actions = block * _BLOCK + _invert(inside, np.maximum(points - before, 0.0))
        return np.where(points < 0, QUERY, actions)


def _invert(cumulative: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the first index whose cumulative mass exceeds the point; the last if rounding leaves none."""
    points = np.minimum(points, np.nextafter(cumulative[:, -1], 0, dtype=cumulative.dtype))
    return (cumulative > points[:, None]).argmax(axis=-1)


def inputs(batch: int, num_members: int, num_actions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the log-probabilities of members that agree roughly, log-weights, and a uniform number for each stream."""
    rng = np.random.default_rng(seed)
    common = 2.0 * rng.standard_normal((batch, 1, num_actions), dtype=np.float32)
    logits = common + 0.5 * rng.standard_normal((batch, num_members, num_actions), dtype=np.float32)
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    log_weights = rng.standard_normal(num_members, dtype=np.float32)
    return log_probs, log_weights, rng.random(batch, dtype=np.float32)


def check_same(found: Any, expected: Any, name: str, differing: int = 0) -> None:
    """Raise AssertionError unless two sets of decisions agree up to rounding.

    Args:
        found: actions [B] and query probabilities [B].
        expected: the same, of another implementation.
        name: for the message.
        differing: how many actions may differ. A point within rounding of the border between two actions may fall on
            either side; with many actions there are many borders.
    """
    actions, query_probs = (np.asarray(part) for part in found)
    expected_actions, expected_query_probs = (np.asarray(part) for part in expected)
    np.testing.assert_allclose(query_probs, expected_query_probs, atol=2e-5, err_msg=name)
    differ = int(np.sum(actions != expected_actions))
    assert differ <= differing, f"{name}: {differ} of {len(actions)} actions differ"
