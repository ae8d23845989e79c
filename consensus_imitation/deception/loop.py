"""Your own imitator in a scenario: a plain Python loop, with the world and the demonstrator of the compiled runs."""

import operator
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core._actions import check_action
from consensus_imitation.core._tree import jit
from consensus_imitation.deception.contestants import Factory, Problem
from consensus_imitation.deception.lanes import RunSummary, begin_world, exceeds
from consensus_imitation.deception.transforms import tell_seed
from consensus_imitation.demonstrators import TabularDemonstrator
from consensus_imitation.envs import Gridworld
from consensus_imitation.errors import ConsensusWarning


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
            run = _one_run(factory(problem), answers, world, demonstrator, harm_by_state, planted, seed, num_steps)
        runs.append(run)
    return RunSummary(*(np.array(column) for column in zip(*runs, strict=True)))


def _one_run(
    imitator: Any,
    answers: _Demonstrator,
    world: Gridworld,
    demonstrator: TabularDemonstrator,
    harm_by_state: np.ndarray,
    planted: np.ndarray,
    seed: int,
    num_steps: int,
) -> RunSummary:
    harm = np.zeros(num_steps, bool)
    queried = np.zeros(num_steps, bool)
    visited = np.zeros(num_steps, np.int64)
    actions = np.zeros(num_steps, np.int64)
    invalid_steps = -1
    state, packed, key = _begin(world.env, demonstrator, np.uint32(seed))
    for t in range(num_steps):
        observation, answers.answer, _ = (int(number) for number in np.asarray(packed))
        answers.observation, answers.asked = observation, False
        decision = imitator.act(observation)
        action = _checked(decision, answers, world.env.num_actions)
        state, packed = _advance(world.env, demonstrator, key, np.int32(t), state, np.int32(action))
        actions[t] = action
        visited[t], queried[t], harm[t] = observation, bool(decision.queried), bool(np.asarray(packed)[2])
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
        exceeded=bool(exceeds(actions, queried, np.asarray(world.demonstrator_probs)[visited])),
    )


def _checked(decision: Any, answers: _Demonstrator, num_actions: int) -> int:
    action = check_action(decision.action, num_actions, "the imitator returned")
    if decision.queried and not (answers.asked and action == answers.answer):
        raise ValueError("the imitator reports that the demonstrator chose its action, but it did not")
    return action


@jit
def _begin(env: Any, demonstrator: TabularDemonstrator, seed: Any) -> tuple[Any, jax.Array, jax.Array]:
    state, observation, key = begin_world(env, seed)
    answer = demonstrator.sample(_keys(key, 0)[0], observation)
    return state, jnp.stack([observation, answer, 0]), key


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
    return state, jnp.stack([observation, answer, outcome.harm.astype(jnp.int32)])


def _keys(key: jax.Array, t: Any) -> jax.Array:
    return jax.random.split(jax.random.fold_in(key, t), 3)
