"""Runs that can be stopped anywhere: what comes next is a function of what the journal holds, and of nothing else.

The environment's observation is a function of all actions since the beginning, so that one step lost, taken twice or
taken otherwise changes everything after it. The demonstrator's answer is a function of the observation.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.imitator._calls import grouped
from consensus_imitation.imitator.decision import Decision, Query
from consensus_imitation.journal.directory import Journal
from consensus_imitation.journal.reader import reading
from consensus_imitation.journal.record import COLUMNS, Entry

Way = Literal["single", "apart", "lockstep"]
NUM_ACTIONS, NUM_ENVS = 3, 3

#: Of a record, what need not be the same the second time.
FREE = ("time", "latency")


@dataclass(frozen=True)
class Plan:
    """One run.

    Attributes:
        way: a single environment, or a batch whose environments go on each by itself or in lockstep.
        members: makes the ensemble.
        observe: what a history (32 bytes) looks like.
        num_calls: calls in the journal, "open" not counted, after which it ends.
        checkpoint_every: of the journal.
        rules: of the imitator, made anew for each.
        studies: whether recordings are studied on the way.
        group: of the journal.
    """

    way: Way
    members: Callable[[], Any]
    observe: Callable[[bytes], Any]
    num_calls: int
    checkpoint_every: int
    rules: Callable[[], dict[str, Any]] = field(default=lambda: {"selection": TopK(2)})
    studies: bool = True
    group: int = 1

    @property
    def num_envs(self) -> int | None:
        """B, or None."""
        return None if self.way == "single" else NUM_ENVS

    def begin(self, path: Path | None, seed: int = 7) -> ConsensusImitator:
        """A fresh imitator."""
        journal = None
        if path is not None:
            journal = Journal(path, checkpoint_every=self.checkpoint_every, group=self.group)
        return ConsensusImitator(
            self.members(), answer_to, seed=seed, num_envs=self.num_envs, journal=journal, **self.rules()
        )

    def resume(self, path: Path) -> ConsensusImitator:
        """The same again, from its journal."""
        return ConsensusImitator.resume(path, self.members(), answer_to, **self.rules())


def numbers(history: bytes) -> np.ndarray:
    """Four numbers in [0, 1]."""
    return np.frombuffer(history[:4], np.uint8).astype(np.float32) / 255


def answer_to(observation: Any) -> int:
    """The demonstrator."""
    if np.ndim(observation) == 0:
        return int(observation) % NUM_ACTIONS
    return 0 if observation[0] < 0.4 else 1 if observation[1] < 0.5 else 2


def after(history: bytes, action: int) -> bytes:
    """The environment takes a step."""
    return hashlib.sha256(history + bytes([action])).digest()


@dataclass
class Place:
    """Where a run is: the environments' histories, whether an episode has just begun in each, and calls so far."""

    histories: list[bytes]
    steps: list[int]
    begun: list[bool]
    calls: int = 0

    def take(self, record: Any) -> None:
        """Go one entry further."""
        everybody = range(len(self.histories))
        rows = everybody if record.env is None else [record.env]
        if record.kind == "begin":
            for b in rows:
                self.begun[b] = True
        elif record.action is not None:
            b = record.env or 0
            self.histories[b] = after(self.histories[b], record.action)
            self.steps[b] += 1
            self.begun[b] = False


def place_of(entries: Iterable[Entry], plan: Plan) -> Place:
    """Where the journal says that a run is."""
    size = plan.num_envs or 1
    place = Place([bytes([b]) * 32 for b in range(size)], [0] * size, [True] * size)
    held: list[Any] = []
    for call in grouped(entries):
        kinds = {entry.record.kind for entry in call}
        place.calls += "open" not in kinds
        records = [entry.record for entry in call]
        if "ask" in kinds:
            # In lockstep nobody takes a step before all can: what the others are to do waits with the question.
            held = [record for record in records if record.kind == "act"]
            continue
        if kinds & {"answer", "safe"}:
            records, held = held + records, []
        for record in records:
            place.take(record)
    return place


