"""A run in which a person at a page answers, takes over, pauses, and goes on after a restart with the same question.

An environment cannot be saved, but its episodes can be played again: each has its own seed, and the journal has every
action. So a run that is taken up stands where it stood, if the environment does the same for the same seed and actions;
each observation is compared. If it does not, its question is withdrawn, and a new episode begins.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from consensus_imitation.core._packing import as_read, digest, pack
from consensus_imitation.demonstrators.people.views import view
from consensus_imitation.demonstrators.people.web.page import Page, as_asked, as_shown
from consensus_imitation.experiments.journal_report import CERTIFICATE, PICTURES
from consensus_imitation.experiments.tasks.masks import Masks
from consensus_imitation.imitator import ConsensusImitator, Decision
from consensus_imitation.journal.reader import reading
from consensus_imitation.journal.record import Record

#: What the page of such a run offers besides answers.
OFFERS = ("takeover", "act", "next", "learn")
#: Seconds between two looks at what takes long to work out, such as the certificate.
_SLOW = 1.0
#: Steps over which the rate is shown.
_RECENT = 50


@dataclass
class _Lane:
    """One environment."""

    env: Any
    number: int
    env_id: int | None
    episode: int = -1
    turn: int = 0
    observation: Any = None
    masks: Masks = field(default_factory=lambda: Masks(None))
    mask: Any = None
    waiting: Decision | None = None
    due: float = 0.0
    total: float = 0.0
    actions: list[Record] = field(default_factory=list[Record])


def play(
    envs: Sequence[Any],
    imitator: ConsensusImitator,
    page: Page,
    *,
    seed: int = 0,
    num_steps: int | None = None,
    max_answers: int | None = None,
    speed: float = 8.0,
    safe_action: bool = False,
    on_step: Callable[[], object] | None = None,
    source: Any = None,
) -> None:
    """Run until so many steps are taken, or questions answered, or Ctrl-C.

    Args:
        envs: B environments; one for an imitator without ``num_envs``.
        imitator: which decides, and learns from the answers. With a journal, pictures of queries and the certificate in
            words are kept beside it, for ``journal report``.
        page: at which the person sits, made with `OFFERS`.
        seed: of the episodes.
        num_steps: of each environment; None for no limit.
        max_answers: None for no limit.
        speed: steps that the imitator takes in a second, so that somebody can follow; questions are not slowed down.
        safe_action: whether "I don't know" is silence, with which the imitator's `Patience` deals. Otherwise the
            question waits on: there is nothing that could be done instead.
        on_step: called after each round.
        source: who the person is, as for `ConsensusImitator.answer`; None for nobody in particular.
    """
    _Playing(envs, imitator, page, seed, speed, safe_action, source).run(num_steps, max_answers, on_step)


class _Playing:
    def __init__(
        self,
        envs: Sequence[Any],
        imitator: ConsensusImitator,
        page: Page,
        seed: int,
        speed: float,
        safe_action: bool,
        source: Any = None,
    ) -> None:
        self._imitator, self._page, self._board = imitator, page, page.board
        self._seed, self._pause, self._safe_action, self._source = seed, 1 / speed, safe_action, source
        alone = imitator.num_envs is None
        self._lanes = [_Lane(env, b, None if alone else b) for b, env in enumerate(envs)]
        self._looked = 0.0
        self._recent: list[bool] = []

    def run(self, num_steps: int | None, max_answers: int | None, on_step: Callable[[], object] | None) -> None:
        self._take_up()
        self._board.is_ready = True
        while not self._is_over(num_steps, max_answers):
            moved = [self._advance(lane) for lane in self._lanes]
            if on_step is not None:
                on_step()
            if not any(moved):
                self._readings()
                due = min((lane.due for lane in self._lanes if self._acts(lane)), default=time.monotonic() + 0.5)
                # Whoever says something ends the wait at once.
                self._board.wait_for(self._is_called, max(0.0, min(0.5, due - time.monotonic())))
        self._looked = 0.0
        self._readings()

    def _is_over(self, num_steps: int | None, max_answers: int | None) -> bool:
        imitator = self._imitator
        steps = num_steps is not None and imitator.num_steps >= num_steps
        return steps or (max_answers is not None and imitator.num_queries >= max_answers)

    def _is_called(self) -> bool:
        return any(
            (lane.waiting is not None and self._board.given(lane.number) is not None)
            or self._board.is_called(lane.number)
            for lane in self._lanes
        )

    def _acts(self, lane: _Lane) -> bool:
        """Whether the imitator goes on by itself there."""
        person = self._board.driver(lane.number) == "person"
        return lane.waiting is None and not person and not self._board.flag("paused")

    # --- one environment ---

    def _advance(self, lane: _Lane) -> bool:
        """Do what can be done now; return whether anything was."""
        board, b = self._board, lane.number
        if board.take_next(b):
            self._withdraw(lane)
            self._begin(lane)
            return True
        if lane.waiting is not None:
            return self._answered(lane, lane.waiting)
        if board.driver(b) == "person":
            action = board.take_act(b)
            if action is None or board.flag("paused"):
                return False
            if lane.mask is not None and not lane.mask[action]:
                # Chosen for an earlier step.
                board.say(f"Environment {b}: {self._page.actions.names[action]} cannot be done here.")
                return True
            learn = board.flag("learn")
            self._imitator.take_over(
                lane.observation, action, learn=learn, env=lane.env_id, action_mask=lane.mask, source=self._source
            )
            self._told(lane, "person", action, "taken over")
            self._step(lane, action)
            return True
        if board.flag("paused") or time.monotonic() < lane.due:
            return False
        lane.due = time.monotonic() + self._pause
        decision = self._imitator.decide(lane.observation, env=lane.env_id, action_mask=lane.mask)
        if decision.action is None:
            self._pose(lane, decision)
        else:
            self._told(lane, "imitator", decision.action, "")
            self._step(lane, decision.action)
        return True

    def _pose(self, lane: _Lane, decision: Decision) -> None:
        lane.waiting = decision
        question = self._imitator.question(decision)
        seen = self._seen(lane)
        if self._imitator.run_dir is not None and seen.picture is not None:
            place = self._imitator.run_dir / PICTURES
            place.mkdir(exist_ok=True)
            (place / f"{question.query}.png").write_bytes(seen.picture)
        self._board.pose(lane.number, as_asked(question, question.query), turn=lane.turn, **as_shown(seen))

    def _answered(self, lane: _Lane, decision: Decision) -> bool:
        given = self._board.given(lane.number)
        if given is None:
            return False
        if given.action is not None:
            done = self._imitator.answer(decision, given.action, self._source)
            lane.waiting = None
            self._told(lane, "person", done.action, "asked", given.seconds)
            self._step(lane, done.action)
        elif self._safe_action:
            # Silence: the imitator asks its own demonstrator, who says nothing either, and takes the safe action.
            self._imitator.withdraw(decision)
            lane.waiting = None
            done = self._imitator.act(lane.observation, env=lane.env_id, action_mask=lane.mask)
            self._told(lane, "safe action", done.action, "asked", given.seconds)
            self._step(lane, done.action)
        else:
            self._board.reopen(
                lane.number,
                "You do not know, and no safe action is named (--safe-action): the question waits. Answer it later, or "
                "go to the next episode.",
            )
            self._board.seat(lane.number, status="unknown")
        return True

    def _step(self, lane: _Lane, action: int) -> None:
        observation, reward, terminated, truncated, info = lane.env.step(action)
        lane.observation, lane.turn, lane.total = observation, lane.turn + 1, lane.total + float(reward)
        if terminated or truncated:
            self._board.say(f"Episode {lane.episode} of environment {lane.number} is over, return {lane.total:.3g}.")
            self._begin(lane)
        else:
            lane.mask = lane.masks.after(lane.env, info)
            self._board.close(lane.number, turn=lane.turn, status="acting", **self._shown(lane))

    def _begin(self, lane: _Lane) -> None:
        """The next episode."""
        lane.episode, lane.turn, lane.total = lane.episode + 1, lane.turn + 1, 0.0
        lane.observation, info = lane.env.reset(seed=self._episode_seed(lane))
        lane.mask = lane.masks.after(lane.env, info)
        self._imitator.begin_episode(lane.env_id)
        self._board.close(lane.number, turn=lane.turn, episode=lane.episode, status="acting", **self._shown(lane))

    def _withdraw(self, lane: _Lane) -> None:
        if lane.waiting is not None:
            self._imitator.withdraw(lane.waiting)
            lane.waiting = None

    def _shown(self, lane: _Lane) -> dict[str, Any]:
        allowed = None if lane.mask is None else [bool(one) for one in lane.mask]
        return as_shown(self._seen(lane)) | {"allowed": allowed}

    def _seen(self, lane: _Lane) -> Any:
        return view(lane.env, lane.observation, picture=True)

    def _episode_seed(self, lane: _Lane) -> int:
        return episode_seed(self._seed, lane.number, lane.episode)

    # --- what is shown of the run ---

    def _told(self, lane: _Lane, who: str, action: int, how: str, seconds: float | None = None) -> None:
        self._recent = [*self._recent[-_RECENT + 1 :], how == "asked"]
        steps = self._steps()
        line = {
            "env": lane.number, "step": lane.turn, "who": who, "what": self._page.actions.names[action],
            "asked": how == "asked", "seconds": None if seconds is None else round(seconds, 2),
        }  # fmt: skip
        self._board.told(line, (steps, round(sum(self._recent) / len(self._recent), 4)))
        self._board.publish(answers=self._imitator.num_queries, steps=steps)

    def _steps(self) -> int:
        """Steps of all environments: a turn is one, but for the first of each episode."""
        return sum(max(0, lane.turn - lane.episode - 1) for lane in self._lanes)

    def _readings(self) -> None:
        """What takes long to work out, while nobody waits for a picture."""
        now = time.monotonic()
        if now - self._looked < _SLOW:
            return
        self._looked = now
        imitator = self._imitator
        certificate = str(imitator.certificate())
        self._board.publish(
            weights=[round(float(one), 4) for one in imitator.weights[:24]],
            alarms=list(imitator.alarms),
            certificate=certificate,
            answers=imitator.num_queries,
        )
        if imitator.run_dir is not None:
            (imitator.run_dir / CERTIFICATE).write_text(certificate + "\n", encoding="utf-8")

    # --- going on ---

    def _take_up(self) -> None:
        if self._imitator.run_dir is not None:
            with reading(self._imitator.run_dir) as reader:
                for entry in reader.entries():
                    self._was(entry.record)
        waiting = {decision.env: decision for decision in self._imitator.pending}
        for lane in self._lanes:
            decision = waiting.get(lane.env_id)
            if lane.episode < 0:
                self._begin(lane)
            elif self._again(lane, decision):
                if decision is not None:
                    self._pose(lane, decision)
            else:
                if decision is not None:
                    self._imitator.withdraw(decision)
                self._board.say(
                    f"Environment {lane.number} could not be brought back to where it was: it does not repeat itself. "
                    "A new episode has begun."
                )
                self._begin(lane)

    def _was(self, record: Record) -> None:
        """What the journal says happened in an earlier part of the run."""
        lane = self._lanes[record.env or 0]
        if record.kind == "begin":
            lanes = self._lanes if record.env is None else [lane]
            for one in lanes:
                one.episode, one.turn, one.actions = one.episode + 1, one.turn + 1, []
        elif record.kind in ("act", "answer", "safe", "takeover"):
            lane.actions.append(record)
            lane.turn += 1
            who = {"act": "imitator", "answer": "person", "safe": "safe action", "takeover": "person"}[record.kind]
            self._told(
                lane, who, int(record.action or 0), "asked" if record.kind in ("answer", "safe") else "", record.latency
            )

    def _again(self, lane: _Lane, decision: Decision | None) -> bool:
        """Play the episode again up to where it was; return whether everything was as it had been."""
        lane.observation, info = lane.env.reset(seed=self._episode_seed(lane))
        lane.mask, lane.total = lane.masks.after(lane.env, info), 0.0
        for record in lane.actions:
            if digest(pack(as_read(lane.observation))) != record.observation:
                return False
            lane.observation, reward, terminated, truncated, info = lane.env.step(int(record.action or 0))
            lane.total += float(reward)
            if terminated or truncated:
                # It ended just before the process did.
                self._begin(lane)
                return decision is None
            lane.mask = lane.masks.after(lane.env, info)
        same = (
            decision is None
            or decision.query is None
            or (digest(pack(as_read(lane.observation))) == decision.query.observation)
        )
        if same:
            self._board.close(lane.number, turn=lane.turn, episode=lane.episode, **self._shown(lane))
        return same


def episode_seed(seed: int, env: int, episode: int) -> int:
    """Return the seed of an episode of an environment: it can be played again alone."""
    words = np.random.SeedSequence((seed, env, episode)).generate_state(1)
    return int(words[0]) >> 1


def told_about(run_dir: Path, about: dict[str, Any]) -> None:
    """Write down what a run is of, for those who take it up and for the report.

    Raises:
        ValueError: if the directory holds a run of something else.
    """
    file = run_dir / "play.json"
    if file.exists():
        known = json.loads(file.read_text(encoding="utf-8"))
        differ = [name for name in about if name != "names" and known.get(name) != about[name]]
        if differ:
            other = ", ".join(f"{name}: {known.get(name)!r}" for name in differ)
            raise ValueError(f"{run_dir} holds another run ({other}): choose another --out")
        return
    run_dir.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(about) + "\n", encoding="utf-8")
