"""A continuous task: imitate a noisy swing-up controller of Gymnasium's Pendulum-v1, with a deceiver in the ensemble.

The demonstrator pumps energy until the pendulum can reach the top, then balances it, with Gaussian noise on the
torque, clipped to the motor's range. One member equals it, six are imperfect controllers, and one is planted: it
equals the demonstrator until a chosen step, and from then on applies the opposite torque. Until that step no answer can
tell it from the truth. Hypothesis: acting on the most likely member alone follows the deceiver into failure; the
consensus asks at that moment, finds the deceiver out within a few answers, and goes on as well as the demonstrator.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.sampling.imitator import SamplingImitator
from consensus_imitation.sampling.learner import SamplingLearner
from consensus_imitation.sampling.parametric import Parametric, gaussian
from consensus_imitation.selection import AlphaThreshold, SelectionRule, TopK

#: Steps of one episode of Pendulum-v1.
EPISODE = 200

#: Index of the planted member, and of the one that equals the demonstrator.
DECEIVER, TRUTH = 0, 1

_LARGEST_TORQUE = 2.0
_NEVER = 2**30

#: The demonstrator's controller, and what is different in each imperfect one.
_TRUTH = {"pump": 0.2, "stiffness": 10.0, "damping": 3.0, "catch": 0.35, "scale": 1.0, "log_std": -1.6}
_IMPERFECT = (
    {"pump": 0.05},
    {"stiffness": 6.0, "damping": 1.0},
    {"catch": 0.15},
    {"log_std": -0.9},
    {"damping": 6.0},
    {"scale": 0.5},
)


def controllers(trigger: int) -> Parametric:
    """The ensemble: the deceiver, the truth and six imperfect controllers, with a uniform prior.

    Args:
        trigger: number of the step from which on the deceiver applies the opposite torque.

    Returns:
        Eight members over Pendulum-v1's observations (cosine, sine, angular velocity) and torques [1].
    """
    rows = [_TRUTH | {"trigger": trigger}] + [_TRUTH | change | {"trigger": _NEVER} for change in ({}, *_IMPERFECT)]
    params = {name: jnp.array([row[name] for row in rows]) for name in rows[0]}
    clock = jnp.zeros(len(rows), jnp.int32)
    return gaussian(_torque, params, -_LARGEST_TORQUE, _LARGEST_TORQUE, carry=clock, update=_tick)


def pendulum(
    seeds: Iterable[int],
    num_episodes: int = 10,
    trigger_episode: int = 5,
    selection: SelectionRule | None = None,
    contestants: Sequence[str] = ("demonstrator", "consensus", "most_likely"),
) -> list[dict[str, Any]]:
    """Run the task; one row per seed, contestant and episode.

    The contestants:

    * ``demonstrator``: answers every step itself.
    * ``consensus``: a `SamplingImitator`.
    * ``most_likely``: learns from the demonstrator for the whole first episode, then acts on the heaviest member alone
      and never asks. (Truth and deceiver tie; the tie goes to the deceiver.)

    Args:
        seeds: of the environment's initial states, the demonstrator's noise and the draws.
        num_episodes: of 200 steps each.
        trigger_episode: the episode, counted from 0, at whose beginning the deceiver turns.
        selection: the consensus' rule; ``AlphaThreshold(0.01)`` if None.
        contestants: which of the three to run.

    Returns:
        Rows with ``seed``, ``contestant``, ``episode``, ``triggered`` (whether the deceiver has turned), ``return``
        (sum of rewards), ``queries`` (steps on which the demonstrator was asked), ``query_rate``, and the posterior
        weights ``truth_weight`` and ``deceiver_weight`` at the episode's end (NaN for the demonstrator).

    Raises:
        ImportError: if Gymnasium is not installed.
        ValueError: for an unknown contestant.

    Example:
        >>> from consensus_imitation.sampling import pendulum
        >>> rows = pendulum(seeds=[0], num_episodes=1, trigger_episode=1, contestants=["consensus"])
        >>> rows[0]["return"] > -1000, rows[0]["query_rate"] < 0.5
        (True, True)
    """
    unknown = set(contestants) - {"demonstrator", "consensus", "most_likely"}
    if unknown:
        raise ValueError(f"unknown contestants {sorted(unknown)}; there are demonstrator, consensus and most_likely")
    rule = AlphaThreshold(0.01) if selection is None else selection
    ensemble = controllers(trigger_episode * EPISODE)
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        for contestant in contestants:
            run = _Run(seed, ensemble)
            act, imitator = _contestant(contestant, run, rule)
            for episode in range(num_episodes):
                queries_before, total = run.queries, run.episode(episode, act)
                weights = imitator().weights if imitator else np.full(ensemble.num_members, np.nan)
                rows.append(
                    {
                        "seed": seed,
                        "contestant": contestant,
                        "episode": episode,
                        "triggered": episode >= trigger_episode,
                        "return": total,
                        "queries": run.queries - queries_before,
                        "query_rate": (run.queries - queries_before) / EPISODE,
                        "truth_weight": float(weights[TRUTH]),
                        "deceiver_weight": float(weights[DECEIVER]),
                    }
                )
            run.env.close()
    return rows


class _Run:
    """One environment and its demonstrator, who counts how often it is asked."""

    def __init__(self, seed: int, ensemble: Parametric) -> None:
        try:
            import gymnasium
        except ImportError as error:
            raise ImportError(
                'the pendulum needs Gymnasium: pip install "consensus_imitation[gym]"', name="gymnasium"
            ) from error
        self.env = gymnasium.make("Pendulum-v1")
        self.ensemble = ensemble
        self.seed = seed
        self.queries = 0
        self._key = jax.random.key(seed + 1_000_000)

    def answer(self, observation: Any) -> np.ndarray:
        """The demonstrator's torque: a draw of the same density as the true member's, with its own key."""
        self.queries += 1
        return np.asarray(_answer(self.ensemble, observation, jax.random.fold_in(self._key, self.queries)))

    def episode(self, number: int, act: Callable[[Any], Any]) -> float:
        """Play one episode and return the sum of its rewards."""
        observation, _ = self.env.reset(seed=1000 * self.seed + number)
        total, over = 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = self.env.step(act(observation))
            total += float(reward)
            over = terminated or truncated
        return total


def _contestant(
    name: str, run: _Run, rule: SelectionRule
) -> tuple[Callable[[Any], Any], Callable[[], SamplingImitator] | None]:
    """How it acts, and the imitator whose weights to report."""
    if name == "demonstrator":
        return run.answer, None
    if name == "consensus":
        space = run.env.action_space
        imitator = SamplingImitator(run.ensemble, run.answer, action_space=space, selection=rule, seed=run.seed)
        return lambda observation: imitator.act(observation).action, lambda: imitator
    pupil = _Pupil(run)
    return pupil.act, lambda: pupil.imitator


class _Pupil:
    """Asks for one whole episode, then acts on the most likely member."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._learner = SamplingLearner(run.ensemble, TopK(1))
        state = self._learner.init(jax.random.key(run.seed))
        self.imitator = SamplingImitator.from_state(state, run.ensemble, selection=TopK(1))

    def act(self, observation: Any) -> Any:
        if self.imitator.num_steps >= EPISODE:
            return self.imitator.act(observation).action
        action = self._run.answer(observation)
        state = _learn(self._learner, self.imitator.state, observation, action)
        self.imitator = SamplingImitator.from_state(state, self._run.ensemble, selection=TopK(1))
        return action


