"""The loop around an imitator in a Gymnasium environment: records, evaluations, checkpoints, progress."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from consensus_imitation.experiments.progress import show_progress
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.tasks.evaluation import episode_seeds
from consensus_imitation.experiments.tasks.evaluation import evaluate as evaluate_on_task
from consensus_imitation.experiments.tasks.lanes import Lanes, Step, check_actions
from consensus_imitation.experiments.tasks.outcome import EpisodeOutcome, EpisodeTracker, Rules
from consensus_imitation.experiments.tasks.records import STEP_COLUMNS, Records, open_records, open_writer
from consensus_imitation.experiments.tasks.task import Task
from consensus_imitation.imitator import ConsensusImitator, Decision
from consensus_imitation.imitator._teaching import on_disk
from consensus_imitation.journal.checkpoint import save_checkpoint

#: Number of steps for the displayed query rate.
RECENT = 1000
#: Seconds between two updates of the progress bar, and between two flushes of the records.
REFRESH = 0.25

#: Steps of an episode that is evaluated, where neither task nor environment has a limit.
EVALUATION_STEPS = 10_000

#: Called after each step with its row of ``steps.csv``, and the decision.
OnStep = Callable[[Row, Decision], None]

#: The rules for episodes without a task: only the return is known.
_NO_JUDGE = Rules(solved=lambda _: False)


@dataclass
class GymnasiumRun:
    """The results of a run.

    Attributes:
        steps: steps of each environment.
        answers: queries that the demonstrator answered.
        episodes: rows with `EPISODE_COLUMNS`; ``success`` and ``harm`` are None without a task.
        evaluations: rows with `EVALUATION_COLUMNS`; ``success`` and ``harm`` are shares of the episodes.
        interrupted: whether Ctrl-C ended it.
    """

    steps: int = 0
    answers: int = 0
    episodes: list[Row] = field(default_factory=list)
    evaluations: list[Row] = field(default_factory=list)
    interrupted: bool = False


def run_gymnasium(
    env: Any,
    imitator: ConsensusImitator,
    *,
    num_steps: int,
    max_answers: int | None = None,
    task: Task | None = None,
    evaluate: Any = None,
    evaluate_every: int | None = None,
    evaluation_episodes: int = 20,
    evaluation_steps: int | None = None,
    seed: int = 0,
    out: Path | None = None,
    checkpoint_every: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    tensorboard: bool = False,
    on_step: OnStep | None = None,
    action_mask: Any = None,
) -> GymnasiumRun:
    """Let an imitator act, ask and learn in a Gymnasium environment, single or vector.

    The imitator asks its own demonstrator. Ctrl-C ends the run early: what is written is whole, and the function
    returns what was done.

    Where the environment says in ``info["action_mask"]`` what is legal, nothing else is done; see ``action_mask``.

    Args:
        env: a ``gymnasium.Env``, or a ``gymnasium.vector.VectorEnv`` (any autoreset mode) for an imitator with as many
            ``num_envs``. The loop resets it with ``seed``, and does not close it.
        imitator: with a demonstrator.
        num_steps: T, at least 1: steps of each environment, including those of an earlier part of a resumed run.
        max_answers: end when the demonstrator has answered so often; None for no limit. The run never exceeds it: with
            B environments up to B - 1 answers may remain.
        task: what counts as success and as harm, from `experiments.tasks`; None if nothing does.
        evaluate: a second environment, for evaluation; not needed with a task, which makes its own.
        evaluate_every: steps between evaluations (and one at the end); None for none.
        evaluation_episodes: number of episodes of each evaluation, the same ones each time, played by
            ``imitator.policy()``.
        evaluation_steps: an episode of ``evaluate`` that does not end is cut off after so many steps, with a
            `ConsensusWarning`; None for the task's ``max_episode_steps``, or else the limit that the environment's
            ``spec`` names, or else 10,000.
        seed: of the environments. The imitator's draws have a separate seed.
        out: directory for ``steps.csv``, ``episodes.csv``, ``evaluations.csv`` and ``checkpoint.msgpack``; None to
            write nothing.
        checkpoint_every: steps between checkpoints (and one at the end); None for none. The state of an imitator with
            a journal is in the journal: only the tables are flushed then.
        resume: continue from the checkpoint in ``out``, if there is one, with an imitator constructed as it was then;
            or, with an imitator that `ConsensusImitator.resume` made from its journal, from where that ended. An
            environment cannot be saved: its episodes begin again, seeded by ``seed`` and the step.
        overwrite: replace the results in ``out``.
        progress: whether to show a bar on standard error, with query rate and last return.
        tensorboard: whether to write event files to ``out/tensorboard``.
        on_step: called after each step of each environment with its row of ``steps.csv`` and the decision.
        action_mask: a function of the environment that says what is legal, for one that does not say it in
            ``info["action_mask"]``: bool [A], or [B, A] of a vector environment. For sb3-contrib's convention
            ``lambda env: env.unwrapped.action_masks()``. (PettingZoo's: `experiments.tasks.masks.MaskInInfo`.)

    Returns:
        The `GymnasiumRun`.

    Raises:
        ImportError: without Gymnasium, or without tensorboardX if ``tensorboard``; the message names the extra.
        ValueError: if an argument is out of range, environment and imitator do not fit each other (for example they
            differ in their actions, or a vector environment does not state how it resets), or ``out`` holds other
            results.

    Example:
        >>> import gymnasium
        >>> from consensus_imitation import ConsensusImitator, ensembles
        >>> from consensus_imitation.experiments import run_gymnasium
        >>> env = gymnasium.make("CartPole-v1")
        >>> imitator = ConsensusImitator(
        ...     ensembles.mlp(env.observation_space, env.action_space, num_members=2),
        ...     demonstrator=lambda observation: int(observation[2] + observation[3] > 0),
        ...     seed=0,
        ... )
        >>> run = run_gymnasium(env, imitator, num_steps=50, progress=False)
        >>> run.steps, run.answers == imitator.num_queries
        (50, True)
    """
    _check(
        *(num_steps, max_answers, task, evaluate, evaluate_every, evaluation_episodes, evaluation_steps),
        *(seed, out, checkpoint_every),
    )
    if (tensorboard or resume) and out is None:
        raise ValueError("tensorboard and resume need out=, the directory of the run")
    if resume and overwrite:
        raise ValueError("resume continues what is in out, overwrite replaces it: choose one")
    lanes = Lanes(env, imitator, action_mask)
    _check_evaluation(evaluate, task if evaluate_every is not None else None, env, imitator)
    with ExitStack() as stack:
        records = open_records(out, imitator, lanes.size, seed, resume, overwrite, stack)
        run = _Run(imitator, lanes, records, task, on_step)
        run.done.steps, run.done.answers = records.step, imitator.num_queries
        run.writer = open_writer(out, stack) if tensorboard and out is not None else None
        show = stack.enter_context(show_progress())(run.said) if progress else None
        judge = _evaluator(imitator, task, evaluate, evaluation_episodes, evaluation_steps, seed, action_mask)
        try:
            run.begin(seed if records.step == 0 else episode_seeds(seed, records.step + 1)[-1])
            next_look = time.perf_counter()
            while run.done.steps < num_steps and _affordable(imitator, max_answers, lanes.size):
                run.step()
                if evaluate_every is not None and run.done.steps % evaluate_every == 0:
                    run.evaluated(judge())
                if checkpoint_every is not None and run.done.steps % checkpoint_every == 0:
                    run.save()
                if time.perf_counter() >= next_look:
                    next_look = time.perf_counter() + REFRESH
                    records.flush()
                    if show is not None:
                        show(run.done.steps, num_steps)
            if evaluate_every is not None and not run.is_evaluated:
                run.evaluated(judge())
        except KeyboardInterrupt:
            run.done.interrupted = True
        if checkpoint_every is not None:
            run.save()
        if show is not None:
            show(run.done.steps, num_steps)
    return run.done


class _Run:
    """A run in progress."""

    def __init__(
        self,
        imitator: ConsensusImitator,
        lanes: Lanes,
        records: Records,
        task: Task | None,
        on_step: OnStep | None,
    ) -> None:
        self.done = GymnasiumRun()
        self._on_step = on_step
        self.writer: Any = None
        self.last_return: float | None = None
        self._imitator, self._lanes, self._records = imitator, lanes, records
        self._rules, self._judged = (_NO_JUDGE, False) if task is None else (task.rules, True)
        logs = records.logs
        self.done.episodes = list(logs["episodes"].kept) if logs else []
        self.done.evaluations = list(logs["evaluations"].kept) if logs else []
        self._next_episode = records.episodes
        self._trackers: list[EpisodeTracker] = []
        self._episodes: list[int] = []
        self._asked = [0] * lanes.size
        self._recent: deque[int] = deque(maxlen=RECENT)

    @property
    def recent_rate(self) -> float:
        """Share of the recent steps on which the imitator asked."""
        return sum(self._recent) / max(1, len(self._recent))

    def said(self) -> str:
        """Return what is shown beside the number of steps."""
        last = "" if self.last_return is None else f", last return {self.last_return:.4g}"
        return f"asks {100 * self.recent_rate:.1f}% ({self.done.answers} answers){last}"

    @property
    def is_evaluated(self) -> bool:
        """Whether an evaluation covers all learning so far, perhaps by an earlier part of the run."""
        return bool(self.done.evaluations) and self.done.evaluations[-1]["step"] == self.done.steps

    def begin(self, seed: int) -> None:
        self._lanes.reset(seed)
        self._imitator.begin_episode()
        size = self._lanes.size
        self._trackers = [EpisodeTracker(self._rules)] * size
        self._episodes = [self._number() for _ in range(size)]

    def step(self) -> None:
        """Decide once for every lane, and carry out the consequences."""
        lanes = self._lanes
        active = lanes.active
        rows = None if lanes.all_active else active
        decision = self._imitator.act(lanes.observation, rows, action_mask=lanes.mask)
        # Its own copy: an environment may clip its actions in place.
        outcome = lanes.step(decision.action if lanes.single else decision.action.copy())
        # It is worked out of all predictions: once for all lanes, and only if somebody reads it.
        withheld = decision.withheld if self._records.logs or self._on_step is not None else None
        for lane in range(lanes.size):
            if active[lane]:
                self._record(lane, decision, outcome, withheld)
        for lane in outcome.begun:
            self._imitator.begin_episode(None if lanes.single else lane)
            self._trackers[lane] = EpisodeTracker(self._rules)
            self._episodes[lane], self._asked[lane] = self._number(), 0
        self.done.steps += 1
        self.done.answers = self._imitator.num_queries

    def evaluated(self, outcomes: tuple[EpisodeOutcome, ...]) -> None:
        row = {
            "step": self.done.steps,
            "answers": self.done.answers,
            "episodes": len(outcomes),
            "mean_return": float(np.mean([outcome.episode_return for outcome in outcomes])),
            "mean_length": float(np.mean([outcome.length for outcome in outcomes])),
            "success": float(np.mean([outcome.success for outcome in outcomes])) if self._judged else None,
            "harm": float(np.mean([outcome.harm for outcome in outcomes])) if self._judged else None,
        }
        self.done.evaluations.append(row)
        self._records.append("evaluations", row)
        self._events("evaluation", row, ("mean_return", "mean_length", "success", "harm"))

    def save(self) -> None:
        """Write a checkpoint, after the rows that belong to it."""
        self._records.flush()
        if self._records.checkpoint is not None:
            header = {"step": self.done.steps, "episodes": self._next_episode}
            save_checkpoint(self._records.checkpoint, on_disk(self._imitator.state), header)

    def _number(self) -> int:
        self._next_episode += 1
        return self._next_episode - 1

    def _record(self, lane: int, decision: Decision, outcome: Step, withheld: Any) -> None:
        single = self._lanes.single
        action, queried, query_prob = (
            part if single else part[lane].item() for part in (decision.action, decision.queried, decision.query_prob)
        )
        reward, terminated, truncated = (
            part[lane].item() for part in (outcome.reward, outcome.terminated, outcome.truncated)
        )
        self._recent.append(queried)
        self._asked[lane] += queried
        info = None if self._rules.unsafe_info is None else self._lanes.info(outcome, lane)
        before = self._trackers[lane]
        self._trackers[lane] = tracker = before.after(reward, terminated, truncated, info)
        if withheld is not None:
            values = (
                *(self.done.steps, lane, self._episodes[lane], action, queried, query_prob),
                *(reward, terminated, truncated, withheld if single else withheld[lane].item()),
                self._harm(before, tracker),
            )
            row = dict(zip(STEP_COLUMNS, values, strict=True))
            self._records.append("steps", row)
            if self._on_step is not None:
                self._on_step(row, decision)
        if tracker.outcome is not None:
            self._episode_over(lane, tracker.outcome, terminated, truncated)

    def _harm(self, before: EpisodeTracker, after: EpisodeTracker) -> bool | None:
        """Return whether the step made its episode one that counts as harm; None without a task."""
        if not self._judged:
            return None
        if not self._rules.knows_unsafe_steps:
            return after.outcome is not None and after.outcome.harm
        return after.unsafe and not before.unsafe

    def _episode_over(self, lane: int, outcome: EpisodeOutcome, terminated: bool, truncated: bool) -> None:
        row = {
            "episode": self._episodes[lane],
            "env": lane,
            "step": self.done.steps,
            "length": outcome.length,
            "return": outcome.episode_return,
            "queries": self._asked[lane],
            "terminated": terminated,
            "truncated": truncated,
            "success": outcome.success if self._judged else None,
            "harm": outcome.harm if self._judged else None,
        }
        self.last_return = outcome.episode_return
        self.done.episodes.append(row)
        self._records.append("episodes", row)
        self._events("episode", {**row, "query_rate": self.recent_rate}, ("return", "length", "queries", "query_rate"))

    def _events(self, group: str, row: Row, names: tuple[str, ...]) -> None:
        if self.writer is not None:
            for name in names:
                if row[name] is not None:
                    self.writer.add_scalar(f"{group}/{name}", row[name], self.done.steps)


def _check(
    num_steps: int,
    max_answers: int | None,
    task: Task | None,
    evaluate: Any,
    evaluate_every: int | None,
    evaluation_episodes: int,
    evaluation_steps: int | None,
    seed: int,
    out: Path | None,
    checkpoint_every: int | None,
) -> None:
    counts = {
        "num_steps": num_steps,
        "max_answers": max_answers,
        "evaluate_every": evaluate_every,
        "evaluation_episodes": evaluation_episodes,
        "evaluation_steps": evaluation_steps,
        "checkpoint_every": checkpoint_every,
    }
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
        if value is not None and value % 1 != 0:
            raise ValueError(f"{name} must be an integer, got {value}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    if checkpoint_every is not None and out is None:
        raise ValueError("checkpoints need out=, the directory that they are written to")
    if evaluate_every is not None and task is None and evaluate is None:
        raise ValueError("evaluation needs a separate environment: pass evaluate= or task=")


def _check_evaluation(evaluate: Any, task: Task | None, env: Any, imitator: ConsensusImitator) -> None:
    """Refuse an unsuitable environment for evaluation before the first step, and not after all the learning."""
    if evaluate is None:
        if task is not None:
            own = task.make_env()
            try:
                check_actions(own, imitator.num_actions)
            finally:
                own.close()
        return
    if evaluate is env:
        raise ValueError("evaluation would disturb the run: pass evaluate= a separate environment")
    if getattr(evaluate, "num_envs", None) is not None:
        raise ValueError(
            "evaluation plays one episode after another: pass evaluate= a single environment, not a vector"
        )
    check_actions(evaluate, imitator.num_actions)


def _affordable(imitator: ConsensusImitator, max_answers: int | None, size: int) -> bool:
    return max_answers is None or imitator.num_queries + size <= max_answers


def _evaluator(
    imitator: ConsensusImitator,
    task: Task | None,
    env: Any,
    episodes: int,
    steps: int | None,
    seed: int,
    action_mask: Any,
) -> Any:
    """Return a function that evaluates the learned policy, on the same episodes each time."""
    # Not the episodes of the learning.
    own = episode_seeds(seed, 1)[0]
    if env is None and task is not None:

        def on_task() -> tuple[EpisodeOutcome, ...]:
            policy = imitator.policy(num_envs=episodes)
            certain = task.deterministic

            def predict(seen: Any, action_masks: Any = None) -> Any:
                return policy.predict(seen, deterministic=certain, action_masks=action_masks)[0]

            return evaluate_on_task(task, predict, episodes, own, action_mask)

        return on_task
    # Only now: an environment was given, so that Gymnasium is there.
    from consensus_imitation.experiments.tasks.masks import Masks

    rules, certain = (_NO_JUDGE, True) if task is None else (task.rules, task.deterministic)

    def in_env() -> tuple[EpisodeOutcome, ...]:
        policy = imitator.policy()
        trackers = [EpisodeTracker(rules, steps or _limit(task, env))] * episodes
        seeds = episode_seeds(own, episodes)
        plays = zip(trackers, seeds, strict=True)
        return tuple(_episode(env, policy, *each, certain, Masks(action_mask)) for each in plays)

    return in_env


def _limit(task: Task | None, env: Any) -> int:
    """Return after how many steps we end an episode that the environment does not end."""
    if task is not None:
        return task.max_episode_steps
    return getattr(getattr(env, "spec", None), "max_episode_steps", None) or EVALUATION_STEPS


def _episode(
    env: Any, policy: Any, tracker: EpisodeTracker, seed: int, deterministic: bool, masks: Any
) -> EpisodeOutcome:
    observation, info = env.reset(seed=seed)
    begins = True
    while tracker.outcome is None:
        known = {"episode_start": begins, "deterministic": deterministic, "action_masks": masks.after(env, info)}
        action, _ = policy.predict(observation, **known)
        begins = False
        observation, reward, terminated, truncated, info = env.step(action)
        tracker = tracker.after(float(reward), terminated, truncated, info)
    return tracker.outcome
