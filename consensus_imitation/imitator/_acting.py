"""One step as it happens: decided, taken, and settled if it was a query. Nothing is written here."""

import time
import warnings
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from consensus_imitation.core._packing import digest
from consensus_imitation.core._sources import Source, check_source, check_sources
from consensus_imitation.core.legal import check_mask
from consensus_imitation.demonstrators._base import Panel
from consensus_imitation.errors import ConsensusWarning
from consensus_imitation.imitator._arguments import check_active, check_answer
from consensus_imitation.imitator._asking import safe_action, tell
from consensus_imitation.imitator._health import UNEXPLAINED
from consensus_imitation.imitator._queries import OpenStep, Reply, repeats
from consensus_imitation.imitator._recorder import Recorder
from consensus_imitation.imitator._run import Decided, Run
from consensus_imitation.imitator._step import Judged, judge
from consensus_imitation.imitator._uniforms import Numbers
from consensus_imitation.imitator.decision import Decision, some


class Drawn(NamedTuple):
    """What was drawn at a step.

    Attributes:
        env: which environment of a batch; None for the only one, or all in lockstep.
        active: bool [B], or None for all.
        number: what the draw used.
        judged: what the core said.
        packed: the observation in bytes, if a journal may not be able to hold it: else it is packed when it has to be.
    """

    env: int | None
    active: np.ndarray | None
    number: Any
    judged: Judged
    packed: bytes | None


class Acting:
    """How a step with numbered actions is taken; it remembers nothing but numbers that were computed ahead."""

    def __init__(self) -> None:
        self._numbers = Numbers()

    def draw(self, run: Run, recorder: Recorder, observation: Any, env: int | None, active: Any, mask: Any) -> Drawn:
        """Act or ask.

        Args:
            run: now.
            recorder: who may have to write it down.
            observation: a copy of what the environment gave, that nobody can write to.
            env: which environment of a batch; None for the only one, or all in lockstep.
            active: bool [B], or None for all.
            mask: bool [A] or [B, A], the legal actions, or None for all.

        Raises:
            ObservationError: if the observation or the mask does not fit.
            ConfigurationError: if ``active`` does not.
        """
        setup = run.setup
        rows = check_active(active, setup.rows(env), setup.num_envs)
        legal = check_mask(mask, setup.ensemble.num_actions, setup.rows(env), rows)
        recorder.checkpoint_if_due(run)
        own = setup.taken(run.state, env)
        number = self._numbers.at(run.state.stream.key, own.stream, run.steps, env, setup.rows(env) is not None)
        judged = judge(setup, own, observation, number, env, rows, legal)
        return Drawn(env, rows, number, judged, recorder.packed(observation, needed=False))

    def decided(self, run: Run, recorder: Recorder, observation: Any, drawn: Drawn) -> Decided:
        """What was drawn, for the user, with what is wrong; as errors, warnings of that may depend on the draw.

        Args:
            run: now.
            recorder: as for `draw`.
            observation: the same.
            drawn: of `draw`.
        """
        setup, (env, rows, number, judged) = run.setup, drawn[:4]
        decision = judged.decision(setup, int(run.steps.max() if env is None else run.steps[env]), env)
        asks = some(decision.queried)
        packed = recorder.packed(observation, needed=True) if asks and drawn.packed is None else drawn.packed
        alarms = run.alarms.copy()
        lines = alarms.report(decision, run.unexplained, rows)
        if asks:
            query = run.queries.new("" if packed is None else digest(packed), env, decision.step)
            decision = replace(decision, query=query, alarms=lines)
        elif lines:
            decision = replace(decision, alarms=lines)
        return Decided(run, observation, judged, decision, alarms, rows, number, packed)

    def take(self, step: Decided, panel: Panel, asker: object) -> Run:
        """The run after a step, of which whoever listens is told; or the run with its query, if it is one."""
        after = step.taken(asker, time.time())
        if not step.asks:
            # The last thing but writing that can fail: until then no action is given out.
            tell(panel, step.run.setup, step.decision, step.active)
        return after

    def settle(self, run: Run, panel: Panel, waiting: OpenStep, reply: Reply) -> tuple[Run, Decision]:
        """The run after a step that was a query, of which whoever listens is told; and its decision with the action.

        Args:
            run: now.
            panel: who answers.
            waiting: the step that waited.
            reply: what was answered.
        """
        after, closed = run.settled(waiting, reply, safe_action(panel))
        if after.unexplained and not run.unexplained:
            # Before anything changes: where warnings are errors, the query stays open.
            warnings.warn(UNEXPLAINED, ConsensusWarning, stacklevel=5)
        tell(panel, run.setup, closed, waiting.active)
        return after, closed

    def asked_before(
        self, run: Run, recorder: Recorder, observation: Any, env: int | None, active: Any, mask: Any
    ) -> OpenStep | None:
        """The query about this very observation that waits, and nobody in this process waits for; None if none does.

        The arguments are those of `decide`.
        """
        waiting = run.queries.left(env)
        if waiting is None:
            return None
        rows, then = check_active(active, run.setup.rows(env), run.setup.num_envs), waiting.active
        legal = check_mask(mask, run.setup.ensemble.num_actions, run.setup.rows(env), rows)
        if not (_same(rows, then) and _same(legal, waiting.decision.action_mask)):
            return None
        return waiting if recorder.is_about(waiting.query, observation) else None

    def given(self, run: Run, found: OpenStep | Decision, answer: Any, source: Any = None) -> Reply:
        """An answer from outside, checked, as `settle` takes it; none is late.

        Raises:
            InvalidAnswerError: if it is no action, or not one for each environment, or not legal.
            ConfigurationError: if the source is none, or there is not one for each environment.
        """
        decision = found.decision if isinstance(found, OpenStep) else found
        checked = check_answer(decision, answer, run.setup.ensemble.num_actions)
        return Reply(checked, np.zeros(np.shape(checked), bool), sources_of(source, np.shape(checked)))

    def check_same(self, closed: Decision, reply: Reply) -> None:
        """Raise StaleAnswerError unless these are the answers by which a decision was closed."""
        repeats(closed, reply.answers)


def sources_of(source: Any, shape: tuple[int, ...]) -> list[Source | None]:
    """The sources of answers of this shape, [] or [B]: one for all of them, or one each.

    Raises:
        ConfigurationError: if there are not as many, or one is none.
    """
    return check_sources(source, shape[0]) if shape else [check_source(source)]


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    """Whether two arrays, or None, are the same."""
    return one is other if one is None or other is None else np.array_equal(one, other)
