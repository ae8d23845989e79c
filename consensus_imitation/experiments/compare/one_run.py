"""One method on one task: it learns until its answers are spent, then continues alone; evaluated on the way."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from consensus_imitation.experiments.compare.config import CompareConfig
from consensus_imitation.experiments.curves import edges
from consensus_imitation.experiments.members import members_for
from consensus_imitation.experiments.methods import Apprentice, CountedDemonstrator, Setup, make_method
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.tasks import EpisodeOutcome, Task, evaluate

#: A callback with the number of steps since its last call.
Advance = Callable[[int], None]

COLUMNS = (
    *("task", "method", "seed", "answers", "steps", "episodes", "failures", "harms"),
    *("deployed_steps", "deployed_episodes", "deployed_failures", "deployed_harms"),
    *("success", "harm", "mean_return", "query_rate", "log_loss", "seconds", "final"),
)
CURVE_COLUMNS = ("task", "method", "seed", "step", "answers", "spent")


#: A run reports its progress a hundred times, or more often: after so many steps at most.
MOST_STEPS_UNTOLD = 1000


def run_method(
    task: Task, config: CompareConfig, method: str, seed: int, advance: Advance = lambda _: None
) -> tuple[list[Row], list[Row]]:
    """Let one method learn and act.

    The evaluations come as soon as the method has had a further share of its answers, and once more at the end. If the
    answers run out in the middle of an episode, it counts as one of learning.

    Args:
        task: what it learns.
        config: of the comparison.
        method: by its name.
        seed: number of the run, from 0.
        advance: called with the number of steps since the last call, at every hundredth of the run or more often.

    Returns:
        Rows with `COLUMNS`, the last with ``final`` True, and rows with `CURVE_COLUMNS`. ``episodes``, ``failures``
        (not solved) and ``harms`` (unsafe) count while learning, the ``deployed_`` ones afterwards; ``success``,
        ``harm`` and ``mean_return`` are the evaluation's; ``query_rate`` and ``log_loss`` (nats per answer, predicted
        before learning from it) are since the row before; ``seconds`` leave out the evaluations.
    """
    env = task.make_env()
    try:
        return _Run(task, config, method, seed, env).play(advance)
    finally:
        env.close()


class _Run:
    def __init__(self, task: Task, config: CompareConfig, method: str, seed: int, env: Any) -> None:
        self._task, self._config, self._env = task, config, env
        self._label: Row = {"task": task.name, "method": method, "seed": seed}
        # The same for every method, so that run s of all of them can be compared.
        env_seed, demonstrator_seed, method_seed = (
            int(word) for word in np.random.SeedSequence((config.seed, seed)).generate_state(3)
        )
        self._env_seed = env_seed
        self._demonstrator = CountedDemonstrator(task.make_demonstrator(env, demonstrator_seed), config.queries)
        make_ensemble = members_for(task, env, config.num_members, config.network, config.training)
        setup = Setup(make_ensemble, self._demonstrator, config.num_steps, method_seed)
        self._method: Apprentice = make_method(method, setup)
        self._steps = self._deployed_steps = 0
        self._learning: list[EpisodeOutcome] = []
        self._deployed: list[EpisodeOutcome] = []
        self._rows: list[Row] = []
        self._curve: list[Row] = []
        self._seconds = 0.0
        self._evaluated_at = -1
        self._evaluation: dict[str, float] = {}

    def play(self, advance: Advance) -> tuple[list[Row], list[Row]]:
        """Run to the horizon."""
        config, demonstrator, method = self._config, self._demonstrator, self._method
        rungs = [-(-config.queries * i // config.evaluations) for i in range(1, config.evaluations + 1)]
        points, told = edges(config.num_steps), 0
        began = time.perf_counter()
        observation, _ = self._env.reset(seed=self._env_seed)
        method.begin_episode()
        tracker, learning, begins, deployed_policy = self._task.track(), True, True, None
        while self._steps < config.num_steps:
            if demonstrator.spent:
                if deployed_policy is None:
                    deployed_policy, begins = method.policy(), True
                certain = self._task.deterministic
                action = deployed_policy.predict(observation, episode_start=begins, deterministic=certain)[0]
                self._deployed_steps += 1
            else:
                action = method.act(observation)
            observation, reward, terminated, truncated, info = self._env.step(action)
            self._steps += 1
            tracker, begins = tracker.after(float(reward), terminated, truncated, info), False
            if tracker.outcome is not None:
                (self._learning if learning else self._deployed).append(tracker.outcome)
                observation, _ = self._env.reset()
                tracker, begins, learning = self._task.track(), True, not demonstrator.spent
                if learning:
                    method.begin_episode()
            if self._steps - told >= min(config.num_steps / 100, MOST_STEPS_UNTOLD) or self._steps == config.num_steps:
                advance(self._steps - told)
                told = self._steps
            if self._steps == points[0]:
                self._point(points.pop(0))
            if rungs and demonstrator.answers >= rungs[0]:
                while rungs and demonstrator.answers >= rungs[0]:
                    rungs.pop(0)
                self._seconds += time.perf_counter() - began
                self._row(final=False)
                began = time.perf_counter()
        self._seconds += time.perf_counter() - began
        self._row(final=True)
        return self._rows, self._curve

    def _point(self, step: int) -> None:
        demonstrator = self._demonstrator
        self._curve.append({**self._label, "step": step, "answers": demonstrator.answers, "spent": demonstrator.spent})

    def _row(self, final: bool) -> None:
        answers, losses = self._demonstrator.answers, self._method.log_losses
        before: Row = self._rows[-1] if self._rows else {"answers": 0, "steps": 0}
        new_losses = losses[before["answers"] :]
        if self._evaluated_at != answers:
            # Without further answers nothing is learned, and the same episodes would go the same way.
            self._evaluated_at, self._evaluation = answers, self._evaluate()
        new_steps = self._steps - before["steps"]
        self._rows.append(
            {
                **self._label,
                "answers": answers,
                "steps": self._steps,
                **_counts("", self._learning),
                "deployed_steps": self._deployed_steps,
                **_counts("deployed_", self._deployed),
                **self._evaluation,
                "query_rate": (answers - before["answers"]) / new_steps if new_steps else None,
                "log_loss": float(np.mean(new_losses)) if new_losses else None,
                "seconds": self._seconds,
                "final": final,
            }
        )

    def _evaluate(self) -> dict[str, float]:
        policy = self._method.policy(num_envs=self._config.episodes)
        outcomes = evaluate(
            self._task,
            lambda observations: policy.predict(observations, deterministic=self._task.deterministic)[0],
            self._config.episodes,
            # Not the run's own episodes; the same for all methods and runs.
            self._config.seed + 1_000_003,
        )
        return {
            "success": float(np.mean([outcome.success for outcome in outcomes])),
            "harm": float(np.mean([outcome.harm for outcome in outcomes])),
            "mean_return": float(np.mean([outcome.episode_return for outcome in outcomes])),
        }


def _counts(prefix: str, outcomes: list[EpisodeOutcome]) -> dict[str, int]:
    return {
        f"{prefix}episodes": len(outcomes),
        f"{prefix}failures": sum(not outcome.success for outcome in outcomes),
        f"{prefix}harms": sum(outcome.harm for outcome in outcomes),
    }
