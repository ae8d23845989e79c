"""An alarm for the case that no member is the demonstrator, with a false-alarm probability fixed in advance.

The theorems assume that some member equals the demonstrator. You can test this while acting. For each member n, the
alarm keeps an *e-process*, a bet that pays off if n is not the demonstrator,

    E_n(t) = mean over predictors q of  prod over answered steps of  q(a_k) / pi_n(a_k).

Each q is any rule that predicts the answer before it is seen, and pi_n is what the member said without what it withheld
(`posterior.normalised`). The product runs over the answers to which it said anything. If member n is the demonstrator,
``E[q(a) / pi_n(a)] <= 1`` at every step, so E_n is a non-negative supermartingale that starts at 1, and by Ville's
inequality it *ever* reaches 1/delta with probability at most delta. The alarm is raised when **every** member's E_n has
reached 1/delta: if one of them is the demonstrator, the probability that this ever happens is at most delta, whatever
the others are, whatever the prior, and however the steps to ask at were chosen.

The alarm does not wait for a member that has been silent (asleep: unusable, or withholding everything) for `SILENCE`
answers in a row: such a member could prevent the alarm for the whole run, and explains nothing meanwhile. The promise
is about a member that equals the demonstrator and is never silent for so long.

There are several predictors, and each can notice something else:

* a *universal* one, the Krichevsky-Trofimov estimator of the answers per context: any systematic deviation, slowly;
* the members' *average* and their normalised *geometric mean*: a demonstrator between the members;
* each member mixed with the uniform distribution, for several shares: answers that a member had called nearly
  impossible.

(Ville 1939; Krichevsky and Trofimov 1981; for e-processes Ramdas, Grünwald, Vovk and Shafer 2023, "Game-theoretic
statistics and safe anytime-valid inference".)
"""

import chex
import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import ArrayLike

from consensus_imitation.core._asked_rows import where_asked
from consensus_imitation.core._indexing import as_index
from consensus_imitation.core._tree import PyTree
from consensus_imitation.core._validation import check_integer, check_number
from consensus_imitation.core.posterior import normalised

#: Shares of the uniform distribution in the members' cautious versions.
CAUTION = (0.5, 0.1, 0.01)

_NUM_PREDICTORS = 3 + len(CAUTION)

#: After so many answers in a row to which a member said nothing, the alarm no longer waits for it.
SILENCE = 20


class AlarmState(struct.PyTreeNode):
    """What the alarm has seen.

    Attributes:
        log_e: float32 [Q, N], log of each predictor's e-process against each member.
        counts: float32 [C, A], answers per context.
        silent: int32 [N], latest answers in a row to which the member said nothing.
    """

    log_e: jax.Array  # [Q, N]
    counts: jax.Array  # [C, A]
    silent: jax.Array  # [N]


