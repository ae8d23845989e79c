"""Who meets the changed world: what kind of members, when they ask, and how they act."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core._tree import jit
from consensus_imitation.core.aggregation import PosteriorMixture, doubt
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.state import LearnerState
from consensus_imitation.ensembles import Ensemble
from consensus_imitation.ensembles.neural.encoding import Encoder
from consensus_imitation.experiments.members import knowingly, members_for
from consensus_imitation.experiments.shift.entropy import towards_uniform
from consensus_imitation.experiments.tasks import Task

#: The name of `entropy`'s weight among the settings.
_UNIFORM = "towards_uniform"
#: The training of each kind of members, as arguments of `ensembles.Training`; or the weight of `entropy`'s loss.
MEMBERS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "little caution": {"caution": 5.0},
    "local caution": {"local_caution": 0.05, "caution": 5.0},
    "prior functions": {"prior_scale": 3.0},
    "decorrelated": {"decorrelate": 3.0},
    "driven apart": {"disagree": 0.3},
    "minimum asks on noise": {"minimum_withholds": 0.3},
    "minimum explains": {"minimum_explains": 1.0},
    "towards uniform": {_UNIFORM: 1.0},
}
#: Members and scores that a task cannot have: with two actions nobody can be driven apart in pairs, and among views of
#: cells there is neither noise nor distance.
NOT_FOR: Mapping[str, tuple[str, ...]] = {
    "cartpole": ("driven apart",),
    "gotoredballgrey": ("local caution", "driven apart", "minimum asks on noise", "towards uniform", "distance"),
}
#: Kinds of which only the minimum is looked at.
_COMPARED = ("decorrelated", "driven apart", "minimum asks on noise", "minimum explains", "towards uniform")

#: Which neighbour the gate of nearest answers looks at.
_NEIGHBOUR = 5


class Contestant(NamedTuple):
    """When to ask and how to act.

    Attributes:
        members: one of `MEMBERS`.
        score: one of `SCORES`; it asks where the score exceeds a threshold.
        natural: asks with the minimum's own probability instead.
    """

    members: str
    score: str = "theta"
    natural: bool = False


CONTESTANTS: Mapping[str, Contestant] = {
    "minimum": Contestant("plain", natural=True),
    "minimum, little caution": Contestant("little caution", natural=True),
    "minimum, local caution": Contestant("local caution", natural=True),
    "minimum, prior functions": Contestant("prior functions", natural=True),
    "minimum at 10%": Contestant("plain"),
    "minimum, local caution at 10%": Contestant("local caution"),
    "minimum, prior functions at 10%": Contestant("prior functions"),
    "max-prob gate at 10%": Contestant("plain", "confidence"),
    "entropy gate at 10%": Contestant("plain", "entropy"),
    "variance gate at 10%": Contestant("plain", "variance"),
    "nearest-neighbour gate at 10%": Contestant("plain", "distance"),
    "mixture, random 10%": Contestant("plain", "random"),
    **{f"minimum, {kind}": Contestant(kind, natural=True) for kind in _COMPARED},
    **{f"minimum, {kind} at 10%": Contestant(kind) for kind in _COMPARED},
}


def contestants_of(task: str) -> tuple[str, ...]:
    """Return the names of the contestants that a task can have, in their order."""
    never = NOT_FOR.get(task, ())
    return tuple(name for name, one in CONTESTANTS.items() if one.members not in never and one.score not in never)


def make_members(task: Task, env: Any, kind: str, num_members: int) -> Ensemble:
    """Return members of a kind.

    Args:
        task: the task.
        env: one of its environments.
        kind: one of `MEMBERS`.
        num_members: N.
    """
    settings = MEMBERS[kind]
    if _UNIFORM in settings:
        return towards_uniform(env.observation_space, env.action_space, num_members, settings[_UNIFORM])
    with knowingly():
        return members_for(task, env, num_members, training=settings)(None)


class Judged(NamedTuple):
    """What members say of B observations.

    Attributes:
        laws: float32 [B, A], what the minimum does if it acts; and the mixture.
        scores: each float32 [B], by name.
    """

    minimum: np.ndarray
    mixture: np.ndarray
    scores: dict[str, np.ndarray]


class Panel:
    """Members that learn no more.

    Args:
        learner: members and rules.
        state: what they know, of one stream.
        answered: what they have answers for, as they see it: leaves [M, ...].
    """

    def __init__(self, learner: Learner, state: LearnerState, answered: Any) -> None:
        self._learner, self._state = learner, state
        self._encoder: Encoder = learner.ensemble.encoder
        known = self._features(answered)
        self._deviations = np.maximum(known.std(axis=0), 1e-3)
        self._answered = known / self._deviations

    def _features(self, seen: Any) -> np.ndarray:
        return np.asarray(jax.vmap(self._encoder.features)(seen))

    def judge(self, observations: Any, rng: np.random.Generator) -> Judged:
        """Judge B observations, as Gymnasium's vector environments give them."""
        state, seen = self._before(observations)
        minimum, mixture, scores = _judge(self._learner, state, seen)
        found = {name: np.asarray(score) for name, score in scores.items()}
        found["distance"] = self._distances(seen)
        found["random"] = rng.random(len(minimum))
        return Judged(np.asarray(minimum), np.asarray(mixture), found)

    def errors(self, observations: Any, actions: np.ndarray) -> np.ndarray:
        """Return one minus the probability that each member gives to an action, of what it does not withhold.

        Args:
            observations: B of them.
            actions: int [B].

        Returns:
            float64 [B, N].
        """
        logs = np.asarray(_laws(self._learner, *self._before(observations)), float)
        return -np.expm1(np.take_along_axis(logs, np.asarray(actions)[:, None, None], axis=-1)[..., 0])

    def _before(self, observations: Any) -> tuple[LearnerState, Any]:
        """Return the state with a stream for each observation, and these as members see them."""
        seen = self._encoder.batch(observations)
        rows = len(jax.tree.leaves(seen)[0])
        return self._state.replace(stream=self._learner.init_streams(jax.random.key(0), rows)), seen

    def _distances(self, seen: Any) -> np.ndarray:
        own = self._features(seen) / self._deviations
        squares = (own**2).sum(-1)[:, None] + (self._answered**2).sum(-1) - 2 * own @ self._answered.T
        place = min(_NEIGHBOUR, squares.shape[1]) - 1
        return np.sqrt(np.maximum(np.partition(squares, place, axis=1)[:, place], 0))


