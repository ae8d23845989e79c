"""What takes the time of a learning run: environment, demonstrator, training, and all the rest."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from consensus_imitation import ConsensusImitator, ensembles
from consensus_imitation.benchmarks.training import make_round
from consensus_imitation.demonstrators import Demonstrator
from consensus_imitation.experiments import run_gymnasium, tasks


class Shares(NamedTuple):
    """Seconds of one run.

    Attributes:
        total: of the loop.
        outside: of environment and demonstrator.
        training: arithmetic of the rounds of training: their number times the time of one.
    """

    total: float
    outside: float
    training: float

    @property
    def rest(self) -> float:
        """The rest: predictions, decisions, records and the loop itself."""
        return self.total - self.outside - self.training


class _Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start

        return call


class _Timed(Demonstrator):
    def __init__(self, own: Demonstrator, clock: _Clock) -> None:
        self._answer, self._reset, self._observe = (
            clock.timed(part) for part in (own.__call__, own.reset, own.observe)
        )

    def __call__(self, observation: Any) -> Any:
        return self._answer(observation)

    def reset(self) -> None:
        self._reset()

    def observe(self, action: int, who: Any) -> None:
        self._observe(action, who)


def time_run(num_steps: int = 600, num_members: int = 8, warm_up: int = 60) -> Shares:
    """Return a run on BabyAI's GoToRedBallGrey: environment, eight members, minimum, learning.

    Args:
        num_steps: that are timed.
        num_members: N.
        warm_up: steps before, in which everything is compiled.
    """
    task = tasks.make("gotoredballgrey")
    env, clock = task.make_env(seed=0), _Clock()
    members = ensembles.cnn(env.observation_space, env.action_space, num_members)
    imitator = ConsensusImitator(members, _Timed(task.make_demonstrator(env, 0), clock), seed=0)
    env.step, env.reset = clock.timed(env.step), clock.timed(env.reset)
    run_gymnasium(env, imitator, num_steps=warm_up, seed=0, progress=False)
    clock.seconds, answered = 0.0, imitator.num_queries
    start = time.perf_counter()
    run_gymnasium(env, imitator, num_steps=num_steps, seed=1, progress=False)
    total = time.perf_counter() - start
    every = members.training.every
    rounds = imitator.num_queries // every - answered // every
    one_round, learned = make_round(members), imitator.state.learned
    jax.block_until_ready(one_round(learned))
    start = time.perf_counter()
    for _ in range(5):
        jax.block_until_ready(one_round(learned))
    training = rounds * (time.perf_counter() - start) / 5
    env.close()
    return Shares(total, clock.seconds, training)
