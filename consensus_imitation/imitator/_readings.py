"""What can be read off a run; nothing here changes anything."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from consensus_imitation.core._voids import are_evidence, reasons
from consensus_imitation.core.certificate import Statement, certify, tolerated
from consensus_imitation.core.harm import HarmRecord
from consensus_imitation.core.members import reach_of
from consensus_imitation.core.priors import SemiInformative
from consensus_imitation.core.rules import Rules
from consensus_imitation.core.standing import ALARM_DELTA, Observed, refuted_by_squares, squared_limit
from consensus_imitation.core.state import LearnerState
from consensus_imitation.demonstrators.question import Question
from consensus_imitation.errors import ConfigurationError
from consensus_imitation.imitator import kernels
from consensus_imitation.imitator._card import CONFIDENCE, Card, asked, never_varied
from consensus_imitation.imitator._common_readings import CommonReadings
from consensus_imitation.imitator._health import UNEXPLAINED
from consensus_imitation.imitator._question import question_of
from consensus_imitation.imitator._run import Run
from consensus_imitation.imitator._tally import least_alpha
from consensus_imitation.imitator.decision import Decision, Query
from consensus_imitation.imitator.policy import said
from consensus_imitation.journal.calibration import member_calibration
from consensus_imitation.journal.errors import independence


class Readings(CommonReadings[Run]):
    """A run that goes on, to be read."""

    @property
    def num_envs(self) -> int | None:
        """B, for a batch of environments; None for a single one."""
        return self._live.run.setup.num_envs

    @property
    def num_actions(self) -> int:
        """A, the number of actions that the members choose among."""
        return self._live.run.setup.ensemble.num_actions

    @property
    def rules(self) -> Rules:
        """What it decides by, with the defaults that it was given."""
        return self._live.run.setup.learner.rules

    @property
    def run_dir(self) -> Path | None:
        """The directory of the journal, for `ConsensusImitator.resume`; None without one."""
        directory = self._live.recorder.directory
        return None if directory is None else directory.path

    @property
    def state(self) -> LearnerState:
        """The learner's state: an immutable pytree, all that is needed to go on, here or with a `Learner`.

        Answers that members keep are in it without a copy. Whoever looks at the arrays of a replay, `jax.tree` and
        compiled programs included, has them made, with room for as many as the members' training says.

        Facts that void a promise are in it, and whether an environment has asked and waits for an answer
        (``state.stream.asking``): whoever goes on from it asks again. Two imitators that go on from one state draw the
        same random numbers.
        """
        return self._live.run.whole

    @property
    def pending(self) -> tuple[Decision, ...]:
        """The decisions that wait for an answer, in the order in which they were made."""
        return tuple(step.decision for step in self._live.run.queries.waiting())

    @property
    def predictions(self) -> np.ndarray:
        """What each member gives to each action in the only step that waits for an answer: [N, A], or [B, N, A].

        Rows may sum to less than one: what a member withholds is asked about.

        Raises:
            ValueError: if no query waits, or more than one.
        """
        run = self._live.run
        waiting = run.queries.waiting()
        if len(waiting) != 1:
            raise ValueError(f"{len(waiting) or 'no'} query waits for an answer: predictions are of the step that does")
        return np.exp(np.asarray(waiting[0].log_probs))

    def question(self, decision: Decision | Query) -> Question:
        """Why a query that waits is asked: what each member would do, who objects, and how sure the imitator is.

        Args:
            decision: that waits for an answer, of a single environment or of one of a batch; or its query.

        Raises:
            ValueError: if it does not wait, or is of a whole batch in lockstep.
        """
        run = self._live.run
        query = decision.query if isinstance(decision, Decision) else decision
        waiting = next((step for step in run.queries.waiting() if step.query == query), None)
        if waiting is None:
            raise ValueError("this query does not wait for an answer: nothing is known of it any more")
        if np.ndim(waiting.decision.queried):
            raise ValueError("the query is about a whole batch: ask about one environment at a time, with env=")
        return question_of(run, waiting)

    @property
    def weights(self) -> np.ndarray:
        """Posterior weights [N], summing to one."""
        return np.asarray(kernels.weights(self._live.run.state.posterior))

    @property
    def effective_members(self) -> float:
        """How many independent members would err as the members did on the answered queries, in [1, N].

        1 before the second answer: independence has to be shown (`merging.effective_members`). `certificate` has a
        lower limit of it, and `journal.errors.independence` works it out from a journal.

        Raises:
            ValueError: if the imitator does not measure it.
        """
        run = self._live.run
        if run.state.diversity is None:
            raise ConfigurationError(
                "effective_members is not measured: construct the imitator with merging=Merging(), or with "
                "merging=Merging(tolerance=None) to measure and merge nothing"
            )
        return float(kernels.effective_members(run.state.diversity))

    @property
    def tolerated_answers(self) -> int:
        """How many false answers leave a selected member that has learned from true ones alone (T7).

        k - 1 under ``TopK(k)`` and the minimum, of members that divide the answers
        (``Training(bootstrap="partition")``); 0 where an answer reaches all members, or the rules have no quorum. The
        `certificate` says what is assumed.

        Example:
            >>> from consensus_imitation import ConsensusImitator, TopK, ensembles
            >>> members = ensembles.mlp((2,), 2, 3, training=ensembles.Training(bootstrap="partition"))
            >>> imitator = ConsensusImitator(members, lambda observation: 1, selection=TopK(3), seed=0)
            >>> imitator.tolerated_answers, imitator.tolerated_sources
            (2, 2)
        """
        setup = self._live.run.setup
        return tolerated(setup.learner, reach_of(setup.ensemble), setup.ensemble.num_members)

    @property
    def tolerated_sources(self) -> int:
        """How many sources may give any number of false answers; the same number, as an answer is its own source."""
        return self.tolerated_answers

    @property
    def ledger(self) -> Any:
        """Log of the inflation spent (in the episode, if the budget is per episode): a float, or [B] for a batch."""
        run = self._live.run
        spent = np.asarray(run.state.stream.ledger)
        return float(spent) if self.num_envs is None else spent

    @property
    def alarms(self) -> tuple[str, ...]:
        """What is wrong, one line each, naming the member; empty if nothing is."""
        run = self._live.run
        learner, tally = run.setup.learner, run.tally
        total = float(tally.squared.sum())
        refuted: tuple[str, ...] = ()
        # No limit is below 2, and most runs stay below that.
        if total > 2 and are_evidence(run.state.voids) and not np.any(run.state.stream.unusable):
            prior = np.asarray(run.setup.ensemble.prior, np.float64)
            limit = squared_limit(
                learner.selection, prior, np.flatnonzero(prior).tolist(), ALARM_DELTA, tally.squared.size
            )
            refuted = refuted_by_squares(total, limit, ALARM_DELTA, tally.withdrawn)
        return (*super().alarms, *(f"refuted: {one}" for one in refuted))

    def certificate(
        self,
        truth: int | None = None,
        *,
        delta: float = 0.05,
        harm: HarmRecord | None = None,
        belief: SemiInformative | None = None,
    ) -> Statement:
        """What is guaranteed, with the numbers so far; print it.

        Args:
            truth: the member that is assumed to equal the demonstrator; None for the worst case over all of them at
                the start, and for the heaviest from now on.
            delta: level of what is stated with high probability, in (0, 1).
            harm: of the demonstrator's own episodes, for a number that bounds the imitator's.
            belief: about harm in the episodes to come, after those so far (`priors.semi_informative`); no bound.

        Raises:
            ValueError: if there is no such member, or delta is out of range.

        Example:
            >>> import numpy as np
            >>> from consensus_imitation import AlphaThreshold, ConsensusImitator, InflationBudget, ensembles
            >>> imitator = ConsensusImitator(
            ...     ensembles.tabular(np.full((4, 1, 2), 0.5)),
            ...     selection=AlphaThreshold(0.0025),
            ...     inflation_budget=InflationBudget(factor=2.0),
            ... )
            >>> imitator.certificate().exclusion
            0.01
        """
        run = self._live.run
        unexplained = [UNEXPLAINED] if run.unexplained else []
        ledger = np.asarray(run.state.stream.ledger)
        squared = run.tally.squared if are_evidence(run.state.voids) else np.full_like(run.tally.squared, np.nan)
        return certify(
            run.setup.learner,
            np.asarray(run.setup.ensemble.prior, np.float64),
            np.asarray(run.state.posterior.log_weights),
            truth=truth,
            num_steps=int(run.steps.max()),
            num_streams=self.num_envs or 1,
            num_queries=run.answers,
            num_studied=int(run.state.studied),
            ledger=float(np.max(ledger)),
            least_ledger=float(np.min(ledger)),
            total_steps=int(run.steps.sum()),
            void="; ".join([*unexplained, *reasons(run.state.voids)]),
            unusable=bool(np.any(run.state.stream.unusable)),
            learns=run.setup.ensemble.learns,
            reach=reach_of(run.setup.ensemble),
            observed=Observed(
                squared,
                run.tally.since,
                run.tally.withdrawn,
                run.tally.closeness,
                least_alpha(run.setup.learner.selection),
                run.tally.errors,
            ),
            delta=delta,
            harm=harm,
            belief=belief,
        )

    def card(self, familiar: Iterable[Any] | None = None, unfamiliar: Iterable[Any] | None = None) -> Card:
        """What is known of the members: how alike they are, how calibrated, and where nothing was ever asked; print it.

        Probes show whether it would ask: the mean probability of asking about each, as if it came next. Nothing is
        asked, drawn or learned.

        Args:
            familiar: observations, of a single environment, like those that it has been asked about; None for none.
            unfamiliar: observations unlike them: with a sensor reversed, a picture turned, another texture.

        Raises:
            PendingQueryError: if there are probes and a query waits for an answer.
            ObservationError: if a probe does not fit.

        Example:
            >>> import numpy as np
            >>> from consensus_imitation import ConsensusImitator, ensembles
            >>> members = ensembles.mlp((3,), 2, num_members=3)
            >>> imitator = ConsensusImitator(members, lambda observation: int(observation[0] > 0), seed=0)
            >>> seen = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
            >>> seen[:, 2] = 0.0
            >>> decisions = [imitator.act(one) for one in seen]
            >>> imitator.card().never_varied
            ('input[2]',)
        """
        run = self._live.run
        selection = run.setup.learner.selection
        certificate = self.certificate(delta=1 - CONFIDENCE)
        effective = certificate.effective
        if effective is None and self.run_dir is not None:
            effective = independence(self.run_dir, confidence=CONFIDENCE)
        return Card(
            kind=type(run.setup.ensemble).__name__,
            num_members=run.setup.ensemble.num_members,
            learns=run.setup.ensemble.learns,
            selection=str(selection),
            selected=int(np.sum(np.asarray(selection(run.state.posterior.log_weights)))),
            tolerated_members=certificate.tolerated_members,
            tolerated_answers=certificate.tolerated_answers,
            num_answers=run.answers + int(run.state.studied),
            effective=effective,
            calibration=None if self.run_dir is None else member_calibration(self.run_dir),
            asked_familiar=asked(run, familiar),
            asked_unfamiliar=asked(run, unfamiliar),
            never_varied=never_varied(run),
        )

    def __repr__(self) -> str:
        """Members, rules, and how it went so far."""
        run = self._live.run
        went = f"{int(run.steps.max())} steps, {run.answers} queries (rate {self.query_rate:.3g})"
        return (
            f"<{type(self).__name__}: {said(run.setup.ensemble, run.setup.num_envs)}\n"
            f"  {self.rules}\n"
            f"  {went}, {len(run.queries.waiting())} waiting, {len(self.alarms)} alarms>"
        )
