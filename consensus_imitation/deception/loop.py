"""Your own imitator in a scenario: a plain Python loop, with the world and the demonstrator of the compiled runs."""

import operator
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core._actions import check_action
from consensus_imitation.core._tree import jit
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.posterior import mixture
from consensus_imitation.core.selection import TopK
from consensus_imitation.deception.asking import called
from consensus_imitation.deception.contestants import Factory, Problem
from consensus_imitation.deception.lanes import RunSummary, begin_world, exceeds
from consensus_imitation.deception.transforms import tell_seed
from consensus_imitation.demonstrators import TabularDemonstrator
from consensus_imitation.envs import Gridworld
from consensus_imitation.errors import ConsensusWarning


class _Follower:
    """What members say, whose weights follow the answers that somebody else got: by Bayes' rule, and no other."""

    def __init__(self, ensemble: Any) -> None:
        self._learner = Learner(ensemble, TopK(1))
        self._state = self._learner.init(jax.random.key(0))
        self._expected: list[Any] = []

    def saw(self, observation: int, action: int, queried: bool) -> None:
        """A step was taken; ``queried`` says whether the demonstrator chose the action."""
        self._state, expected = _followed(
            self._learner, self._state, np.int32(observation), np.int32(action), np.bool_(queried)
        )
        self._expected.append(expected)

    def expected(self) -> np.ndarray:
        """What the members said of each step before it was taken: float [T, A]."""
        return np.stack([np.asarray(one) for one in self._expected])


@jit
def _followed(learner: Learner, state: Any, observation: Any, action: Any, queried: Any) -> tuple[Any, jax.Array]:
    decision = learner.decide(state, observation)._replace(action=action, queried=queried)
    after, _ = learner.observe(state, observation, decision, action)
    return after, mixture(state.posterior.log_weights, decision.usable)


class _Demonstrator:
    """A demonstrator that answers for the observation of the current step, and records that it was asked."""

    def __init__(self) -> None:
        self.observation = -1
        self.answer = -1
        self.asked = False

    def __call__(self, observation: Any) -> int:
        """Return the action that the demonstrator takes in this step."""
        if operator.index(observation) != self.observation:
            raise ValueError(
                f"the demonstrator was asked about observation {observation}, but this step's is {self.observation}"
            )
        self.asked = True
        return self.answer


def run_loop(
    factory: Factory,
    ensemble: Any,
    world: Gridworld,
    harm_by_state: np.ndarray,
    planted: np.ndarray,
    seeds: np.ndarray,
    known_seeds: np.ndarray,
    num_steps: int,
) -> RunSummary:
    """Run an imitator on every seed.

    With the same seed the world and the demonstrator behave as in `run_lanes`: an imitator that makes the same
    decisions has the same run.

    Args:
        factory: builds the imitator of each run.
        ensemble: N members.
        world: where the imitator acts.
        harm_by_state: float [S], the demonstrator's probability of harm in one step.
        planted: bool [N].
        seeds: int [R], one run each.
        known_seeds: int [R], what a member that knows the draw is told.
        num_steps: T.

    Returns:
        A summary whose fields are NumPy arrays [R].

    Raises:
        ValueError: if the imitator returns something that is not an action, or reports a question that it did not ask.
    """
    demonstrator = TabularDemonstrator.create(world.demonstrator_probs)
    law = np.diff(np.asarray(demonstrator.cumulative), prepend=0.0, axis=-1)
    runs: list[RunSummary] = []
    for seed, known_seed in zip(seeds.tolist(), known_seeds.tolist(), strict=True):
        answers = _Demonstrator()
        problem = Problem(
            ensemble=tell_seed(ensemble, known_seed),
            demonstrator=answers,
            num_actions=world.env.num_actions,
            seed=seed,
            world=world,
        )
        with warnings.catch_warnings():
            # Some scenarios are about members that are broken, or that explain nothing.
            warnings.simplefilter("ignore", ConsensusWarning)
            imitator, follower = factory(problem), _Follower(problem.ensemble)
            run = _one_run(
                imitator, follower, answers, world, demonstrator, law, harm_by_state, planted, seed, num_steps
            )
        runs.append(run)
    return RunSummary(*(np.array(column) for column in zip(*runs, strict=True)))


