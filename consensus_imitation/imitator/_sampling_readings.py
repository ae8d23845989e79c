"""What can be read off a run over any action space; nothing here changes anything."""

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from consensus_imitation.core._voids import reasons
from consensus_imitation.core.certificate import Statement, certify
from consensus_imitation.core.harm import HarmRecord
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.sampling_learner import SamplingState
from consensus_imitation.core.standing import Observed
from consensus_imitation.imitator._card import Card
from consensus_imitation.imitator._common_readings import CommonReadings
from consensus_imitation.imitator._health import UNEXPLAINED
from consensus_imitation.imitator._sampling_card import asked
from consensus_imitation.imitator._sampling_decision import SamplingDecision
from consensus_imitation.imitator._sampling_run import SamplingRun
from consensus_imitation.imitator.kernels import weights

#: What a density evaluated at one point cannot show ("What is taken on trust" in ``docs/any_action_space.md``).
_TRUSTED = (
    "assumed of every member: its density integrates to at most one over what can be drawn, and it draws from just that"
)


class SamplingReadings(CommonReadings[SamplingRun]):
    """A run that goes on, to be read."""

    @property
    def num_envs(self) -> int | None:
        """B, for several environments; None for a single one."""
        return self._live.run.setup.num_envs

    @property
    def run_dir(self) -> Path | None:
        """The directory of the journal, for `SamplingImitator.resume`; None without one."""
        directory = self._live.recorder.directory
        return None if directory is None else directory.path

    @property
    def state(self) -> SamplingState:
        """The learner's state: an immutable pytree, all that is needed to go on."""
        return self._live.run.state

    @property
    def pending(self) -> tuple[SamplingDecision, ...]:
        """The decisions that wait for an answer, in the order in which they were made."""
        return tuple(step.decision for step in self._live.run.queries.waiting())

    @property
    def weights(self) -> np.ndarray:
        """Posterior weights [N], summing to one."""
        return np.asarray(weights(self._live.run.state.posterior))

    @property
    def void(self) -> tuple[str, ...]:
        """Why no theorem speaks of this run any more, one line each; empty while they do. It is part of the `state`."""
        run = self._live.run
        return (*reasons(run.state.voids), *([UNEXPLAINED] if run.unexplained else []))

    def certificate(
        self, truth: int | None = None, *, delta: float = 0.05, harm: HarmRecord | None = None
    ) -> Statement:
        """What is guaranteed, with the numbers so far; print it.

        It is that of `ConsensusImitator.certificate` for the minimum without a budget. T1 and T2 hold as they are. T3
        bounds the expected number of queries, until a member's density is unusable or a query is withdrawn. What needs
        theta itself is missing, since theta is only estimated: the inflation spent, and the sum of its cubes. So no
        number bounds harm, and ``harm`` says so.

        Args:
            truth: the member that is assumed to equal the demonstrator; None for the worst case over all of them at
                the start, and for the heaviest from now on.
            delta: level of what is stated with high probability, in (0, 1).
            harm: of the demonstrator's own episodes.

        Raises:
            ValueError: if there is no such member, or delta is out of range.

        Example:
            >>> import jax.numpy as jnp
            >>> from consensus_imitation import AlphaThreshold
            >>> from consensus_imitation.ensembles.any_action import gaussian
            >>> from consensus_imitation.imitator import SamplingImitator
            >>> gains = jnp.array([[1.0], [2.0], [3.0], [4.0]])
            >>> ensemble = gaussian(lambda gain, x: (-gain * x, jnp.array([-2.0])), gains, low=-10.0, high=10.0)
            >>> SamplingImitator(ensemble, selection=AlphaThreshold(0.0025)).certificate().exclusion
            0.01
        """
        run = self._live.run
        learner, streams = run.setup.learner, run.setup.num_envs or 1
        said = certify(
            # The rejection draw is the minimum's.
            Learner(learner.ensemble, learner.selection),
            np.asarray(learner.ensemble.prior, np.float64),
            np.asarray(run.state.posterior.log_weights),
            truth=truth,
            num_steps=int(run.steps.max()),
            num_streams=streams,
            num_queries=run.answers,
            ledger=math.inf,
            void="; ".join(self.void),
            unusable=bool(run.alarms.invalid) or not run.bounded,
            learns=False,
            reach=0,
            observed=Observed(np.full(streams, np.nan), withdrawn=run.unanswered),
            total_steps=int(run.steps.sum()),
            delta=delta,
            harm=harm,
        )
        return replace(said, promise=f"{said.promise}; {_TRUSTED}")

    def card(self, familiar: Iterable[Any] | None = None, unfamiliar: Iterable[Any] | None = None) -> Card:
        """What is known of the members; print it.

        Probes show whether it would ask: the mean probability of asking about each, as if it came next, estimated from
        256 proposals each. Nothing is asked, drawn for a step, or learned. These members give densities and learn
        nothing, so how alike they err, how calibrated they are, and what never varied is not measured.

        Args:
            familiar: observations, of a single environment, like those that it has been asked about; None for none.
            unfamiliar: observations unlike them.

        Raises:
            PendingQueryError: if there are probes and a query waits for an answer.
            ObservationError: if a probe cannot be shown to the members.
            ValueError: for probes that are none.

        Example:
            >>> import jax.numpy as jnp
            >>> from consensus_imitation import TopK
            >>> from consensus_imitation.ensembles.any_action import gaussian
            >>> from consensus_imitation.imitator import SamplingImitator
            >>> gains = jnp.array([[1.0], [1.0], [4.0]])
            >>> ensemble = gaussian(lambda gain, x: (-gain * x, jnp.array([-2.0])), gains, low=-10.0, high=10.0)
            >>> imitator = SamplingImitator(ensemble, selection=TopK(3))
            >>> card = imitator.card(familiar=[jnp.zeros(1)], unfamiliar=[jnp.ones(1)])
            >>> card.asked_familiar, card.asked_unfamiliar > 0.9
            (0.0, True)
        """
        run = self._live.run
        learner = run.setup.learner
        certificate = self.certificate()
        return Card(
            kind=type(learner.ensemble).__name__,
            num_members=learner.ensemble.num_members,
            learns=False,
            selection=str(learner.selection),
            selected=int(np.sum(np.asarray(learner.selection(run.state.posterior.log_weights)))),
            tolerated_members=certificate.tolerated_members,
            tolerated_answers=certificate.tolerated_answers,
            num_answers=run.answers,
            effective=None,
            calibration=None,
            asked_familiar=asked(run, familiar),
            asked_unfamiliar=asked(run, unfamiliar),
            never_varied=None,
            listed=False,
        )

    @property
    def repairs(self) -> tuple[str, ...]:
        """What was found torn and cut off, or skipped, when the run was resumed; empty if all was whole."""
        return self._live.recorder.repairs

    def __repr__(self) -> str:
        """Members, rule, how it went so far, and where it is written down."""
        run = self._live.run
        learner = run.setup.learner
        several = "" if run.setup.num_envs is None else f", {run.setup.num_envs} environments"
        return (
            f"<{type(self).__name__}: {learner.ensemble.num_members} members{several}\n"
            f"  {learner.selection!r:.200}\n"
            f"  {self.num_steps} steps, {run.answers} queries (rate {self.query_rate:.3g}), "
            f"{len(run.queries.waiting())} waiting, {len(self.alarms)} alarms\n"
            f"  {self._live.recorder}>"
        )
