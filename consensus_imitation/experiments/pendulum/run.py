"""A continuous task: imitate a noisy swing-up controller of Gymnasium's Pendulum-v1, with a deceiver in the ensemble.

The demonstrator pumps energy until the pendulum can reach the top, then balances it, with Gaussian noise on the torque,
clipped to the motor's range. One member equals it, six are imperfect controllers, and one is planted: it equals the
demonstrator until a chosen step, and then applies the opposite torque. Until that step no answer can tell it from the
truth. Hypothesis: an imitator that acts on the most likely member alone follows the deceiver into failure. The
consensus asks at that moment, exposes the deceiver within a few answers, and continues as well as the demonstrator.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core.sampling_learner import SamplingLearner
from consensus_imitation.core.selection import AlphaThreshold, SelectionRule, TopK
from consensus_imitation.ensembles.any_action.parametric import Parametric, gaussian
from consensus_imitation.experiments.ledger import Ledger, Progress, identity
from consensus_imitation.experiments.pendulum.config import PendulumConfig
from consensus_imitation.experiments.results import Row
from consensus_imitation.imitator.kernels import make_key
from consensus_imitation.imitator.sampling import SamplingImitator

COLUMNS = (
    *("seed", "contestant", "episode", "triggered", "return", "queries", "query_rate"),
    *("truth_weight", "deceiver_weight"),
)

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
    """Return the ensemble: the deceiver, the truth and six imperfect controllers, with a uniform prior.

    Args:
        trigger: number of the first step on which the deceiver applies the opposite torque.

    Returns:
        Eight members over Pendulum-v1's observations (cosine, sine, angular velocity) and torques [1].
    """
    rows = [_TRUTH | {"trigger": trigger}] + [_TRUTH | change | {"trigger": _NEVER} for change in ({}, *_IMPERFECT)]
    params = {name: jnp.array([row[name] for row in rows]) for name in rows[0]}
    clock = jnp.zeros(len(rows), jnp.int32)
    return gaussian(_torque, params, -_LARGEST_TORQUE, _LARGEST_TORQUE, carry=clock, update=_tick)


def run(
    config: PendulumConfig, out: Path | None = None, progress: Progress | None = None, overwrite: bool = False
) -> list[Row]:
    """Run the task; one row per seed, contestant and episode.

    The contestants:

    * ``demonstrator``: answers every step itself.
    * ``consensus``: a `SamplingImitator`.
    * ``most_likely``: learns from the demonstrator for the whole first episode, then acts on the heaviest member alone
      and never asks. (Truth and deceiver tie; the tie goes to the deceiver.)

    With ``out``, ``pendulum.csv`` grows with every run that ends. An interrupted experiment continues with the missing
    runs, and you can add seeds or contestants.

    Args:
        config: what to run.
        out: directory for the results, made if necessary; None to keep them in memory only.
        progress: called as ``progress(done, total)``, in runs.
        overwrite: replace results of another configuration in ``out``.

    Returns:
        Rows with `COLUMNS`: ``triggered`` (whether the deceiver has turned), ``return`` (sum of rewards), ``queries``
        (steps on which the demonstrator was asked), ``query_rate``, and the posterior weights ``truth_weight`` and
        ``deceiver_weight`` at the episode's end (NaN for the demonstrator).

    Raises:
        ImportError: if Gymnasium is not installed.
        ValueError: for an ``out`` that holds other results.

    Example:
        >>> from consensus_imitation.experiments import PendulumConfig, run_pendulum
        >>> config = PendulumConfig(num_seeds=1, num_episodes=1, trigger_episode=1, contestants=("consensus",))
        >>> rows = run_pendulum(config)
        >>> rows[0]["return"] > -1000, rows[0]["query_rate"] < 0.5
        (True, True)
    """
    # You can add runs of other contestants and more seeds.
    about = identity("pendulum", config, grows=("num_seeds", "contestants"))
    ledger = Ledger(out, about, overwrite, {"pendulum": COLUMNS}, _part)
    wanted = [(config.seed + i, name) for i in range(config.num_seeds) for name in config.contestants]
    for seed, contestant in ledger.missing(wanted, progress):
        ledger.add(_episodes(config, seed, contestant))
    (rows,) = ledger.rows(wanted)
    return rows


def _part(row: Row) -> tuple[int, str]:
    """Return which run a row belongs to."""
    return row["seed"], row["contestant"]


def _episodes(config: PendulumConfig, seed: int, contestant: str) -> list[Row]:
    ensemble = controllers(config.trigger_episode * EPISODE)
    rows: list[Row] = []
    run = _Run(seed, ensemble)
    act, imitator = _contestant(contestant, run, _rule(config))
    for episode in range(config.num_episodes):
        queries_before, total = run.queries, run.episode(episode, act)
        weights = imitator().weights if imitator else np.full(ensemble.num_members, np.nan)
        rows.append(
            {
                "seed": seed,
                "contestant": contestant,
                "episode": episode,
                "triggered": episode >= config.trigger_episode,
                "return": total,
                "queries": run.queries - queries_before,
                "query_rate": (run.queries - queries_before) / EPISODE,
                "truth_weight": float(weights[TRUTH]),
                "deceiver_weight": float(weights[DECEIVER]),
            }
        )
    run.env.close()
    return rows


def _rule(config: PendulumConfig) -> SelectionRule:
    top = None if config.k is None else TopK(config.k)
    alpha = None if config.alpha is None else AlphaThreshold(config.alpha)
    if top is not None and alpha is not None:
        return top | alpha
    rule = alpha if top is None else top
    assert rule is not None
    return rule


class _Run:
    """One environment and its demonstrator, which counts the questions."""

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
        self._key = jax.random.fold_in(make_key(seed), 2**31)

    def answer(self, observation: Any) -> np.ndarray:
        """Return the demonstrator's torque: a draw of the same density as the true member's, with its own key."""
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
    """Return how it acts, and the imitator whose weights to report."""
    if name == "demonstrator":
        return run.answer, None
    if name == "consensus":
        space = run.env.action_space
        imitator = SamplingImitator(run.ensemble, run.answer, action_space=space, selection=rule, seed=run.seed)
        return lambda observation: imitator.act(observation).action, lambda: imitator
    pupil = _Pupil(run)
    return pupil.act, lambda: pupil.imitator


class _Pupil:
    """A way that asks for one whole episode, then acts on the most likely member."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._learner = SamplingLearner(run.ensemble, TopK(1))
        self._state = self._learner.init(make_key(run.seed))
        self.imitator = self._taught()

    def act(self, observation: Any) -> Any:
        if self.imitator.num_steps >= EPISODE:
            return self.imitator.act(observation).action
        action = self._run.answer(observation)
        self._state = _learn(self._learner, self._state, observation, action)
        if int(self._state.stream.step) == EPISODE:
            self.imitator = self._taught()
        return action

    def _taught(self) -> SamplingImitator:
        return SamplingImitator.from_state(self._state, self._run.ensemble, selection=TopK(1))


def _torque(own: Any, step: jax.Array, observation: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the mean and log standard deviation of the torque, each [1]."""
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
