"""What can be read off a run of either shell; nothing here changes anything."""

from typing import Generic

from consensus_imitation.imitator._health import UNEXPLAINED
from consensus_imitation.imitator._live import Live
from consensus_imitation.imitator._recorder import R


class CommonReadings(Generic[R]):
    """A run of either shell that goes on, to be read.

    Args:
        live: the run.
    """

    def __init__(self, live: Live[R]) -> None:
        self._live = live

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