class Player:
    """Plays a plan, call by call.

    Args:
        plan: what is to be played.
        imitator: at the place.
        place: where it is.
        handed: called with what was handed out or acknowledged: ("act" | "answer", query or step, env, action).
    """

    def __init__(
        self, plan: Plan, imitator: ConsensusImitator, place: Place, handed: Callable[..., None] | None = None
    ) -> None:
        self.plan, self.imitator, self.place = plan, imitator, place
        self._handed = handed or (lambda *said: None)

    def play(self, calls: int | None = None) -> None:
        """Until the end, or until so many calls have been made."""
        until = self.plan.num_calls if calls is None else min(self.plan.num_calls, self.place.calls + calls)
        while self.place.calls < until:
            self.one()

    def one(self) -> None:
        """The next call; two where one is answered at once."""
        dice = hashlib.sha256(self.place.calls.to_bytes(4, "big")).digest()
        pending = self.imitator.pending
        # Not while a question waits: it may wait because the process ended, and the next call is to be the same.
        if not pending and self.place.calls % 89 == 40:
            self.imitator.clear_alarm()
            self.place.calls += 1
        elif self.plan.studies and not pending and self.place.calls % 83 in (3, 4):
            rows = [self.plan.observe(hashlib.sha256(dice + bytes([i])).digest()) for i in range(4)]
            self.imitator.pretrain(rows, [answer_to(row) for row in rows])
            self.place.calls += 1
        elif self.plan.way == "apart":
            self._apart(dice, pending)
        else:
            self._together(dice, pending)

    def _together(self, dice: bytes, pending: tuple[Decision, ...]) -> None:
        place, whole = self.place, self.plan.way == "lockstep"
        step = self.imitator.num_steps
        if not pending and step % 16 == 15 and not all(place.begun):
            self.imitator.begin_episode()
            place.begun = [True] * len(place.begun)
            place.calls += 1
            return
        rows = [self.plan.observe(history) for history in place.histories]
        observation = np.stack(rows) if whole else rows[0]
        # A function of the steps, not of the calls: a step that is asked about again has to be the same one.
        active = np.array([(step + b) % 5 > 0 for b in range(NUM_ENVS)]) if whole else None
        decision = self.imitator.act(observation, active)
        place.calls += (2 if np.any(decision.queried) else 1) - len(pending)
        for b in range(len(rows)):
            if active is None or active[b]:
                self._stepped(decision, b, None if not whole else b)

    def _apart(self, dice: bytes, pending: tuple[Decision, ...]) -> None:
        place = self.place
        waiting = {decision.env for decision in pending}
        if pending and (len(pending) == NUM_ENVS or dice[0] < 90):
            decision = pending[dice[1] % len(pending)]
            env = int(decision.env or 0)
            self._answer(decision, env, twice=dice[2] < 64)
            return
        env = next(b for b in ((dice[1] + i) % NUM_ENVS for i in range(NUM_ENVS)) if b not in waiting)
        if place.steps[env] % 16 == 15 and not place.begun[env]:
            self.imitator.begin_episode(env=env)
            place.begun[env] = True
        else:
            decision = self.imitator.decide(self.plan.observe(place.histories[env]), env=env)
            if not decision.queried:
                self._stepped(decision, env, env)
        place.calls += 1

    def _answer(self, decision: Decision, env: int, twice: bool) -> None:
        answer = answer_to(self.plan.observe(self.place.histories[env]))
        closed = self.imitator.answer(decision.query or decision, answer)
        self._stepped(closed, env, env)
        self.place.calls += 1
        if twice:
            assert self.imitator.answer(closed, answer).action == answer

    def _stepped(self, decision: Decision, b: int, env: int | None) -> None:
        """The environment has taken the action."""
        action, queried = (int(np.ravel(value)[b if np.ndim(value) else 0]) for value in
                           (decision.action, decision.queried))  # fmt: skip
        place = self.place
        place.histories[b] = after(place.histories[b], action)
        place.steps[b] += 1
        place.begun[b] = False
        if queried and decision.query is not None:
            self._handed("answer", decision.query.id, env, action)
        else:
            self._handed("act", decision.step, env, action)


