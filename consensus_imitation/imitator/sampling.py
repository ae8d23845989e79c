"""The stateful shell over any action space, built on the parts of `ConsensusImitator`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from consensus_imitation.core.any_action import Action, SamplingEnsemble
from consensus_imitation.core.sampling_learner import SamplingLearner, SamplingState
from consensus_imitation.core.selection import AlphaThreshold, SelectionRule, TopK
from consensus_imitation.demonstrators.patience import Patience
from consensus_imitation.errors import ConfigurationError
from consensus_imitation.imitator._arguments import check_construction
from consensus_imitation.imitator._live import Live, begin, resumed
from consensus_imitation.imitator._queries import ELSEWHERE
from consensus_imitation.imitator._sampled import SAMPLED
from consensus_imitation.imitator._sampling_acting import make_panel
from consensus_imitation.imitator._sampling_answers import check_answer
from consensus_imitation.imitator._sampling_checks import (
    check_fits,
    check_sampling_ensemble,
    check_space,
    refuse_mask,
)
from consensus_imitation.imitator._sampling_decision import SamplingDecision
from consensus_imitation.imitator._sampling_readings import SamplingReadings
from consensus_imitation.imitator._sampling_run import OpenSample, SamplingRun
from consensus_imitation.imitator._sampling_setup import SamplingSetup
from consensus_imitation.imitator._saving import load_state
from consensus_imitation.imitator._setup import check_types
from consensus_imitation.imitator._turns import Turn
from consensus_imitation.imitator.decision import Query
from consensus_imitation.imitator.kernels import make_keys
from consensus_imitation.journal.directory import Journal


class SamplingImitator(SamplingReadings):
    """`ConsensusImitator` for actions that cannot be listed: vectors, sequences, or any pytree of arrays.

    Calls from several threads take turns; the demonstrator is asked outside of them. Queries, patience, `withdraw` and
    the journal are those of `ConsensusImitator`. It differs in this:

    * Of several environments each goes on by itself: every call says which (``env=``). There is no lockstep.
    * It has neither an inflation budget nor merging. The budget adds up ``ln(1 + theta)``; merging compares members by
      total variation distance. Of actions that cannot be listed, both can only be estimated from samples, and no
      guarantee may rest on an estimate. Neither has it a `MisspecificationAlarm` or a `Reweighting`.
    * Nobody takes a safe action: when nobody answers, that is an error, or it asks again.
    * It learns from no recordings, and is told of no episodes.

    Args:
        ensemble: the members, for instance from `gaussian`.
        demonstrator: ``observation -> action``, called when a query falls due in `act`; or anything else that
            `demonstrators.as_demonstrator` takes, or for several environments a sequence of B such. One with
            ``observe(action, who)`` is told of every step. May be None if only `decide` and `answer` are used.
        action_space: anything with ``contains(action)``, such as a Gymnasium space; answers outside it are refused.
            None to check shape, type and finiteness only.
        selection: which members have a say. By default ``TopK(2) | AlphaThreshold(0.01)``: a second member always has a
            veto, and a truth of prior weight w is left out with probability at most 0.01 / w.
        seed: of the draws, an integer of at least 0, of which every bit counts; None takes it from the operating
            system. A member that knows it can foresee the draws, and then nothing is promised.
        num_envs: B, for environments that share one posterior; None for a single one.
        patience: how long to wait for an answer, how often to ask again, and what to do when nobody answers; by default
            it waits for ever. A `SafeAction` is the number of an action, and is refused here.
        journal: where to write down every step, so that nothing is lost; a directory, or a `Journal`. Then observations
            and actions have to be arrays and numbers, in plain lists, tuples and dicts. None for nowhere.

    Raises:
        ConfigurationError: if the members are none of this kind, the selection rule does not fit them, the action space
            cannot be asked, the demonstrators do not fit the environments, the patience names a safe action, or the
            seed is no integer or negative.
        JournalError: if the journal's directory holds a run already, or cannot be written.
        TypeError: if the demonstrator cannot answer.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation import TopK
        >>> from consensus_imitation.ensembles.any_action import gaussian
        >>> from consensus_imitation.imitator import SamplingImitator
        >>> gains = jnp.array([[1.0], [1.0], [9.0]])
        >>> ensemble = gaussian(lambda gain, x: (-gain * x, jnp.array([-2.0])), gains, low=-10.0, high=10.0)
        >>> imitator = SamplingImitator(ensemble, demonstrator=lambda x: -x, selection=TopK(3), seed=0)
        >>> imitator.act(jnp.array([0.0])).queried  # at 0 all three controllers do the same
        False
        >>> imitator.act(jnp.array([1.0])).dissenter
        2
    """

    def __init__(
        self,
        ensemble: SamplingEnsemble,
        demonstrator: Callable[[Any], Action] | Any = None,
        *,
        action_space: Any = None,
        selection: SelectionRule | None = None,
        seed: int | None = None,
        num_envs: int | None = None,
        patience: Patience | None = None,
        journal: Journal | str | Path | None = None,
    ) -> None:
        check_sampling_ensemble(ensemble)
        check_construction(ensemble, seed, num_envs)
        envs = None if num_envs is None else int(num_envs)
        setup = SamplingSetup(_learner(ensemble, selection), envs, check_space(action_space))
        keys = make_keys(seed)
        state = setup.learner.init(keys.draws, keys.members, envs)
        self._hold(begin(SAMPLED, SamplingRun.begin(setup, state), make_panel(setup, demonstrator, patience), journal))

    @classmethod
    def from_state(
        cls,
        state: SamplingState,
        ensemble: SamplingEnsemble,
        demonstrator: Callable[[Any], Action] | Any = None,
        *,
        selection: SelectionRule,
        action_space: Any = None,
        patience: Patience | None = None,
        journal: Journal | str | Path | None = None,
    ) -> Self:
        """Go on from a `state` taken earlier, with the same ensemble and rule.

        What voids the promises is in the state; that the rule or the prior is another than it was made with, is
        noticed. That the members are the same is for you to see to: `resume` compares them. An environment that was
        waiting for an answer asks again.

        Raises:
            ConfigurationError: if the state is not one of this ensemble, or as for the constructor.
            JournalError: as for the constructor.
            TypeError: if the demonstrator cannot answer.
        """
        check_sampling_ensemble(ensemble)
        learner = SamplingLearner(ensemble, selection)
        setup = SamplingSetup(learner, check_fits(learner, state), check_space(action_space))
        if journal is not None:
            check_types(setup.shapes(), state)
        run = SamplingRun.begin(setup, learner.adopt(state))
        return cls._of(begin(SAMPLED, run, make_panel(setup, demonstrator, patience), journal))

    @classmethod
    def load(
        cls,
        path: str | Path,
        ensemble: SamplingEnsemble,
        demonstrator: Callable[[Any], Action] | Any = None,
        *,
        selection: SelectionRule,
        action_space: Any = None,
        patience: Patience | None = None,
        journal: Journal | str | Path | None = None,
    ) -> Self:
        """Go on from what `save` wrote, with the same ensemble and rule, as `from_state` does.

        Raises:
            FileNotFoundError: if there is no such file.
            JournalCorruptedError: if it is no file of this library, or not what was written.
            ConfigurationError: if it does not fit the ensemble, was saved by a `ConsensusImitator`, or is a checkpoint
                of a run; and as for `from_state`.
        """
        check_sampling_ensemble(ensemble)
        setup_of = partial(SamplingSetup, SamplingLearner(ensemble, selection))
        state = load_state(path, SAMPLED, int(ensemble.num_members), setup_of)
        return cls.from_state(
            *(state, ensemble, demonstrator),
            selection=selection, action_space=action_space, patience=patience, journal=journal,
        )  # fmt: skip

    @classmethod
    def resume(
        cls,
        run_dir: str | Path,
        ensemble: SamplingEnsemble,
        demonstrator: Callable[[Any], Action] | Any = None,
        *,
        action_space: Any = None,
        selection: SelectionRule | None = None,
        patience: Patience | None = None,
    ) -> Self:
        """Go on with a run that kept a journal, from where it ended, however it ended.

        As `ConsensusImitator.resume`: the newest whole checkpoint is read, what the journal holds after it is done
        again, and compared with what was written down, bit for bit. The queries that wait come back (`pending`). The
        last action that was written down may not have been carried out: look at the environment.

        Args:
            run_dir: the journal's directory.
            ensemble: the members, constructed as they were then. (Files hold arrays, never code.)
            demonstrator: may be another; one with a memory of its own has to be brought up to date by you.
            action_space: may be another.
            selection: as it was then.
            patience: may be another.

        Raises:
            ConfigurationError: if members or rule are not those of the run, or it is a `ConsensusImitator`'s.
            LockedError: if another process, or another imitator in this one, is writing the run.
            JournalCorruptedError: if the journal is damaged in the middle. A torn end is cut off; see `repairs`.
            ReplayError: if what was written down does not come out again.

        Example:
            >>> import tempfile
            >>> import jax.numpy as jnp
            >>> from consensus_imitation import TopK
            >>> from consensus_imitation.ensembles.any_action import gaussian
            >>> from consensus_imitation.imitator import SamplingImitator
            >>> gains = jnp.array([[1.0], [1.1]])
            >>> ensemble = gaussian(lambda gain, x: (-gain * x, jnp.array([-2.0])), gains, low=-10.0, high=10.0)
            >>> run_dir = tempfile.mkdtemp() + "/first"
            >>> with SamplingImitator(ensemble, lambda x: -x, selection=TopK(2), seed=0, journal=run_dir) as imitator:
            ...     actions = [imitator.act(jnp.array([2.0])).action for _ in range(20)]
            >>> again = SamplingImitator.resume(run_dir, ensemble, lambda x: -x, selection=TopK(2))
            >>> again.num_steps, bool((again.weights == imitator.weights).all())
            (20, True)
            >>> again.close()
        """
        check_sampling_ensemble(ensemble)
        learner, space = _learner(ensemble, selection), check_space(action_space)
        setup_of = partial(SamplingSetup, learner, action_space=space)
        panel_of = partial(make_panel, demonstrator=demonstrator, patience=patience)
        return cls._of(resumed(SAMPLED, run_dir, setup_of, panel_of))

    @classmethod
    def _of(cls, live: Live[SamplingRun]) -> Self:
        imitator = cls.__new__(cls)
        imitator._hold(live)
        return imitator

    def _hold(self, live: Live[SamplingRun]) -> None:
        super().__init__(live)
        self._turn = Turn()

    # --- one step ---

    def decide(self, observation: Any, env: int | None = None, action_mask: None = None) -> SamplingDecision:
        """Act or ask. If the decision is a query, pass the demonstrator's action to `answer` before the next step.

        A query that waits stops its own environment only, and answers may come in any order. The posterior, which all
        environments share, takes them in the order in which they are given.

        Args:
            observation: as the ensemble takes it. It is copied: nobody sees what becomes of it later.
            env: which of several environments it is of, from 0; None for the only one.
            action_mask: None. Actions that cannot be listed have no mask.

        Raises:
            PendingQueryError: if an earlier query of this environment is unanswered (`pending`).
            ObservationError: if it holds what members cannot be shown, or a journal cannot keep.
            ConfigurationError: if there is no such environment, or several, and none is named; or for a mask.
            JournalWriteError: if the step could not be written down: nothing was done.
            ReentrantCallError: if a member, or a demonstrator that is being told of a step, calls it.
        """
        self._turn.refuse_reentrance()
        with self._turn:
            return self._live.decide(observation, None, self._named(env), refuse_mask(action_mask), ELSEWHERE)

    def answer(self, decision: SamplingDecision | Query, action: Action) -> SamplingDecision:
        """Give the demonstrator's answer to a query, learn from it, and close the step.

        With a journal, the answer is on disk when this returns. The same answer to the same query again changes
        nothing, and returns what was returned the first time.

        Args:
            decision: the one returned by `decide`, with ``queried`` true; or its ``query``, if the answer comes from
                afar.
            action: finite, of the members' structure and shape, and inside ``action_space`` if there is one.

        Returns:
            The decision, now with its action: the very numbers that were learned from.

        Raises:
            InvalidAnswerError: if the action is no action: the query stays open.
            WrongQueryError: if the query is another run's, or about another observation, or was never posed.
            StaleAnswerError: if the query was answered differently before, in any bit, or withdrawn.
            JournalWriteError: if the answer could not be written down.
            ReentrantCallError: if a member, or a demonstrator that is being told of a step, calls it.
        """
        self._turn.refuse_reentrance()
        with self._turn:
            return self._live.answer(decision, action)

    def withdraw(self, decision: SamplingDecision | Query) -> None:
        """Give up a query that nobody will answer; its step counts for nothing, and its environment asks next.

        A query that was answered stays as it is.

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

    def act(self, observation: Any, env: int | None = None, action_mask: None = None) -> SamplingDecision:
        """Decide, and ask the demonstrator if need be. ``decision.action`` is always an action to take.

        If the demonstrator raises, or gives no valid action, the exception passes through and the question stays open:
        calling again with the same observation asks it again. With another observation the question is withdrawn, and
        this step asks for certain, as does every one until there is an answer: the random number that said "ask" is
        spent, and another one would be a second try.

        Args:
            observation: as for `decide`. The demonstrator gets a copy of its own.
            env: as for `decide`.
            action_mask: as for `decide`.

        Raises:
            NoDemonstratorError: if a query falls due and there is no demonstrator.
            DemonstratorTimeoutError: if nobody answers.
            ConfigurationError: if a query falls due and the demonstrator is ``async def``; and as for `decide`.
            PendingQueryError: as for `decide`.
            ObservationError: as for `decide`.
            JournalWriteError: as for `decide`.
            ReentrantCallError: as for `decide`.
        """
        asker = object()
        try:
            waiting = self._pose(observation, env, action_mask, asker)
            if isinstance(waiting, SamplingDecision):
                return waiting
            return self._settle(waiting, self._live.panel.ask(waiting.observation, env or 0))
        except BaseException:
            self._give_up(asker)
            raise

    async def act_async(self, observation: Any, env: int | None = None, action_mask: None = None) -> SamplingDecision:
        """`act`, letting others work while the demonstrator thinks. The demonstrator may be a coroutine function.

        One imitator belongs to one event loop; every environment may have a task of its own. After cancelling the
        question stays open, as after an exception in `act`.

        Args:
            observation: as for `act`.
            env: as for `decide`.
            action_mask: as for `decide`.

        Raises:
            NoDemonstratorError: as for `act`.
            DemonstratorTimeoutError: as for `act`.
            ConfigurationError: as for `decide`.
            PendingQueryError: as for `decide`.
            ObservationError: as for `decide`.
            JournalWriteError: as for `decide`.
            ReentrantCallError: as for `decide`.
        """
        asker = object()
        try:
            waiting = self._pose(observation, env, action_mask, asker)
            if isinstance(waiting, SamplingDecision):
                return waiting
            return self._settle(waiting, await self._live.panel.ask_async(waiting.observation, env or 0))
        except BaseException:
            self._give_up(asker)
            raise

    def clear_alarm(self) -> None:
        """Act again after an answer that no member explains. No guarantee is left: the truth is not among them.

        Raises:
            JournalWriteError: if that could not be written down.
            ReentrantCallError: if a member, or a demonstrator that is being told of a step, calls it.
        """
        self._turn.refuse_reentrance()
        with self._turn:
            self._live.clear_alarm()

    def close(self) -> None:
        """End the journal: a checkpoint, and the directory is free for the next writer. Queries go on waiting in it.

        Closing it again does nothing, and neither does it without a journal.

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

    def _pose(self, observation: Any, env: int | None, mask: None, asker: object) -> OpenSample | SamplingDecision:
        self._turn.refuse_reentrance()
        with self._turn:
            return self._live.pose(observation, None, self._named(env), refuse_mask(mask), asker)

    def _settle(self, waiting: OpenSample, action: Any) -> SamplingDecision:
        checked = check_answer(waiting.pure.action, action, self._live.run.setup.action_space)
        self._turn.refuse_reentrance()
        with self._turn:
            return self._live.settle_asked(waiting, checked)

    def _give_up(self, asker: object) -> None:
        with self._turn:
            self._live.give_up(asker)

    def _named(self, env: int | None) -> int | None:
        """Which environment it is; of several, one has to be named."""
        if env is None and self.num_envs is not None:
            raise ConfigurationError(
                f"say which of the {self.num_envs} environments it is (env=0 ... env={self.num_envs - 1}): there is no "
                "step of all in lockstep"
            )
        return env


def _learner(ensemble: SamplingEnsemble, selection: SelectionRule | None) -> SamplingLearner:
    """Members, and who of them has a say if nobody says so."""
    usual = TopK(min(2, ensemble.num_members)) | AlphaThreshold(0.01)
    return SamplingLearner(ensemble, usual if selection is None else selection)
