"""What can be read off a run over any action space; nothing here changes anything."""

from pathlib import Path

import numpy as np

from consensus_imitation.core._voids import reasons
from consensus_imitation.core.sampling_learner import SamplingState
from consensus_imitation.imitator._common_readings import CommonReadings
from consensus_imitation.imitator._health import UNEXPLAINED
from consensus_imitation.imitator._sampling_decision import SamplingDecision
from consensus_imitation.imitator._sampling_run import SamplingRun
from consensus_imitation.imitator.kernels import weights


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
