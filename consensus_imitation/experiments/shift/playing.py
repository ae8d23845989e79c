"""Episodes in a changed world: of members that learn no more, side by side; and of members that go on learning."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from consensus_imitation.core.independence import effective_members
from consensus_imitation.experiments.shift.contestants import Contestant, Judged, Panel
from consensus_imitation.experiments.shift.worlds import Change, Changed
from consensus_imitation.experiments.tasks import Task, episode_seeds, stack_observations
from consensus_imitation.experiments.tasks.outcome import EpisodeTracker
from consensus_imitation.imitator import ConsensusImitator


class Played(NamedTuple):
    """Counts over episodes.

    Attributes:
        episodes: finished ones.
        harmed: by the task's own rule.
        steps: of all of them.
        asked: steps on which the demonstrator was asked.
        mistakes: steps on which the contestant would do something else than the demonstrator intends.
        caught: both.
    """

    episodes: int
    harmed: int
    steps: int
    asked: int
    mistakes: int
    caught: int


class _Lane:
    """One episode at a time in one environment.

    Args:
        task: the task.
        change: what is different.
        seed: of the environment.
        demonstrator: makes that of an environment.
    """

    def __init__(self, task: Task, change: Change, seed: int, demonstrator: Callable[[Any], Any]) -> None:
        self.env = Changed(task.make_env(), change)
        self._task, self._demonstrator = task, demonstrator(self.env.env)
        self.observation: Any = self.env.reset(seed=seed)[0]
        self.tracker: EpisodeTracker = task.track()

    def intended(self) -> int:
        """Return what the demonstrator would do, by what is true."""
        return int(self._demonstrator.intended(self.env.true))

    def answer(self) -> int:
        """Return what it says."""
        return int(self._demonstrator(self.env.true))

    def step(self, action: int) -> None:
        """Take a step."""
        if hasattr(self._demonstrator, "observe"):
            self._demonstrator.observe(action, "imitator")
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.observation = observation
        self.tracker = self.tracker.after(float(reward), terminated, truncated, info)

    def begin(self) -> None:
        """Begin another episode."""
        self.observation, self.tracker = self.env.reset()[0], self._task.track()


def _lanes(task: Task, change: Change, seed: int, episodes: int) -> list[_Lane]:
    demonstrator = _demonstrator(task, seed)
    return [_Lane(task, change, own, demonstrator) for own in episode_seeds(seed, episodes)]


def _demonstrator(task: Task, seed: int) -> Callable[[Any], Any]:
    """Return what makes the demonstrator of an environment."""
    if task.members == "grid":
        # The bot looks into its environment; it makes no random actions.
        return partial(task.make_demonstrator, seed=seed)
    one = task.make_demonstrator(None, seed)
    return lambda _: one


def frozen(
    task: Task, change: Change, panel: Panel, contestant: Contestant, threshold: float, episodes: int, seed: int
) -> Played:
    """Play episodes side by side with members that learn no more.

    Args:
        task: the task.
        change: what is different.
        panel: the contestant's members.
        contestant: who plays.
        threshold: of its score, unless it asks by nature.
        episodes: how many.
        seed: of everything random.
    """
    rng = np.random.default_rng(seed)
    lanes = _lanes(task, change, seed, episodes)
    counts = np.zeros(4, int)
    while running := [b for b, lane in enumerate(lanes) if lane.tracker.outcome is None]:
        judged = panel.judge(stack_observations([lane.observation for lane in lanes]), rng)
        actions, asks = _drawn(contestant, judged, threshold, rng)
        for b in running:
            lane = lanes[b]
            wrong = actions[b] != lane.intended()
            counts += (1, asks[b], wrong, asks[b] and wrong)
            lane.step(lane.answer() if asks[b] else int(actions[b]))
    return Played(episodes, _close(lanes), *counts.tolist())


def alone(task: Task, change: Change, episodes: int, seed: int) -> Played:
    """Let the demonstrator play the same episodes."""
    lanes = _lanes(task, change, seed, episodes)
    for lane in lanes:
        while lane.tracker.outcome is None:
            lane.step(lane.answer())
    steps = sum(lane.tracker.length for lane in lanes)
    return Played(episodes, _close(lanes), steps, steps, 0, 0)


def threshold(
    task: Task, change: Change, panel: Panel, contestant: Contestant, familiar: float, episodes: int, seed: int
) -> float:
    """Return the score that is exceeded on a share of familiar steps, every episode counting the same.

    The demonstrator acts on every other of these episodes, and the contestant's own law on the others: so both
    kinds of steps are there that it will see.

    Args:
        task: the task.
        change: nothing, for what is familiar.
        panel: the contestant's members.
        contestant: whose score it is.
        familiar: the share, in (0, 1).
        episodes: how many.
        seed: of everything random.
    """
    rng = np.random.default_rng(seed)
    lanes = _lanes(task, change, seed, episodes)
    scores: list[list[float]] = [[] for _ in lanes]
    while running := [b for b, lane in enumerate(lanes) if lane.tracker.outcome is None]:
        judged = panel.judge(stack_observations([lane.observation for lane in lanes]), rng)
        law = _law(contestant, judged)
        for b in running:
            scores[b].append(float(judged.scores[contestant.score][b]))
            lanes[b].step(lanes[b].answer() if b % 2 else _draw(law[b], rng))
    _close(lanes)
    return weighted_quantile(scores, 1 - familiar)


def independence(task: Task, change: Change, panel: Panel, episodes: int, seed: int) -> float:
    """Return the effective number of members by their errors on familiar steps, on which the demonstrator acts.

    Args:
        task: the task.
        change: nothing, for what is familiar.
        panel: the members.
        episodes: how many.
        seed: of everything random.
    """
    seen: list[Any] = []
    intended: list[int] = []
    lanes = _lanes(task, change, seed, episodes)
    for lane in lanes:
        while lane.tracker.outcome is None:
            seen.append(lane.observation)
            intended.append(lane.intended())
            lane.step(lane.answer())
    _close(lanes)
    return effective_members(panel.errors(stack_observations(seen), np.array(intended))).estimate


def weighted_quantile(groups: Sequence[Sequence[float]], share: float) -> float:
    """Return the smallest number that at least this share does not exceed, every group counting the same.

    Example:
        >>> from consensus_imitation.experiments.shift.playing import weighted_quantile
        >>> weighted_quantile([[5.0], [1.0, 2.0, 3.0, 4.0]], 0.5)
        4.0
    """
    values = np.concatenate([np.asarray(group, float) for group in groups])
    weights = np.concatenate([np.full(len(group), 1 / len(group)) for group in groups])
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) >= share * len(groups) - 1e-9
    return float(values[order][np.argmax(reached)])


def learning(task: Task, change: Change, imitator: ConsensusImitator, lane_seed: int, limit: "Limit") -> list[Played]:
    """Let an imitator play one episode after another, asking and learning; return the counts of each.

    Args:
        task: the task.
        change: what is different.
        imitator: without a demonstrator of its own.
        lane_seed: of the environment and the demonstrator.
        limit: when it ends.
    """
    lane = _Lane(task, change, lane_seed, _demonstrator(task, lane_seed))
    found: list[Played] = []
    counts, total = np.zeros(4, int), 0
    imitator.begin_episode()
    while total < limit.steps and len(found) < limit.episodes:
        decision = imitator.decide(lane.observation)
        asks = bool(decision.queried)
        total += 1
        if asks:
            law = np.asarray(decision.min_probs)
            wrong = bool(law.sum() <= 0 or int(law.argmax()) != lane.intended())
            action = lane.answer()
            imitator.answer(decision, action)
        else:
            action = int(decision.action)
            wrong = action != lane.intended()
        counts += (1, asks, wrong, asks and wrong)
        lane.step(action)
        if lane.tracker.outcome is not None:
            found.append(Played(1, int(lane.tracker.outcome.harm), *counts.tolist()))
            counts = np.zeros(4, int)
            lane.begin()
            imitator.begin_episode()
    if counts[0]:
        # What is left of an episode that was not finished.
        found.append(Played(0, 0, *counts.tolist()))
    lane.env.close()
    return found


class Limit(NamedTuple):
    """When playing ends: after so many steps, or so many episodes."""

    steps: float = float("inf")
    episodes: float = float("inf")


def total(played: Sequence[Played]) -> Played:
    """Return the sums."""
    return Played(*(sum(column) for column in zip(*played, strict=True)))


def _law(contestant: Contestant, judged: Judged) -> np.ndarray:
    return judged.minimum if contestant.score == "theta" else judged.mixture


def _drawn(
    contestant: Contestant, judged: Judged, threshold: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    law, score = _law(contestant, judged), judged.scores[contestant.score]
    actions = np.array([_draw(row, rng) for row in law])
    return actions, rng.random(len(score)) < score if contestant.natural else score > threshold


def _draw(law: np.ndarray, rng: np.random.Generator) -> int:
    reached = np.cumsum(law, dtype=float)
    return int(min(np.searchsorted(reached, rng.random() * reached[-1], side="right"), len(law) - 1))


def _close(lanes: Sequence[_Lane]) -> int:
    """Close them, and return how many episodes were harmed."""
    for lane in lanes:
        lane.env.close()
    return sum(lane.tracker.outcome is not None and lane.tracker.outcome.harm for lane in lanes)
