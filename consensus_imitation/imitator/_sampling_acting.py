"""One step with an action of any kind as it happens: decided, taken, and settled if it was a query."""

import time
import warnings
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from consensus_imitation.core._observations import given
from consensus_imitation.core._packing import digest, pack, unpack
from consensus_imitation.core.any_action import Action
from consensus_imitation.core.sampling_learner import PureSamplingDecision, SamplingState, SamplingStream
from consensus_imitation.demonstrators._base import Panel
from consensus_imitation.demonstrators.patience import Patience, SafeAction
from consensus_imitation.errors import (
    ConfigurationError,
    ConsensusWarning,
    ObservationError,
    StaleAnswerError,
)
from consensus_imitation.imitator._health import UNEXPLAINED
from consensus_imitation.imitator._recorder import Recorder
from consensus_imitation.imitator._sampling_answers import check_answer
from consensus_imitation.imitator._sampling_checks import check_seen
from consensus_imitation.imitator._sampling_decision import SamplingDecision
from consensus_imitation.imitator._sampling_run import OpenSample, Sampled, SamplingRun, decide, for_user
from consensus_imitation.imitator._sampling_setup import SamplingSetup


def make_panel(setup: SamplingSetup, demonstrator: Any, patience: Patience | None) -> Panel:
    """Who answers for each environment.

    Raises:
        ConfigurationError: if they are none, not as many as environments, or there is to be a safe action.
    """
    panel = Panel(demonstrator, setup.num_envs, patience)
    if isinstance(panel.patience.then, SafeAction):
        raise ConfigurationError(
            f"{panel.patience.then} is the number of an action, and these actions have none: choose "
            'then="raise" or then="block"'
        )
    return panel


def seen_by(state: SamplingState, observation: Any) -> Any:
    """The observation as members can be shown it.

    Raises:
        ObservationError: if they cannot be.
    """
    # What remembers a number that is none is useless for ever.
    return check_seen(observation, finite=bool(jax.tree.leaves(state.stream.carry)))


def packed_action(action: Action) -> bytes:
    """An action in bytes, every bit of it.

    Raises:
        ConfigurationError: if it would not come back as it is.
    """
    try:
        packed = pack(action, "the members' action")
    except ObservationError as error:
        raise ConfigurationError(f"{error}: a journal keeps no other actions") from error
    if jax.tree.structure(unpack(packed)) != jax.tree.structure(action):
        raise ConfigurationError(
            f"the members' action is made of {jax.tree.structure(action)}; a journal keeps arrays, and plain dicts, "
            "lists and tuples of them"
        )
    return packed


class Drawn(NamedTuple):
    """What was drawn at a step.

    Attributes:
        env: which environment; None for the only one.
        pure: what the core said.
        stream: after the step, if it is no query.
        packed: the observation in bytes, if a journal may not be able to hold it: else it is packed when it has to be.
        action: the same of the action; of a query, too: its answer will be of the same kind, and has to be written.
    """

    env: int | None
    pure: PureSamplingDecision
    stream: SamplingStream
    packed: bytes | None
    action: bytes | None


class SamplingActing:
    """How a step with an action of any kind is taken."""

    def draw(
        self, run: SamplingRun, recorder: Recorder, observation: Any, env: int | None, active: None, mask: None
    ) -> Drawn:
        """Act or ask.

        Args:
            run: now.
            recorder: who may have to write it down.
            observation: a copy of what the environment gave, that nobody can write to.
            env: which environment; None for the only one.
            active: None: environments do not go on in lockstep.
            mask: None: these actions cannot be listed.

        Raises:
            ObservationError: if the observation does not fit, or cannot be written down.
            ConfigurationError: if the members' actions cannot be.
        """
        del active, mask
        recorder.checkpoint_if_due(run)
        own = run.setup.taken(run.state, env)
        pure, stream = decide(run.setup.learner, own, seen_by(own, observation))
        packed = recorder.packed(observation, needed=False)
        action = None if recorder.directory is None else packed_action(jax.device_get(pure.action))
        return Drawn(env, pure, stream, packed, action)

    def decided(self, run: SamplingRun, recorder: Recorder, observation: Any, drawn: Drawn) -> Sampled:
        """What was drawn, for the user, with what is wrong; as errors, warnings of that may depend on the draw.

        Args:
            run: now.
            recorder: as for `draw`.
            observation: the same.
            drawn: of `draw`.
        """
        env, pure, stream, packed, action = drawn
        decision = for_user(pure, int(run.steps[env or 0]), env)
        if decision.queried and packed is None:
            packed = recorder.packed(observation, needed=True)
        alarms = run.alarms.noted(decision.invalid, decision.step, decision.rule_fault)
        query = None
        if decision.queried:
            query = run.queries.new("" if packed is None else digest(packed), env, decision.step)
        decision = replace(decision, query=query, alarms=alarms.of_step(decision, run.unexplained))
        return Sampled(run, observation, pure, stream, decision, alarms, packed, action)

    def take(self, step: Sampled, panel: Panel, asker: object) -> SamplingRun:
        """The run after a step, of which whoever listens is told; or the run with its query, if it is one."""
        after = step.taken(asker, time.time())
        if not step.decision.queried:
            # The last thing but writing that can fail: until then no action is given out.
            _tell(panel, step.decision)
        return after

    def settle(
        self, run: SamplingRun, panel: Panel, waiting: OpenSample, reply: Action
    ) -> tuple[SamplingRun, SamplingDecision]:
        """The run after a step that was a query, of which whoever listens is told; and its decision with the action.

        Args:
            run: now.
            panel: who answers.
            waiting: the step that waited.
            reply: the demonstrator's answer, checked.
        """
        after, closed = run.settled(waiting, reply)
        if after.unexplained and not run.unexplained:
            # Before anything changes: where warnings are errors, the query stays open.
            warnings.warn(UNEXPLAINED, ConsensusWarning, stacklevel=5)
        _tell(panel, closed)
        return after, closed

    def asked_before(
        self, run: SamplingRun, recorder: Recorder, observation: Any, env: int | None, active: None, mask: None
    ) -> OpenSample | None:
        """The query about this very observation that waits, and nobody in this process waits for; None if none does.

        The arguments are those of `decide`.
        """
        del active, mask
        waiting = run.queries.left(env)
        return waiting if waiting is not None and recorder.is_about(waiting.query, observation) else None

    def given(self, run: SamplingRun, found: OpenSample | SamplingDecision, answer: Any, source: None = None) -> Action:
        """An answer from outside, checked, as `settle` takes it.

        Raises:
            InvalidAnswerError: if it is no action.
        """
        del source  # Its `answer` takes none: these members divide nothing.
        like = found.pure.action if isinstance(found, OpenSample) else found.action
        return check_answer(like, answer, run.setup.action_space)

    def check_same(self, closed: SamplingDecision, reply: Action) -> None:
        """Raise StaleAnswerError unless this is the answer by which a decision was closed."""
        pairs = zip(jax.tree.leaves(closed.action), jax.tree.leaves(reply), strict=True)
        if not all(np.asarray(one).tobytes() == np.asarray(other).tobytes() for one, other in pairs):
            query = None if closed.query is None else closed.query.id
            raise StaleAnswerError(
                f"query {query} was answered with {closed.action} before, and that stands: another answer to the same "
                "query is refused"
            )


def _tell(panel: Panel, decision: SamplingDecision) -> None:
    """Tell a demonstrator that wants to know what is about to be done."""
    if panel.listens:
        panel.tell(given(decision.action), "demonstrator" if decision.queried else "imitator", decision.env or 0)
