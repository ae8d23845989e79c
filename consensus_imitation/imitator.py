"""The stateful shell: validate, make one core call, write it down, swap the state. It contains no arithmetic."""

import secrets
import time
import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np

from consensus_imitation import compiled
from consensus_imitation.aggregation import Aggregation
from consensus_imitation.alarms import UNEXPLAINED
from consensus_imitation.arguments import check_active, check_answer, check_env
from consensus_imitation.budget import InflationBudget
from consensus_imitation.construction import check_construction, make_learner
from consensus_imitation.decision import Decision, Query
from consensus_imitation.demonstrators.adapters import Panel
from consensus_imitation.demonstrators.patience import Patience, SafeAction
from consensus_imitation.diversity import Merging
from consensus_imitation.durable import Durable
from consensus_imitation.ensembles.base import Ensemble
from consensus_imitation.errors import ConfigurationError, ConsensusWarning
from consensus_imitation.host import initial_state
from consensus_imitation.journal.directory import Journal
from consensus_imitation.learner import LearnerState
from consensus_imitation.misspecification import MisspecificationAlarm
from consensus_imitation.policy import Policy
from consensus_imitation.queries import OpenStep, repeats
from consensus_imitation.questions import ask, ask_async
from consensus_imitation.reweighting import Reweighting
from consensus_imitation.selection import SelectionRule
from consensus_imitation.standing import check_fits
from consensus_imitation.steps import Setup, judge, settled, unasked
from consensus_imitation.warm_start import warm_start