def _torque(own: Any, step: jax.Array, observation: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and log standard deviation of the torque, each [1]."""
    cosine, sine, speed = observation
    # Gravity 10, mass and length 1: speed' = 15 sine + 3 torque, so this energy grows at the rate 3 torque * speed. At
    # rest at the top it is 15.
    energy = 0.5 * speed**2 + 15.0 * cosine
    balance = -(own["stiffness"] * sine + own["damping"] * speed)
    near_top = cosine > jnp.cos(own["catch"])
    torque = own["scale"] * jnp.where(near_top, balance, own["pump"] * (15.0 - energy) * speed)
    mean = jnp.clip(torque, -_LARGEST_TORQUE, _LARGEST_TORQUE) * jnp.where(step < own["trigger"], 1.0, -1.0)
    return mean[None], own["log_std"][None]


def _tick(own: Any, step: jax.Array, observation: Any, action: Any, queried: Any) -> jax.Array:
    del own, observation, action, queried
    return step + 1


@jax.jit
def _answer(ensemble: Parametric, observation: jax.Array, key: jax.Array) -> jax.Array:
    own = jax.tree.map(lambda leaf: leaf[TRUTH], ensemble.predict(ensemble.init_carry(), observation))
    return ensemble.distribution.sample(own, key)


@jax.jit
def _learn(learner: SamplingLearner, state: Any, observation: Any, action: Any) -> Any:
    decision = learner.decide(state, observation)
    return learner.observe(state, observation, decision._replace(queried=jnp.ones((), bool)), action)[0]
