"""What can be read off a run of either shell; nothing here changes anything."""

from pathlib import Path
from typing import Generic

from consensus_imitation.imitator._health import UNEXPLAINED
from consensus_imitation.imitator._live import Live
from consensus_imitation.imitator._recorder import R
from consensus_imitation.imitator._saving import save_state


class CommonReadings(Generic[R]):
    """A run of either shell that goes on, to be read.

    Args:
        live: the run.
    """

    def __init__(self, live: Live[R]) -> None:
        self._live = live

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write all that was learned to one file, from which ``load`` goes on; it is on the disk when this returns.

        The file holds the `state`: posterior, what members have learned and remember, studied recordings, the rules'
        fingerprint, and what voids a promise. It holds arrays and never code. Only its owner may read it (mode 0600):
        the key of the draws is in it. Two imitators that go on from one file draw the same random numbers.

        A journal keeps more: every step, queries that wait, alarms. To go on with a *run*, use ``journal=``.

        Args:
            path: of the file; its directory has to be there.
            overwrite: replace a file that is there.

        Raises:
            ConfigurationError: if the file is there already.
            OSError: if it cannot be written; what was there before is whole.
        """
        save_state(path, self._live.run.on_disk, self._live.recorder.shell, overwrite)

    @property
    def run(self) -> str:
        """The name that this imitator's queries carry: random, hexadecimal."""
        return self._live.run.queries.run

    @property
    def num_steps(self) -> int:
        """Steps closed so far (of each environment; of the one that is furthest, if they go on by themselves)."""
        return int(self._live.run.steps.max())

    @property
    def num_queries(self) -> int:
        """Steps that the demonstrator answered, over all environments."""
        return self._live.run.answers

    @property
    def query_rate(self) -> float:
        """Share of closed steps that the demonstrator answered; 0.0 before the first step."""
        run = self._live.run
        return run.answers / max(1, int(run.steps.sum()))

    @property
    def alarms(self) -> tuple[str, ...]:
        """What is wrong, one line each, naming the member; empty if nothing is."""
        run = self._live.run
        return (*run.alarms.lines(), *([UNEXPLAINED] if run.unexplained else []))