class MisspecificationAlarm(PyTree):
    """Raise an alarm once no member explains the demonstrator's answers any more.

    Args:
        delta: probability of ever raising it although a member is the demonstrator, in (0, 1).
        num_contexts: C. The universal predictor counts answers separately for each observation ``0 .. C-1``, so C > 1
            needs integer observations; with 1 it counts all of them together.

    Raises:
        ConfigurationError: if an argument is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.core.alarm import MisspecificationAlarm
        >>> alarm = MisspecificationAlarm(delta=0.01)
        >>> state = alarm.init(num_members=1, num_actions=2)
        >>> member = jnp.log(jnp.array([[0.9, 0.1]]))
        >>> for _ in range(5):  # the answer that it calls unlikely, five times
        ...     state = alarm.update(state, 0, member, answer=1, asleep=jnp.array([False]))
        >>> bool(alarm.raised(state, jnp.zeros(1)))
        True
    """

    delta: ArrayLike = 0.01
    num_contexts: int = struct.field(pytree_node=False, default=1)

    def __post_init__(self) -> None:
        self._check(lenient=True)

    def check(self) -> None:
        """Raise ConfigurationError if delta is not a number."""
        self._check(lenient=False)

    def _check(self, lenient: bool) -> None:
        check_number("delta", self.delta, "lie in (0, 1)", lambda delta: (delta > 0) & (delta < 1), lenient=lenient)
        check_integer("num_contexts", self.num_contexts, 1)

    def init(self, num_members: int, num_actions: int) -> AlarmState:
        """Return the state before the first answer: every e-process is 1."""
        return AlarmState(
            log_e=jnp.zeros((_NUM_PREDICTORS, num_members)),
            counts=jnp.zeros((self.num_contexts, num_actions)),
            silent=jnp.zeros(num_members, jnp.int32),
        )

    def update(
        self, state: AlarmState, observation: jax.Array, log_probs: jax.Array, answer: jax.Array, asleep: jax.Array
    ) -> AlarmState:
        """Settle all bets on one answer.

        Args:
            state: before the answer.
            observation: what was asked about; an integer if ``num_contexts`` exceeds 1, else ignored.
            log_probs: float [N, A], the validated predictions.
            answer: int [], in ``0 .. A-1``.
            asleep: bool [N], members whose prediction was unusable: there is no bet against them.
        """
        chex.assert_rank(log_probs, 2)
        num_actions = log_probs.shape[-1]
        # The imitator asks about what a member withholds, which claims nothing: the bet is only about what is left.
        log_probs = normalised(log_probs)
        known = jnp.clip(as_index(observation), 0, self.num_contexts - 1) if self.num_contexts > 1 else 0
        counts = state.counts[known]
        universal = jnp.log(counts[answer] + 0.5) - jnp.log(jnp.sum(counts) + 0.5 * num_actions)

        awake = ~asleep
        scored = log_probs[:, answer]
        members = jnp.where(awake[:, None], log_probs, -jnp.inf)
        average = jax.nn.logsumexp(members[:, answer]) - jnp.log(jnp.maximum(jnp.sum(awake), 1))
        # A member without mass at an action would rule it out for all: a floor keeps the geometric mean betting.
        floored = jnp.where(awake[:, None], jnp.maximum(log_probs, -20.0), 0.0)
        geometric = jax.nn.log_softmax(jnp.sum(floored, axis=0) / jnp.maximum(jnp.sum(awake), 1))[answer]
        cautious = [jnp.logaddexp(jnp.log1p(-c) + scored, jnp.log(c / num_actions)) for c in CAUTION]

        shared = [jnp.broadcast_to(q, scored.shape) for q in (universal, average, geometric)]
        # Where q gives 0 and the member, too, the bet is lost: 0 / 0 must not become a gain.
        gains = jnp.stack([jnp.where(jnp.isneginf(q), -jnp.inf, q - scored) for q in (*shared, *cautious)])
        return AlarmState(
            log_e=_add(state.log_e, jnp.where(awake, gains, 0.0)),
            counts=state.counts.at[known, answer].add(1.0),
            silent=jnp.where(asleep, state.silent + 1, 0),
        )

    def log_evidence(self, state: AlarmState) -> jax.Array:
        """Return the log e-value [N] against each member being the demonstrator: the mean over the predictors."""
        return jax.nn.logsumexp(state.log_e, axis=0) - jnp.log(_NUM_PREDICTORS)

    def raised(self, state: AlarmState, log_prior: jax.Array) -> jax.Array:
        """Return whether all members of positive prior weight [N] that speak are refuted at level delta: bool [].

        If none is refuted because all are silent, there is no alarm: no member said anything that could be wrong, and
        every step is a query anyway.
        """
        limit = -jnp.log(self.delta)
        possible = ~jnp.isneginf(log_prior)
        # A mean is at most the largest, and comes that far but seldom.
        evidence = where_asked(self.log_evidence)(jnp.max(state.log_e) >= limit - 1e-3, state)
        refuted = possible & (evidence >= limit)
        return jnp.any(refuted) & jnp.all(refuted | ~possible | (state.silent >= SILENCE))


def _add(total: jax.Array, gain: jax.Array) -> jax.Array:
    """Return a sum in which a lost bet (``-inf``) stays lost, also after a refutation (``inf``)."""
    return jnp.where(jnp.isneginf(total) | jnp.isneginf(gain), -jnp.inf, total + gain)
