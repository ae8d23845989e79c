"""Ctrl-C between writing a call down and doing it: what was written counts, and the run can be taken up again."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, PendingQueryError
from consensus_imitation.errors import FailedError
from consensus_imitation.queries import Queries

from .crowd_world import A, S, again, make


def leaves(imitator: ConsensusImitator) -> list[bytes]:
    state = imitator.state.replace(stream=imitator.state.stream.replace(key=None))
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


def answer(observation: Any) -> int:
    if answer.silent:  # type: ignore[attr-defined]
        raise ConnectionError
    return int(observation) % A


def calls(imitator: ConsensusImitator, first: int, last: int) -> None:
    """All kinds of calls: steps, episodes, alarms that are cleared, queries that are withdrawn."""
    for t in range(first, last):
        answer.silent = t == 5  # type: ignore[attr-defined]
        try:
            if t % 9 == 4:
                imitator.begin_episode()
            elif t % 9 == 7:
                imitator.clear_alarm()
            else:
                imitator.act(t % S)
        except ConnectionError:
            continue


#: What each call does once it is written down.
DONE = [(ConsensusImitator, "_close"), (ConsensusImitator, "_clear"), (Queries, "wait"), (Queries, "close")]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("owner", "name"), DONE, ids=[name for _, name in DONE])
def test_what_is_written_is_done_or_nothing_more_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, after: bool
) -> None:
    plain = getattr(owner, name)
    for at in (0, 2):
        monkeypatch.setattr(owner, name, plain)
        imitator = make(demonstrator=answer, journal=tmp_path / f"run{at}")
        struck: list[int] = []

        def interrupted(self: Any, *args: Any, struck: list[int] = struck, at: int = at) -> None:
            struck.append(0)
            if len(struck) != at + 1:
                return plain(self, *args)
            if after:
                plain(self, *args)
            raise KeyboardInterrupt

        monkeypatch.setattr(owner, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            calls(imitator, 0, 40)
        for call in (lambda: imitator.act(1), imitator.clear_alarm, imitator.begin_episode):  # noqa: B023
            with pytest.raises((FailedError, PendingQueryError)):
                call()
        for waits in imitator.pending:
            with pytest.raises(FailedError):
                imitator.answer(waits, 1)
        with pytest.raises(FailedError):
            imitator.close()
        monkeypatch.setattr(owner, name, plain)
        imitator = again(tmp_path / f"run{at}", answer)
        if imitator.pending:
            answer.silent = False  # type: ignore[attr-defined]
            imitator.answer(imitator.pending[0], 1)
        calls(imitator, 0, 12)
        state, steps = leaves(imitator), imitator.num_steps
        assert imitator._directory is not None
        imitator._directory.close()
        # And once more, from the journal alone.
        imitator = again(tmp_path / f"run{at}", answer)
        assert (leaves(imitator), imitator.num_steps) == (state, steps)
        imitator.close()