def resend(imitator: ConsensusImitator, entries: list[Entry], count: int = 3) -> int:
    """Send the last answers that the journal holds once more, as a sender who never heard back would.

    Returns:
        How many were not taken as what they were.
    """
    wrong = 0
    last = [entry.record for entry in entries if entry.record.kind == "answer"][-count:]
    for record in last:
        env = None if record.note else record.env
        query = Query(imitator.run, record.query or 0, record.observation, env, record.step)
        answers: Any = record.action
        if record.note:
            answers = np.zeros(NUM_ENVS, np.int32)
            for entry in entries:
                if entry.record.query == record.query and entry.record.kind == "answer":
                    answers[entry.record.env] = entry.record.action
        closed = imitator.answer(query, answers)
        wrong += int(np.any(np.asarray(closed.action)[np.asarray(closed.queried)] !=
                            np.asarray(answers)[np.asarray(closed.queried)]))  # fmt: skip
    return wrong


def read(path: Path) -> list[Entry]:
    """All entries of a run's journal, checked."""
    with reading(path) as reader:
        return list(reader.entries())


def told(entries: list[Entry]) -> list[tuple[Any, ...]]:
    """What a run was: every entry but the openings, without times and places."""

    def plain(value: Any) -> Any:
        return value.tobytes() if isinstance(value, np.ndarray) else value

    names = [name for name in COLUMNS if name not in FREE]
    kept = [entry.record for entry in entries if entry.record.kind != "open"]
    return [tuple(plain(getattr(record, name)) for name in names) for record in kept]


def leaves(imitator: ConsensusImitator) -> list[tuple[Any, np.ndarray]]:
    """Every leaf of the state, with its path; keys as numbers."""

    def plain(leaf: Any) -> np.ndarray:
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

    return [(path, plain(leaf)) for path, leaf in jax.tree_util.tree_leaves_with_path(imitator.state)]


def fingerprint(imitator: ConsensusImitator) -> dict[str, str]:
    """Every leaf of the state, bit by bit: parameters, optimiser, replay, posterior, keys; and what is read off it."""
    found: dict[str, str] = {}
    for path, array in leaves(imitator):
        found[jax.tree_util.keystr(path)] = f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"
    found["weights"] = imitator.weights.tobytes().hex()
    found["alarms"] = json.dumps(imitator.alarms)
    found["counts"] = f"{imitator.num_steps} steps, {imitator.num_queries} queries"
    found["pending"] = repr(
        [(one.query and (one.query.id, one.query.observation), one.env) for one in imitator.pending]
    )
    return found


def networks(way: Way, num_calls: int) -> Plan:
    """Small networks that learn from the answers."""
    training = ensembles.Training(batch_size=8, updates=2, every=2, capacity=64, caution=4.0)
    return Plan(
        way,
        lambda: ensembles.mlp((4,), NUM_ACTIONS, num_members=3, hidden=(8,), training=training),
        numbers,
        num_calls,
        checkpoint_every=9,
    )


def tables(way: Way, num_calls: int, checkpoint_every: int = 7, group: int = 1) -> Plan:
    """Three tables, the demonstrator's among them; they disagree often."""
    rng = np.random.default_rng(3)
    probs = rng.dirichlet(np.ones(NUM_ACTIONS) * 2, (3, 6)).astype(np.float32)
    probs[0] = 0.04 + 0.88 * np.eye(NUM_ACTIONS)[np.arange(6) % NUM_ACTIONS]
    probs /= probs.sum(-1, keepdims=True)
    return Plan(
        way,
        lambda: ensembles.tabular(probs),
        lambda history: np.int32(history[0] % 6),
        num_calls,
        checkpoint_every,
        group=group,
    )
