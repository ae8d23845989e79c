"""The stateful shell: validate, make one core call, write it down, swap the run. It contains no arithmetic."""

from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from consensus_imitation.core.aggregation import Aggregation
from consensus_imitation.core.alarm import MisspecificationAlarm
from consensus_imitation.core.budget import InflationBudget
from consensus_imitation.core.members import Ensemble
from consensus_imitation.core.merging import Merging
from consensus_imitation.core.reweighting import Reweighting
from consensus_imitation.core.rules import Rules
from consensus_imitation.core.selection import SelectionRule
from consensus_imitation.core.state import LearnerState
from consensus_imitation.demonstrators.patience import Patience
from consensus_imitation.imitator import kernels
from consensus_imitation.imitator._arguments import check_construction
from consensus_imitation.imitator._asking import ask, ask_async, make_panel
from consensus_imitation.imitator._host_members import initial_state
from consensus_imitation.imitator._live import Live, begin, resumed
from consensus_imitation.imitator._numbered import NUMBERED
from consensus_imitation.imitator._queries import ELSEWHERE, OpenStep, Reply
from consensus_imitation.imitator._readings import Readings
from consensus_imitation.imitator._run import Run
from consensus_imitation.imitator._saving import load_state
from consensus_imitation.imitator._setup import Setup, check_fits, check_types, num_envs_of, shapes
from consensus_imitation.imitator._teaching import in_rows
from consensus_imitation.imitator._turns import Turn
from consensus_imitation.imitator._warm_start import Recording
from consensus_imitation.imitator.decision import Decision, Query
from consensus_imitation.imitator.policy import Policy
from consensus_imitation.journal.directory import Journal