@jit
def _laws(learner: Learner, state: LearnerState, observations: Any) -> jax.Array:
    return jax.nn.log_softmax(learner.decide_batch(state, observations).log_probs)


@jit
def _judge(learner: Learner, state: LearnerState, observations: Any) -> tuple[jax.Array, jax.Array, dict[str, Any]]:
    decided = learner.decide_batch(state, observations)
    # Confidence, entropy and variance are of what members predict, and not of what they withhold.
    logs = jax.nn.log_softmax(decided.log_probs)
    everybody = jnp.ones(logs.shape[1], bool)
    mixture = jax.vmap(partial(PosteriorMixture(), log_weights=state.posterior.log_weights, selected=everybody))(logs)
    probs = mixture.probs / jnp.sum(mixture.probs, axis=-1, keepdims=True)
    mass = jnp.sum(decided.min_probs, axis=-1, keepdims=True)
    minimum = jnp.where(mass > 0, decided.min_probs / jnp.where(mass > 0, mass, 1.0), probs)
    entropy = -jnp.sum(jnp.where(probs > 0, probs * jnp.log(jnp.maximum(probs, 1e-30)), 0.0), axis=-1)
    scores = {
        "theta": decided.query_prob,
        "confidence": 1 - jnp.max(probs, axis=-1),
        "entropy": entropy,
        "variance": jax.vmap(doubt)(logs),
    }
    return minimum, probs, scores