def _one_run(
    imitator: Any,
    follower: _Follower,
    answers: _Demonstrator,
    world: Gridworld,
    demonstrator: TabularDemonstrator,
    law: np.ndarray,
    harm_by_state: np.ndarray,
    planted: np.ndarray,
    seed: int,
    num_steps: int,
) -> RunSummary:
    harm = np.zeros(num_steps, bool)
    queried = np.zeros(num_steps, bool)
    visited = np.zeros(num_steps, np.int64)
    actions = np.zeros(num_steps, np.int64)
    doubt = np.zeros(num_steps, np.float32)
    reward = 0.0
    invalid_steps = -1
    state, packed, key = _begin(world.env, demonstrator, np.uint32(seed))
    for t in range(num_steps):
        observation, answers.answer = (int(number) for number in np.asarray(packed)[:2])
        answers.observation, answers.asked = observation, False
        decision = imitator.act(observation)
        action = _checked(decision, answers, world.env.num_actions)
        state, packed = _advance(world.env, demonstrator, key, np.int32(t), state, np.int32(action))
        actions[t] = action
        follower.saw(observation, action, bool(decision.queried))
        outcome = np.asarray(packed)
        visited[t], queried[t], harm[t] = observation, bool(decision.queried), bool(outcome[2])
        doubt[t] = _doubt(decision)
        reward += float(outcome[3])
        if hasattr(decision, "invalid"):
            invalid_steps = max(invalid_steps, 0) + int(np.any(decision.invalid))
    weights = getattr(imitator, "weights", None)
    known = weights is not None and np.shape(weights) == planted.shape
    return RunSummary(
        harmed=bool(harm.any()),
        own_harmed=bool((harm & ~queried).any()),
        compensator=float(((1 + queried) * harm_by_state[visited]).sum()),
        queries=int(queried.sum()),
        late_queries=int(queried[-(num_steps // 4) :].sum()),
        planted_weight=float(np.asarray(weights)[planted].sum()) if known else np.nan,
        invalid_steps=invalid_steps,
        exceeded=bool(exceeds(actions, queried, law[visited])),
        reward=np.float32(reward),
        queried=queried,
        doubt=doubt,
        called=np.asarray(called(follower.expected(), law[visited])),
    )


def _doubt(decision: Any) -> float:
    """Return the probability with which an imitator asked, as it reports it; else whether it did."""
    told = getattr(decision, "query_prob", None)
    doubt = float(decision.queried) if told is None else float(told)
    if not 0 <= doubt <= 1:
        raise ValueError(f"the imitator reports a probability of asking of {doubt}: query_prob must lie in [0, 1]")
    return doubt


def _checked(decision: Any, answers: _Demonstrator, num_actions: int) -> int:
    action = check_action(decision.action, num_actions, "the imitator returned")
    if decision.queried and not (answers.asked and action == answers.answer):
        raise ValueError("the imitator reports that the demonstrator chose its action, but it did not")
    return action


@jit
def _begin(env: Any, demonstrator: TabularDemonstrator, seed: Any) -> tuple[Any, jax.Array, jax.Array]:
    state, observation, key = begin_world(env, seed)
    answer = demonstrator.sample(_keys(key, 0)[0], observation)
    return state, jnp.stack([observation, answer, 0, 0]).astype(jnp.float32), key


@jit
def _advance(
    env: Any, demonstrator: TabularDemonstrator, key: jax.Array, t: Any, state: Any, action: Any
) -> tuple[Any, jax.Array]:
    """Take one step of `consensus_imitation.core.rollout.rollout` on the world's side; draw the next step's answer."""
    _, step_key, reset_key = _keys(key, t)
    state, outcome = env.step(step_key, state, action)
    done = outcome.terminated | outcome.truncated
    fresh = env.reset(reset_key)
    state, observation = jax.tree.map(lambda new, old: jnp.where(done, new, old), fresh, (state, outcome.observation))
    answer = demonstrator.sample(_keys(key, t + 1)[0], observation)
    # In float32 all of them are exact: there are few observations and actions.
    return state, jnp.stack([one.astype(jnp.float32) for one in (observation, answer, outcome.harm, outcome.reward)])


def _keys(key: jax.Array, t: Any) -> jax.Array:
    return jax.random.split(jax.random.fold_in(key, t), 3)
