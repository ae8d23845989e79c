"""What members know, as a shell keeps it: the answers in rows on the host, the rest in a state that programs may take.

Members that learn on the host (`core.members.LearnsOnHost`) may keep many answers. A compiled program would return a
copy of all of them, so that a run holds them beside its state (`Run.rows`), and what is in their place in the state
serves for predictions alone: whoever would learn from it gets an error. Outside of the shell a state is whole.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core._observations import lent
from consensus_imitation.core._on_host import learned_on_host
from consensus_imitation.core._sources import Source
from consensus_imitation.core.members import Ensemble, LearnsOnHost, owners_of
from consensus_imitation.core.state import LearnerState
from consensus_imitation.ensembles.neural.replay import Replay, is_replay, joined, parted
from consensus_imitation.imitator import kernels
from consensus_imitation.imitator._host_members import as_jax, row
from consensus_imitation.journal.checkpoint import Growing

#: The answers that members learn from again; `ensembles._rows.Rows`, one for each replay in the state.
Rows = tuple[Any, ...]

#: Who gave the answers of a step, one for each environment that it is about; None where nobody is named.
Sources = Sequence[Source | None]


def split(ensemble: Ensemble, state: LearnerState, before: Rows = ()) -> tuple[LearnerState, Rows]:
    """A whole state without the answers that its members keep, and those; what the caller gave is copied.

    Args:
        ensemble: whose state it is.
        state: the whole.
        before: rows that those in arrays begin with, if they are known.

    Raises:
        ConfigurationError: if the state says that it holds more answers than it does.
    """
    if not isinstance(ensemble, LearnsOnHost):
        return state, ()
    learned, rows = parted(state.learned, before)
    return state.replace(learned=learned), rows


def whole(state: LearnerState, rows: Rows) -> LearnerState:
    """Undo `split`; nothing is copied until somebody looks at the answers."""
    if not rows:
        return state
    return state.replace(learned=joined(state.learned, rows))


def in_arrays(state: LearnerState, more: int) -> LearnerState:
    """A whole state for a compiled program that adds so many answers, with room for them and little more."""
    return _each_replay(state, lambda replay: replay.dense(more))


def on_disk(state: LearnerState) -> LearnerState:
    """A whole state as a checkpoint holds it: of each replay the answers that are there, in NumPy's arrays."""
    return _each_replay(state, lambda replay: replay.trimmed())


def in_rows(state: LearnerState) -> LearnerState:
    """A whole state again, of what `on_disk` gave."""
    return _each_replay(state, lambda replay: Replay.of(replay.on_host(), replay.stored))


def from_disk(state: LearnerState) -> LearnerState:
    """What `on_disk` gives is like this: of each replay any number of answers, up to all that there is room for."""

    def growing(replay: Replay) -> Replay:
        shaped = replay.shaped()
        arrays = {name: jax.tree.map(Growing.like, getattr(shaped, name)) for name in ("inputs", "answers", "counts")}
        return shaped.replace(**arrays, stored=replay.stored)

    return _each_replay(state, growing)


def shaped(state: Any) -> Any:
    """Shapes and types of a state's arrays, none of which is made."""

    def of(node: Any) -> Any:
        if is_replay(node):
            return node.shaped()
        # The type as it is: NumPy's wider ones are none of a state's.
        return jax.ShapeDtypeStruct(jnp.shape(node), node.dtype if hasattr(node, "dtype") else jnp.result_type(node))

    return jax.tree.map(of, state, is_leaf=is_replay)


def _each_replay(state: LearnerState, of: Any) -> LearnerState:
    learned = jax.tree.map(lambda node: of(node) if is_replay(node) else node, state.learned, is_leaf=is_replay)
    return state.replace(learned=learned)


def taught(
    ensemble: Ensemble,
    state: LearnerState,
    rows: Rows,
    observation: Any,
    log_probs: Any,
    actions: Any,
    answered: Any,
    sources: Sources,
) -> tuple[Any, Rows]:
    """What members know after the answers of a step, one after another in the order of the environments; and the rows.

    Args:
        ensemble: whose members learn.
        state: in which they predicted.
        rows: of that state.
        observation: as the members take it; with a leading axis B for a batch.
        log_probs: [N, A], or [B, N, A], what they predicted.
        actions: int [], or [B], what was answered, where that is so.
        answered: bool [], or [B], where the demonstrator answered.
        sources: of the answers, one for each environment.
    """
    learned, actions = state.learned, np.asarray(actions, np.int32)
    # An answer that is no action teaches nothing.
    counts = np.asarray(answered) & (actions >= 0) & (actions < ensemble.num_actions)
    if not ensemble.learns or not counts.any():
        return learned, rows
    keeps, shown = isinstance(ensemble, LearnsOnHost), (state.stream.carry, observation, log_probs)
    owners = owners_of(ensemble, learned, sources)
    for b in [()] if counts.ndim == 0 else np.flatnonzero(counts).tolist():
        known = joined(learned, rows) if keeps else learned
        owner = jax.tree.map(lambda each, b=b: each[b or 0], owners)
        memory, seen, action, predicted = _shown(ensemble, *shown, b, actions[b])
        after = learned_on_host(ensemble, known, memory, seen, action, predicted, owner)
        learned, rows = parted(after) if keeps else (after, rows)
        if not ensemble.pure:
            learned = as_jax(learned)
    return learned, rows


def _shown(ensemble: Ensemble, carry: Any, observation: Any, log_probs: Any, b: Any, action: Any) -> tuple[Any, ...]:
    """What members are taught by, in environment b of a batch, or in the only one, ()."""
    if ensemble.pure:
        # Of JAX's arrays a program takes the rows; each by itself would take as long as one.
        own = (carry, observation, np.asarray(log_probs))
        memory, seen, predicted = own if b == () else (kernels.take_row(carry, b), row(observation, b), own[2][b])
        return memory, seen, action, predicted
    memory, seen, predicted = (carry, observation, log_probs) if b == () else (
        row(carry, b), row(observation, b), log_probs[b],
    )  # fmt: skip
    return memory, lent(seen), jnp.int32(action), predicted