class ConsensusImitator(Durable):
    """Acts where the plausible models of the demonstrator agree, and asks the demonstrator where they do not.

    Args:
        ensemble: the members.
        demonstrator: ``observation -> action``, called when a query falls due in `act`; or anything else that
            `demonstrators.as_demonstrator` takes, or for a batch a sequence of B such. None if only `decide` and
            `answer` are used.
        selection: which members have a say. By default ``TopK(2) | AlphaThreshold(0.01)``: a second member always has a
            veto, and a truth of prior weight w is left out with probability at most 0.01 / w. Of members that learn
            ``TopK(3)``: their posterior soon rests on one of them, and the alpha rule would let that one act alone. A
            smaller ensemble takes as many as it has.
        aggregation: how they are combined; the default is `Minimum`.
        seed: of the draws; None takes it from the operating system. A member that knows it can foresee the draws,
            and then nothing is promised.
        num_envs: B, for a batch of environments that share one posterior; None for a single one.
        inflation_budget: a limit on how much likelier anything gets than under the demonstrator (T5), for each
            environment; None for no limit.
        alarm: raised when no member explains the demonstrator's answers any more; from then on every step is a query,
            until `clear_alarm`. None for none.
        merging: rank near-duplicates once, and measure `effective_members`; None for neither.
        reweighting: how the weights follow the answers; None for Bayes' rule.
        patience: how long to wait for an answer, how often to ask again, and what to do when nobody answers; by default
            it waits for ever.
        journal: where to write down every step, so that nothing is lost; a directory, or a `Journal`. None for nowhere.

    Raises:
        ConfigurationError: if a rule does not fit the ensemble, the demonstrators not the environments, or the seed is
            negative.
        JournalError: if the journal's directory holds a run already, or cannot be written.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation import ConsensusImitator, TopK, ensembles
        >>> probs = np.array([[[0.9, 0.1], [0.5, 0.5]], [[0.9, 0.1], [0.0, 1.0]]])  # [N, S, A]
        >>> imitator = ConsensusImitator(
        ...     ensembles.tabular(probs), demonstrator=lambda observation: 1, selection=TopK(2), seed=0
        ... )
        >>> imitator.act(0).queried  # both members agree on observation 0
        False
        >>> decision = imitator.act(1)
        >>> round(decision.query_prob, 2), decision.dissenter
        (0.5, 0)
    """

    def __init__(
        self,
        ensemble: Ensemble,
        demonstrator: Any = None,
        *,
        selection: SelectionRule | None = None,
        aggregation: Aggregation | None = None,
        seed: int | None = None,
        num_envs: int | None = None,
        inflation_budget: InflationBudget | None = None,
        alarm: MisspecificationAlarm | None = None,
        merging: Merging | None = None,
        reweighting: Reweighting | None = None,
        patience: Patience | None = None,
        journal: Journal | str | Path | None = None,
    ) -> None:
        check_construction(ensemble, seed, num_envs)
        rules = (selection, aggregation, alarm, inflation_budget, merging, reweighting)
        num_envs = None if num_envs is None else int(num_envs)
        setup = Setup(ensemble, make_learner(ensemble, *rules), num_envs)
        key = compiled.make_key(secrets.randbits(64) if seed is None else seed)
        self._assemble(setup, demonstrator, patience, initial_state(setup.learner, ensemble, key, num_envs))
        if journal is not None:
            self._begin_journal(journal)

    @classmethod
    def from_state(
        cls,
        state: LearnerState,
        ensemble: Ensemble,
        demonstrator: Any = None,
        *,
        selection: SelectionRule,
        aggregation: Aggregation | None = None,
        inflation_budget: InflationBudget | None = None,
        alarm: MisspecificationAlarm | None = None,
        merging: Merging | None = None,
        reweighting: Reweighting | None = None,
        patience: Patience | None = None,
        journal: Journal | str | Path | None = None,
    ) -> Self:
        """Go on from a `state` taken earlier, with the same ensemble and rules.

        Raises:
            ConfigurationError: if the state is not one of this ensemble.
        """
        rules = (selection, aggregation, alarm, inflation_budget, merging, reweighting)
        steps = np.shape(state.stream.step)
        setup = Setup(ensemble, make_learner(ensemble, *rules), steps[0] if steps else None)
        check_fits(setup, state)
        imitator = cls.__new__(cls)
        imitator._assemble(setup, demonstrator, patience, state)
        if journal is not None:
            imitator._begin_journal(journal)
        return imitator

    @classmethod
    def resume(
        cls,
        run_dir: str | Path,
        ensemble: Ensemble,
        demonstrator: Any = None,
        *,
        selection: SelectionRule | None = None,
        aggregation: Aggregation | None = None,
        inflation_budget: InflationBudget | None = None,
        alarm: MisspecificationAlarm | None = None,
        merging: Merging | None = None,
        reweighting: Reweighting | None = None,
        patience: Patience | None = None,
    ) -> Self:
        """Go on with a run that kept a journal, from where it ended, however it ended.

        The newest checkpoint that is whole is read, and what the journal holds after it is done again, with the same
        members and rules, and compared with what was written down. Everything comes back: parameters, optimiser,
        posterior, keys, ledger, alarms, and the queries that wait (`pending`). The last action that was written down
        may not have been carried out: the process may have ended before. Look at the environment.

        Args:
            run_dir: the journal's directory.
            ensemble: the members, constructed as they were then. (Files hold arrays, never code.)
            demonstrator: may be another; one with a memory of its own has to be brought up to date by you.
            selection: the rules, too, as they were then.
            aggregation: likewise.
            inflation_budget: likewise.
            alarm: likewise.
            merging: likewise.
            reweighting: likewise.
            patience: may be another.

        Raises:
            ConfigurationError: if members or rules are not those of the run.
            LockedError: if another process, or another imitator in this one, is writing the run.
            DamagedError: if the journal is damaged in the middle; a torn end is cut off, and `cut` says so.
            ReplayError: if what was written down does not come out again.

        Example:
            >>> import tempfile
            >>> import numpy as np
            >>> from consensus_imitation import ConsensusImitator, TopK, ensembles
            >>> members = ensembles.tabular(np.array([[[0.9, 0.1]], [[0.2, 0.8]]]))
            >>> run_dir = tempfile.mkdtemp() + "/first"
            >>> imitator = ConsensusImitator(members, lambda observation: 1, selection=TopK(2), journal=run_dir)
            >>> actions = [imitator.act(0).action for _ in range(20)]
            >>> weights = imitator.weights
            >>> imitator.close()
            >>> again = ConsensusImitator.resume(run_dir, members, lambda observation: 1, selection=TopK(2))
            >>> again.num_steps, bool((again.weights == weights).all())
            (20, True)
            >>> again.close()
        """
        rules = (selection, aggregation, alarm, inflation_budget, merging, reweighting)
        imitator = cls.__new__(cls)
        imitator._take_up(run_dir, ensemble, make_learner(ensemble, *rules), demonstrator, patience)
        return imitator

    # --- one step and what surrounds it ---

    def begin_episode(self, env: int | None = None) -> None:
        """Say that an episode begins.

        A budget per episode starts afresh, members whose memory is of one episode forget, and the demonstrator is told
        (``reset()``).

        Args:
            env: which environment of a batch; None for all.

        Raises:
            PendingQueryError: if a query of that environment is unanswered.
            ConfigurationError: if there is no such environment.
        """
        env = check_env(env, self.num_envs)
        self._open_directory()
        self._refuse_if_open(env)
        stream = self._begun(env)
        # First: if it fails, no ledger has started afresh.
        self._panel.reset(env)
        with self._together():
            self._write_event("begin", env)
            self._state = self._state.replace(stream=stream)

    def study(self, observations: Any, actions: Any, starts: Any = None) -> None:
        """Learn from recorded demonstrations, each as if it had been the answer to a query: a warm start.

        They have to be in the order in which they were made. No step is counted, and no query.

        Args:
            observations: T of them: arrays with a leading axis T, or a list of observations as `act` takes them.
            actions: [T], what the demonstrator did.
            starts: bool [T], an episode begins with this observation; by default only the first does.

        Raises:
            PendingQueryError: if a query is unanswered.
            ValueError: if lengths differ, or an observation does not fit.
            InvalidAnswerError: if an action is none.
        """
        self._refuse_if_open()
        setup = self._setup
        if not setup.ensemble.pure:
            raise ConfigurationError(
                "members that run on the host cannot study recordings: let them answer queries instead"
            )
        after = warm_start(setup.learner, setup.ensemble, self._state, observations, actions, starts)
        self._warn_if_unexplained(after)
        with self._together():
            self._write_studied(after)
            self._state = after

    def policy(self, num_envs: int | None = None, seed: int = 0) -> Policy:
        """What has been learned, acting alone, for evaluation: never asks, changes nothing, and promises nothing.

        Args:
            num_envs: of the evaluation, which has its own memory; None for a single environment.
            seed: of its own draws, if it is to draw.
        """
        return Policy(lambda: self._state, self._setup.ensemble, self._setup.learner, num_envs, seed)

    def decide(self, observation: Any, active: Any = None, env: int | None = None) -> Decision:
        """Act or ask. If the decision is a query, pass the demonstrator's action to `answer` before the next step.

        A batch of environments goes on in lockstep, all of them waiting for whoever was asked about; or each by itself,
        with ``env``: then a query that waits stops its own environment only, and answers may come in any order. The
        posterior, which all share, takes them in the order in which they are given.

        Args:
            observation: as the ensemble takes it; with a leading axis B for a batch in lockstep.
            active: bool [B], or None for all, in lockstep. In a row that is False nothing is asked or learned, and the
                action is 0: for the step on which a vector environment resets an environment and ignores its action.
            env: which environment of a batch this is about; None for the only one, or all in lockstep.

        Raises:
            PendingQueryError: if an earlier query (of this environment) is unanswered.
            ObservationError: if a batch has another number of rows, or an observation does not fit.
            ConfigurationError: if there is no such environment.
            FailedError: if the step could not be written down: nothing was done.
        """
        env = check_env(env, self.num_envs)
        self._refuse_if_open(env)
        rows = check_active(active, self._setup.rows(env), self.num_envs)
        self._write_checkpoint_if_due()
        own = self._setup.taken(self._state, env)
        step = self.num_steps if env is None else int(self._steps_of[env])
        batch = self._setup.rows(env) is not None
        number = self._numbers.at(own.stream, step, env, batch)
        judged = judge(self._setup, own, self._readable(observation), number, env, rows)
        decision = judged.decision(self._setup, step, env)
        asks = bool(np.any(decision.queried))
        packed = self._packed(observation, needed=asks)
        decision = self._reported(decision, packed, rows)
        if asks:
            waiting = judged.waiting(decision, observation, rows, asked=time.time())
            with self._together():
                self._write_decision(decision, judged, number, packed, rows)
                self._queries.wait(waiting)
            return decision
        after = unasked(self._setup, self._state, judged, decision, rows)
        # The last thing but writing that can fail: until then nothing has changed, and no action is given out.
        self._tell(decision, rows)
        with self._together():
            self._write_decision(decision, judged, number, packed, rows)
            self._close(after, env)
        return decision

    def answer(self, decision: Decision | Query, action: Any) -> Decision:
        """Give the demonstrator's answer to a query, learn from it, and close the step.

        With a journal, the answer is on disk when this returns. The same answer to the same query again changes
        nothing, and returns what was returned the first time.

        Args:
            decision: the one returned by `decide`, with ``queried`` true; or its ``query``, if the answer comes from
                afar.
            action: an integer in ``0 .. A-1``; for a batch in lockstep [B], of which only the rows that were queried
                are read.

        Returns:
            The decision, now with its action.

        Raises:
            InvalidAnswerError: if the action is no action: the query stays open.
            WrongQueryError: if the query is another run's, or about another observation, or was never posed.
            StaleAnswerError: if the query was answered differently before, or withdrawn.
            FailedError: if the answer could not be written down.
        """
        found = self._queries.find(decision)
        if isinstance(found, Decision):
            repeats(found, check_answer(found, action, self._setup.ensemble.num_actions))
            return found
        answer = check_answer(found.decision, action, self._setup.ensemble.num_actions)
        return self._settle(found, answer, np.zeros(np.shape(answer), bool))

    def act(self, observation: Any, active: Any = None, env: int | None = None) -> Decision:
        """Decide, and ask the demonstrator if need be. ``decision.action`` is always an action to take.

        If the demonstrator raises, or gives no valid action, the exception passes through, the step is withdrawn and
        the state is what it was; calling again with the same observation asks again. A query that waited when a run
        was taken up again is asked again if it is about this very observation.

        Args:
            observation: as for `decide`.
            active: as for `decide`.
            env: as for `decide`.

        Raises:
            NoDemonstratorError: if a query falls due and there is no demonstrator.
            SilenceError: if nobody answers, and `Patience` names no safe action.
        """
        waiting = self._posed(observation, active, env)
        if isinstance(waiting, Decision):
            return waiting
        try:
            return self._settle_asked(waiting, *ask(self._panel, self._setup, waiting))
        except BaseException:
            self._withdraw(waiting)
            raise

    async def act_async(self, observation: Any, active: Any = None, env: int | None = None) -> Decision:
        """`act`, letting others work while the demonstrator thinks. Demonstrators may be coroutine functions.

        One imitator belongs to one event loop; of a batch, every environment may have a task of its own::

            async def life(b):
                while True:
                    decision = await imitator.act_async(observation[b], env=b)
                    ...

        A demonstrator that hangs stops its own environment only. Cancelling withdraws the step.

        Args:
            observation: as for `decide`.
            active: as for `decide`.
            env: as for `decide`.

        Raises:
            NoDemonstratorError: if a query falls due and there is no demonstrator.
            SilenceError: if nobody answers, and `Patience` names no safe action.
        """
        waiting = self._posed(observation, active, env)
        if isinstance(waiting, Decision):
            return waiting
        try:
            return self._settle_asked(waiting, *await ask_async(self._panel, self._setup, waiting))
        except BaseException:
            self._withdraw(waiting)
            raise

    def clear_alarm(self) -> None:
        """Act again after answers that no member explains. No guarantee is left: the truth is not among them."""
        with self._together():
            self._write_event("clear", None)
            self._clear()

    # --- details ---

    def _assemble(self, setup: Setup, demonstrator: Any, patience: Patience | None, state: LearnerState) -> None:
        self._panel = Panel(demonstrator, setup.num_envs, patience)
        if isinstance(self._panel.patience.then, SafeAction):
            self._panel.patience.then.check(setup.ensemble.num_actions)
        self._stand(setup, state)

    def _posed(self, observation: Any, active: Any, env: int | None) -> OpenStep | Decision:
        """The step that waits for an answer now; or the decision, if nothing has to be asked."""
        env = check_env(env, self.num_envs)
        # Before anybody is asked: the answer could not be written down.
        self._open_directory()
        waiting = self._queries.blocking(env)
        if waiting is not None and waiting.restored and waiting.decision.env == env:
            rows, then = check_active(active, self._setup.rows(env), self.num_envs), waiting.active
            same_rows = rows is then if rows is None or then is None else bool(np.all(rows == then))
            if same_rows and self._is_about(waiting, observation):
                return waiting
        decision = self.decide(observation, active, env)
        waiting = self._queries.blocking(env)
        return decision if waiting is None else waiting

    def _settle_asked(self, waiting: OpenStep, answers: Any, late: Any) -> Decision:
        """`_settle`, unless the query was closed by somebody else while the demonstrator was asked: that stands."""
        found = self._queries.find(waiting.query)
        return found if isinstance(found, Decision) else self._settle(found, answers, late)

    def _settle(self, waiting: OpenStep, answers: Any, late: Any) -> Decision:
        # Before anybody is told.
        self._open_directory()
        patience = self._panel.patience.then
        safe_action = patience.action if isinstance(patience, SafeAction) else 0
        after, closed = settled(self._setup, self._state, waiting, answers, late, safe_action)
        self._warn_if_unexplained(after)
        self._tell(closed, waiting.active)
        with self._together():
            self._write_answer(waiting, closed, after)
            self._learned(waiting, closed, after)
        return closed

    def _warn_if_unexplained(self, after: LearnerState) -> None:
        """Before anything changes: where warnings are errors, a query stays open, and a recording is not learned."""
        if bool(after.unexplained) and not self._unexplained:
            warnings.warn(UNEXPLAINED, ConsensusWarning, stacklevel=4)

    def _withdraw(self, waiting: OpenStep) -> None:
        """The step is not taken. If something could not be written down, the journal says what is so."""
        if waiting in self._queries.waiting() and not self._failed and not self._closed:
            with self._together():
                self._write_event("withdraw", waiting.decision.env, query=waiting.query.id)
                self._queries.close(waiting, None)

    def _tell(self, decision: Decision, active: np.ndarray | None) -> None:
        """Tell the demonstrators what is about to be done."""
        if not self._panel.listens:
            return
        late = np.asarray(decision.unanswered)
        asked = np.asarray(decision.queried) & ~late
        if decision.env is None:
            self._panel.observe(decision.action, asked, active, np.broadcast_to(late, asked.shape))
        else:
            rows = np.arange(self.num_envs or 0) == decision.env
            self._panel.observe(np.full(rows.shape, decision.action), rows & asked, rows, rows & late)
