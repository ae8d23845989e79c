"""The posterior worked out once more from what the journal says alone: predictions, answers, and Bayes' rule."""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core import posterior as post
from consensus_imitation.errors import JournalCorruptedError
from consensus_imitation.journal.reader import reading
from consensus_imitation.journal.record import Entry, Record, Shapes

#: Nats by which log-weights may differ between machines that round differently.
ROUNDING = 1e-3


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """How the posterior that was worked out once more compares with the recorded one.

    Attributes:
        answers: calls that brought answers, after each of which the two were compared.
        identical: of them, after how many all bits agreed.
        worst: the largest difference of a log-weight, in nats.
        first: where bits first differed, "" if nowhere.
        restarts: after what the recorded posterior was taken over, because the journal does not hold what changed it.
        words: float32 [2, N], the log-weights and their residuals at the end.
    """

    answers: int
    identical: int
    worst: float
    first: str
    restarts: tuple[str, ...]
    words: np.ndarray

    @property
    def exact(self) -> bool:
        """Whether all bits agreed after every answer."""
        return self.identical == self.answers

    def lines(self) -> list[str]:
        """For people."""
        lines = [f"posterior: worked out once more, {self.identical} of {self.answers} times the same bits"]
        if self.first:
            lines.append(f"it first differs at {self.first}; by {self.worst:.3g} nats at most")
            if self.worst < ROUNDING:
                lines.append("so little may be another kind of machine, or version of JAX, that rounds differently")
        return [*lines, *self.restarts]


def replay(path: Path) -> Replayed:
    """Work out the posterior from the prior, the recorded predictions and the answers.

    Args:
        path: of the journal, or of the run's directory.

    Returns:
        The comparison with what was recorded after each answer. With another rule than Bayes', and after recordings
        were studied, the recorded posterior is taken over; `Replayed.restarts` says so.

    Raises:
        JournalError: if there is no journal.
        JournalCorruptedError: if an entry is missing or not what was written, or an answer has no question.

    Example:
        >>> import tempfile
        >>> from consensus_imitation import ConsensusImitator, ensembles
        >>> run_dir = Path(tempfile.mkdtemp()) / "run"
        >>> members = ensembles.tabular(np.array([[[0.9, 0.1]], [[0.2, 0.8]]]))  # [N, S, A]
        >>> imitator = ConsensusImitator(members, lambda observation: 1, seed=0, journal=run_dir)
        >>> for _ in range(5):
        ...     decision = imitator.act(0)
        >>> imitator.close()
        >>> replay(run_dir).exact
        True
    """
    with reading(path) as reader:
        replaying = _Replaying(reader.meta, reader.shapes)
        for _, call in groupby(reader.entries(), key=lambda entry: entry.call):
            replaying.take(list(call))
    return replaying.done()


@jax.jit
def _updated(state: post.PosteriorState, log_probs: jax.Array, action: jax.Array) -> post.PosteriorState:
    # An unusable prediction was recorded as the zero vector: its member sleeps.
    asleep = jnp.all(jnp.isneginf(log_probs), axis=-1)
    return post.update(state, post.normalised(log_probs)[:, action], asleep)[0]


@jax.jit
def _updated_by_densities(
    state: post.PosteriorState, log_densities: jax.Array, asleep: jax.Array
) -> post.PosteriorState:
    return post.update(state, log_densities, asleep)[0]


class _Replaying:
    def __init__(self, meta: dict[str, Any], shapes: Shapes) -> None:
        if "prior" not in meta:
            raise JournalCorruptedError("the journal does not say what the prior was")
        self._state = post.init(np.asarray(meta["prior"], np.float32))
        self._bayes = bool(meta.get("plain_bayes", True))
        self._shapes = shapes
        self._asked: dict[tuple[int | None, int | None], np.ndarray] = {}
        self._answers, self._identical, self._worst, self._first = 0, 0, 0.0, ""
        self._recorded = self._words()
        self._restarts = [] if self._bayes else ["the weights follow another rule than Bayes': they are not checked"]

    def take(self, call: list[Entry]) -> None:
        """One call: questions are remembered, answers learned from, together."""
        self._go_on_from(call[0])
        for entry in call:
            record = entry.record
            about = (record.query, record.env)
            said = record.log_probs if self._shapes.num_actions is not None else record.packed
            if record.kind == "ask" and said is not None:
                self._asked[about] = said
            elif record.kind == "answer":
                # Densities of an answer stand in for no question.
                instead = None if isinstance(record.action, bytes) else record.log_probs
                self._learn(entry, self._asked.pop(about, instead))
            elif record.kind in ("safe", "withdraw"):
                self._asked.pop(about, None)
        last = call[-1]
        if last.record.kind == "study" and last.record.after is not None:
            self._restart(last.record.after)
            self._restarts.append(f"entry {last.seq}: recordings were studied, the posterior is taken over from there")
        elif any(entry.record.kind in ("answer", "safe") for entry in call):
            self._compare(last.record, last.seq)

    def _go_on_from(self, entry: Entry) -> None:
        """A run may begin with a posterior that is not its prior; nothing else comes between two calls."""
        before = entry.record.before
        if before is not None and before.tobytes() != self._recorded.tobytes():
            self._restart(before)
            self._restarts.append(
                f"entry {entry.seq}: the posterior before it is not the one that came out last, and is taken over"
            )

    def done(self) -> Replayed:
        """The comparison so far."""
        return Replayed(
            answers=self._answers,
            identical=self._identical,
            worst=self._worst,
            first=self._first,
            restarts=tuple(self._restarts),
            words=self._words(),
        )

    def _learn(self, entry: Entry, asked: np.ndarray | None) -> None:
        """Of numbered actions the question says what each was given; else the answer says it of itself."""
        action, N = entry.record.action, self._shapes.num_members
        if asked is None or action is None or (isinstance(action, bytes) and entry.record.log_probs is None):
            raise JournalCorruptedError(
                f"entry {entry.seq} is an answer without its question: the journal is not of one run"
            )
        if isinstance(action, bytes):
            # Whose density of the proposal was unusable sleeps.
            self._state = _updated_by_densities(self._state, entry.record.log_probs, asked[-N:] > 0)
        elif self._bayes:
            self._state = _updated(self._state, asked, np.int32(action))

    def _compare(self, record: Record, seq: int) -> None:
        if record.after is None:
            return
        if not self._bayes:
            self._restart(record.after)
            return
        self._recorded = record.after
        words = self._words()
        self._answers += 1
        if words.tobytes() == np.asarray(record.after, np.float32).tobytes():
            self._identical += 1
            return
        self._first = self._first or f"entry {seq}, query {record.query}"
        # Where both are -inf, a member that is ruled out, there is no difference.
        differ = words[0] != record.after[0]
        self._worst = max([self._worst, *np.abs(words[0][differ] - record.after[0][differ]).tolist()])

    def _restart(self, words: np.ndarray) -> None:
        self._recorded = words
        self._state = post.PosteriorState(log_weights=jnp.asarray(words[0]), residual=jnp.asarray(words[1]))

    def _words(self) -> np.ndarray:
        return np.stack([np.asarray(self._state.log_weights), np.asarray(self._state.residual)])
