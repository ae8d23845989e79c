"""An answer learned where the replay is in rows: compiled programs see the new answer and the minibatches, no others.

What is computed is `training.learn`, in the same order and from the same draws. Only who looks the answers up differs.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.ensembles._rows import Rows
from consensus_imitation.ensembles.neural import _rounds as rounds
from consensus_imitation.ensembles.neural import training as train
from consensus_imitation.ensembles.neural._learned import Learned
from consensus_imitation.ensembles.neural.replay import Elsewhere, Replay, Row
from consensus_imitation.errors import ConfigurationError

#: Bytes of the minibatches that are looked up at a time, unless a single one has more.
_AT_ONCE = 1 << 24


class _Noted(NamedTuple):
    """An answer before it is stored.

    Attributes:
        temperature: after it.
        answered: likewise.
        row: what is to be stored.
        stored: int32 [], answers with it.
        said: int32 [2], the same, and whether a round is due: in one array for the host.
    """

    temperature: Any
    answered: Any
    row: Row
    stored: jax.Array
    said: jax.Array


def learned_from(
    members: Any, learned: Learned, carry: Any, observation: Any, answer: Any, log_probs: jax.Array
) -> Learned:
    """Return what members know after one answer; the arguments are those of `Ensemble.learn`, ``members`` a `Neural`.

    Raises:
        ConfigurationError: if the answers before it are not there, or are others.
    """
    if not isinstance(learned.replay, Replay):
        raise ConfigurationError("members cannot learn without the answers before: their replay is kept elsewhere")
    rows = learned.replay.on_host()
    # Nothing passes through a program that it does not need.
    scale = learned.optimizer if members.training.plateau is not None else ()
    light = learned.replace(
        params=(), averages=(), prior_params=(), optimizer=scale, replay=Elsewhere(learned.replay.stored)
    )
    noted = _noted(members, light, carry, observation, np.int32(answer), log_probs)
    stored, due = np.asarray(noted.said).tolist()
    if stored != rows.stored + 1:
        raise ConfigurationError(
            f"members that have learned from {stored - 1} answers cannot learn on with {rows.stored} of these answers"
        )
    rows = rows.appended(jax.tree.map(np.asarray, noted.row))
    light = learned.replace(temperature=noted.temperature, answered=noted.answered, replay=Elsewhere(noted.stored))
    after = round_of(members, light, rows) if due else light
    return after.replace(replay=Replay.of(rows, noted.stored))


@jax.jit
def _noted(members: Any, light: Learned, carry: Any, observation: Any, answer: jax.Array, log_probs: Any) -> _Noted:
    training = members.training
    seen = members.inputs(carry, observation)
    temperature = light.temperature.after(seen, log_probs, answer) if training.temperature else light.temperature
    answered = train.answered(training, light, seen, answer, log_probs)
    asked = train.kept(training, seen, log_probs)
    inputs = jax.tree.map(lambda like, new: jnp.asarray(new, like.dtype), members.architecture.kept_zeros(), asked)
    row = Row(inputs, answer, train.counts_of_next(training, light, members.num_members))
    stored = light.replay.stored + 1
    due = train.is_due(training, light.replace(replay=Elsewhere(stored)))
    return _Noted(temperature, answered, row, stored, jnp.stack([stored, due.astype(jnp.int32)]))


def round_of(members: Any, light: Learned, rows: Rows) -> Learned:
    """Return what they know after a round of minibatches, looked up a few at a time."""
    training = members.training
    places = np.asarray(_places(members, light.replace(params=(), averages=(), prior_params=(), optimizer=())))
    together = max(1, _AT_ONCE // (training.batch_size * max(1, rows.kind.row_bytes)))
    before = (light.params, light.averages, light.optimizer)
    rest = light.replace(params=(), averages=(), optimizer=(), answered=())
    if together >= training.updates:
        fitted = _fitted(members, rest, before, _at(rows, places))
    else:
        # In the place of a copy, one part after the other: each would have memory of its own, and is large.
        fitted = jax.tree.map(jnp.copy, before)
        for first in range(0, training.updates, together):
            drawn = _at(rows, places[first : first + together])
            fitted = jax.block_until_ready(_fitted_in_place(members, rest, fitted, np.int32(first), drawn))
        fitted = _without_broken(fitted, before)
    params, averages, optimizer = fitted
    return light.replace(params=params, averages=averages, optimizer=optimizer)


@jax.jit
def _places(members: Any, light: Learned) -> jax.Array:
    return train.draw_minibatches(members.training, light)


def _at(rows: Rows, places: np.ndarray) -> Row:
    """The minibatches [U, M] in these places."""
    return jax.tree.map(lambda leaf: leaf.reshape(*places.shape, *leaf.shape[1:]), rows.at(places.ravel()))


def _updated(members: Any, light: Learned, fitted: Any, first: Any, drawn: Row) -> Any:
    arch = members.architecture
    return rounds.updated(arch.training, arch.apply, light, fitted, first, drawn, lambda own: own)


@jax.jit
def _fitted(members: Any, light: Learned, before: Any, drawn: Row) -> Any:
    return rounds.without_broken(_updated(members, light, before, 0, drawn), before)


_fitted_in_place = jax.jit(_updated, donate_argnames="fitted")
_without_broken = jax.jit(rounds.without_broken)