class ConsensusImitator(Readings):
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
        rules = Rules.chosen(
            ensemble, selection=selection, aggregation=aggregation, alarm=alarm, budget=inflation_budget,
            merging=merging, reweighting=reweighting,
        )  # fmt: skip
        setup = Setup.of(ensemble, rules, None if num_envs is None else int(num_envs))
        keys = kernels.make_keys(seed)
        state = initial_state(setup.learner, ensemble, keys.draws, setup.num_envs, keys.members)
        panel = make_panel(setup, demonstrator, patience)
        self._hold(begin(NUMBERED, Run.begin(setup, state), panel, journal))

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

        What has voided a promise is in the state; that the rules or the prior are others than those it was made with,
        is noticed, also before the first step if its weights are another prior's. That the members are the same is for
        you to see to: `resume` compares them, a state does not hold them. An environment that was waiting for an answer
        asks again, and its question counts as one that got no answer.

        Raises:
            ConfigurationError: if the state is not one of this ensemble.
        """
        rules = Rules.chosen(
            ensemble, selection=selection, aggregation=aggregation, alarm=alarm, budget=inflation_budget,
            merging=merging, reweighting=reweighting,
        )  # fmt: skip
        setup = Setup.of(ensemble, rules, num_envs_of(state))
        check_fits(setup, state)
        if journal is not None:
            check_types(shapes(setup), state)
        panel = make_panel(setup, demonstrator, patience)
        run = Run.begin(setup, state).adopted()
        return cls._of(begin(NUMBERED, run, panel, journal))

    @classmethod
    def load(
        cls,
        path: str | Path,
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
        """Go on from what `save` wrote, with the same ensemble and rules, as `from_state` does.

        Raises:
            FileNotFoundError: if there is no such file.
            JournalCorruptedError: if it is no file of this library, or not what was written.
            ConfigurationError: if it does not fit the ensemble, was saved by a `SamplingImitator`, or is a checkpoint
                of a run; and as for `from_state`.

        Example:
            >>> import tempfile
            >>> import numpy as np
            >>> from consensus_imitation import ConsensusImitator, TopK, ensembles
            >>> members = ensembles.tabular(np.array([[[0.9, 0.1]], [[0.2, 0.8]]]))
            >>> imitator = ConsensusImitator(members, lambda observation: 1, selection=TopK(2), seed=0)
            >>> actions = [imitator.act(0).action for _ in range(20)]
            >>> path = tempfile.mkdtemp() + "/learned"
            >>> imitator.save(path)
            >>> again = ConsensusImitator.load(path, members, lambda observation: 1, selection=TopK(2))
            >>> again.num_steps, bool((again.weights == imitator.weights).all())
            (20, True)
        """
        rules: dict[str, Any] = {
            "selection": selection, "aggregation": aggregation, "alarm": alarm, "merging": merging,
            "reweighting": reweighting,
        }  # fmt: skip
        chosen = Rules.chosen(ensemble, budget=inflation_budget, **rules)
        state = in_rows(load_state(path, NUMBERED, ensemble.num_members, partial(Setup.of, ensemble, chosen)))
        given: dict[str, Any] = {"inflation_budget": inflation_budget, "patience": patience, "journal": journal}
        return cls.from_state(state, ensemble, demonstrator, **rules, **given)

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
            JournalCorruptedError: if the journal is damaged in the middle. A torn end is cut off; see `repairs`.
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
        rules = Rules.chosen(
            ensemble, selection=selection, aggregation=aggregation, alarm=alarm, budget=inflation_budget,
            merging=merging, reweighting=reweighting,
        )  # fmt: skip
        panel_of = partial(make_panel, demonstrator=demonstrator, patience=patience)
        return cls._of(resumed(NUMBERED, run_dir, partial(Setup.of, ensemble, rules), panel_of))

    @classmethod
    def _of(cls, live: Live[Run]) -> Self:
        imitator = cls.__new__(cls)
        imitator._hold(live)
        return imitator

    def _hold(self, live: Live[Run]) -> None:
        super().__init__(live)
        self._turn = Turn()

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
        self._turn.refuse_reentrance()
        with self._turn:
            self._live.begin_episode(env)

    def pretrain(
        self,
        observations: Any,
        actions: Any,
        episode_starts: Any = None,
        action_masks: Any = None,
        *,
        sources: Any = None,
        trusted: Any = False,
    ) -> None:
        """Learn from recorded demonstrations, each as if it had been the answer to a query: a warm start.

        They have to be in the order in which they were made. No step is counted, and no query.

        That the truth stays in (T2) takes more: each recording is studied **once**, and none was left out for what it
        says or how it ended. What was selected, nobody can see. A recording that comes again is learned from, with a
        warning, and voids the certificate, whatever the imitator goes on from. (So do two equal episodes of 8 steps or
        more: independent answers hardly are. Of a demonstrator that never varies, study one copy.)

        Args:
            observations: T of them: arrays with a leading axis T, or a list of observations as `act` takes them.
            actions: [T], what the demonstrator did.
            episode_starts: bool [T], an episode begins with this observation; by default only the first does.
            action_masks: bool [T, A], what was legal at each step; None for everything.
            sources: who made them, one for all or T of them, each as for `answer`; None for nobody in particular.
            trusted: whether they count for every member, a bool or [T], where the answers are divided among members
                (``Training(bootstrap="partition")``): what is promised about false answers assumes that these are true.

        Raises:
            PendingQueryError: if a query is unanswered.
            ValueError: if lengths differ, or an observation or the masks do not fit.
            InvalidAnswerError: if an action is none, or its mask forbids it.
            ConfigurationError: if ``sources`` or ``trusted`` do not fit.
        """
        self._turn.refuse_reentrance()
        with self._turn:
            self._live.pretrain(Recording(observations, actions, episode_starts, action_masks, sources, trusted))

    def policy(self, num_envs: int | None = None, seed: int = 0) -> Policy:
        """What has been learned, acting alone, for evaluation: never asks, changes nothing, and promises nothing.

        Args:
            num_envs: B, to take batches of B and nothing else; None to take single observations and batches of any
                size, as Stable-Baselines3's ``evaluate_policy`` gives them. The policy has its own memory.
            seed: of its own draws, if it is to draw.
        """
        live, setup = self._live, self._live.run.setup
        return Policy(lambda: live.run.state, setup.ensemble, setup.learner, num_envs, seed)

    def decide(self, observation: Any, active: Any = None, env: int | None = None, action_mask: Any = None) -> Decision:
        """Act or ask. If the decision is a query, pass the demonstrator's action to `answer` before the next step.

        A batch of environments goes on in lockstep, all of them waiting for whoever was asked about; or each by itself,
        with ``env``: then a query that waits stops its own environment only, and answers may come in any order. The
        posterior, which all share, takes them in the order in which they are given.

        Args:
            observation: as the ensemble takes it; with a leading axis B for a batch in lockstep.
            active: bool [B], or None for all, in lockstep. In a row that is False nothing is asked or learned, and the
                action is 0: for the step on which a vector environment resets an environment and ignores its action.
            env: which environment of a batch this is about; None for the only one, or all in lockstep.
            action_mask: bool [A], the actions that are legal here, or [B, A] in lockstep; None for all of them. Every
                member's prediction is conditioned on it before anything else is made of it (`core.legal.conditioned`),
                and an answer that it forbids is refused.

        Raises:
            PendingQueryError: if an earlier query (of this environment) is unanswered.
            ObservationError: if a batch has another number of rows, an observation does not fit, or a mask does not, or
                leaves no action.
            ConfigurationError: if there is no such environment.
            JournalWriteError: if the step could not be written down: nothing was done.
        """
        self._turn.refuse_reentrance()
        with self._turn:
            return self._live.decide(observation, active, env, action_mask, ELSEWHERE)

    def answer(self, decision: Decision | Query, action: Any, source: Any = None) -> Decision:
        """Give the demonstrator's answer to a query, learn from it, and close the step.

        With a journal, the answer is on disk when this returns. The same answer to the same query again changes
        nothing, and returns what was returned the first time.

        Args:
            decision: the one returned by `decide`, with ``queried`` true; or its ``query``, if the answer comes from
                afar.
            action: an integer in ``0 .. A-1``; for a batch in lockstep [B], of which only the rows that were queried
                are read.
            source: who answered, a name or an integer of at least 0, or for a batch in lockstep [B] of them; None for
                nobody in particular. The journal keeps it. Members that divide the answers
                (``Training(bootstrap="partition")``) divide them by it. Of a repeat it is not looked at.

        Returns:
            The decision, now with its action.

        Raises:
            InvalidAnswerError: if the action is no action, or not legal here: the query stays open.
            WrongQueryError: if the query is another run's, or about another observation, or was never posed.
            StaleAnswerError: if the query was answered differently before, or withdrawn.
            JournalWriteError: if the answer could not be written down.
        """
        self._turn.refuse_reentrance()
        with self._turn:
            return self._live.answer(decision, action, source)

    def take_over(
        self,
        observation: Any,
        action: Any,
        *,
        learn: bool = False,
        env: int | None = None,
        action_mask: Any = None,
        source: Any = None,
    ) -> Decision:
        """Record a step on which the demonstrator acted unasked: a person who takes the controls for a while.

        The step counts, members with a memory remember it, and the journal says who acted, and what the members would
        have done. The posterior does not move: somebody who chooses when to act chooses what is seen of him, and such
        evidence is selected. Nothing is drawn, asked, or entered into the inflation budget's ledger.

        Args:
            observation: as for `decide`.
            action: what the demonstrator did, an integer in ``0 .. A-1``.
            learn: whether members that learn are to learn from it. What they learn then leans to the situations in
                which somebody took over; their predictions are scored on asked steps only, as before.
            env: which environment of a batch; None for a single one.
            action_mask: as for `decide`.
            source: who took over, as for `answer`; None for the source that the demonstrator names, if there is one.

        Returns:
            The decision, with the action; ``queried`` is False.

        Raises:
            PendingQueryError: if a query of that environment is unanswered: answer it, or withdraw it.
            InvalidAnswerError: if the action is no action, or not legal here.
            ObservationError: if the observation or the mask does not fit.
            ConfigurationError: for a whole batch in lockstep.
            JournalWriteError: if the step could not be written down: nothing was done.

        Example:
            >>> import numpy as np
            >>> from consensus_imitation import ConsensusImitator, TopK, ensembles
            >>> members = ensembles.tabular(np.array([[[0.9, 0.1]], [[0.2, 0.8]]]))
            >>> imitator = ConsensusImitator(members, selection=TopK(2), seed=0)
            >>> imitator.take_over(0, 1).action, imitator.num_steps, imitator.num_queries
            (1, 1, 0)
            >>> imitator.weights.tolist()
            [0.5, 0.5]
        """
        self._turn.refuse_reentrance()
        with self._turn:
            return self._live.take_over(observation, action, bool(learn), env, action_mask, source)

    def withdraw(self, decision: Decision | Query) -> None:
        """Give up a query that nobody will answer; its step counts for nothing, and its environment asks next.

        After `resume`, for example, where the world of a query that waited is gone. A query that was answered stays
        as it is.

        Args:
            decision: with the query; or the query itself.

        Raises:
            WrongQueryError: if the query is another run's, or was never posed.
            StaleAnswerError: if it was withdrawn before.
            JournalWriteError: if that could not be written down.
        """
        self._turn.refuse_reentrance()
        with self._turn:
            self._live.withdraw(decision)

    def act(self, observation: Any, active: Any = None, env: int | None = None, action_mask: Any = None) -> Decision:
        """Decide, and ask the demonstrator if need be. ``decision.action`` is always an action to take.

        If the demonstrator raises, or gives no legal action, the exception passes through and the question stays open:
        calling again with the same observation (and mask) asks again whoever has not answered. With another one the
        question is withdrawn, and this step asks for certain, as does every one until there is an answer: the random
        number that said "ask" is spent. A query that waited when a run was resumed is asked again if it is about
        this very observation.

        The demonstrator is called outside of the imitator's lock: other threads may act for other environments.

        Args:
            observation: as for `decide`.
            active: as for `decide`.
            env: as for `decide`.
            action_mask: as for `decide`. A demonstrator that takes ``action_mask`` is shown it, too.

        Raises:
            NoDemonstratorError: if a query falls due and there is no demonstrator.
            DemonstratorTimeoutError: if nobody answers, and `Patience` names no safe action.
        """
        asker = object()
        try:
            waiting = self._pose(observation, active, env, action_mask, asker)
            if isinstance(waiting, Decision):
                return waiting
            return self._settle(waiting, ask(self._live.panel, self._live.run, waiting))
        except BaseException:
            self._give_up(asker)
            raise

    async def act_async(
        self, observation: Any, active: Any = None, env: int | None = None, action_mask: Any = None
    ) -> Decision:
        """`act`, letting others work while the demonstrator thinks. Demonstrators may be coroutine functions.

        One imitator belongs to one event loop; of a batch, every environment may have a task of its own::

            async def life(b):
                while True:
                    decision = await imitator.act_async(observation[b], env=b)
                    ...

        A demonstrator that hangs stops its own environment only. After cancelling the question stays open, as after an
        exception in `act`. In lockstep an exception is raised once everybody who was asked has answered, so that nobody
        is asked twice because somebody else failed.

        Args:
            observation: as for `decide`.
            active: as for `decide`.
            env: as for `decide`.
            action_mask: as for `decide`. A demonstrator that takes ``action_mask`` is shown it, too.

        Raises:
            NoDemonstratorError: if a query falls due and there is no demonstrator.
            DemonstratorTimeoutError: if nobody answers, and `Patience` names no safe action.
        """
        asker = object()
        try:
            waiting = self._pose(observation, active, env, action_mask, asker)
            if isinstance(waiting, Decision):
                return waiting
            return self._settle(waiting, await ask_async(self._live.panel, self._live.run, waiting))
        except BaseException:
            self._give_up(asker)
            raise

    def clear_alarm(self) -> None:
        """Act again after answers that no member explains. No guarantee is left: the truth is not among them.

        While every answer is explained, only what was noticed is forgotten: the misspecification alarm's bets go on.
        """
        self._turn.refuse_reentrance()
        with self._turn:
            self._live.clear_alarm()

    def restore(self, state: LearnerState) -> None:
        """Go back, or on, to a `state` of this imitator or of one like it. Queries that wait are withdrawn.

        What has voided a promise stays, and an environment that waits for an answer asks again. What its question has
        taken from the inflation budget is not given back. After going back, to fewer steps than were taken, nothing is
        promised: the same random numbers decide again.

        Raises:
            ConfigurationError: if the state is not one of this ensemble and these rules, or if a journal is kept, which
                only goes on.
        """
        self._turn.refuse_reentrance()
        with self._turn:
            self._live.restore(state)

    @property
    def aggregation(self) -> Aggregation:
        """The rule that combines the members.

        Another may be put in its place between two steps; one that differs in traced parameters only, such as the
        threshold of a gate, does not recompile. What is guaranteed is guaranteed of one rule from the first step: a
        `certificate` for the minimum is void if another rule came before it. A run with a journal has one rule.
        """
        return self._live.run.setup.learner.aggregation

    @aggregation.setter
    def aggregation(self, rule: Aggregation) -> None:
        self._turn.refuse_reentrance()
        with self._turn:
            self._live.combine_by(rule)

    @property
    def repairs(self) -> tuple[str, ...]:
        """What was found torn and cut off, or skipped, when the run was resumed; empty if all was whole."""
        return self._live.recorder.repairs

    def close(self) -> None:
        """End the journal: a checkpoint, and the directory is free for the next writer. Queries go on waiting in it.

        Nothing can be done with the imitator afterwards that would have to be written down. Closing it again does
        nothing.

        Raises:
            JournalWriteError: if something could not be written; the directory is free all the same.
        """
        self._turn.refuse_reentrance()
        with self._turn:
            self._live.recorder.close(self._live.run)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- the turns that `act` takes, before and after asking ---

    def _pose(self, observation: Any, active: Any, env: int | None, mask: Any, asker: object) -> OpenStep | Decision:
        self._turn.refuse_reentrance()
        with self._turn:
            return self._live.pose(observation, active, env, mask, asker)

    def _settle(self, waiting: OpenStep, reply: Reply) -> Decision:
        self._turn.refuse_reentrance()
        with self._turn:
            return self._live.settle_asked(waiting, reply)

    def _give_up(self, asker: object) -> None:
        with self._turn:
            self._live.give_up(asker)

    def __repr__(self) -> str:
        """Members, rules, how it went so far, and where it is written down."""
        return f"{super().__repr__()[:-1]}\n  {self._live.recorder}>"
