"""Members of which each learns from its own share of the answers, so that a false answer reaches one of them (T7).

A member is taught exactly as the only member of an ensemble would be that gets its answers and no others: by the same
functions, with a replay, a key, a temperature, an optimiser, counts and rounds of its own. So nothing that another
member gets can change it, and an answer costs a round of one member, not of all.

An input that never varied in a member's share is shown to it as it always was: its weights there are those of its
initialisation, and a trigger that is off in all true data would move it at random.

Reference:
    Levine and Feizi (2021), "Deep Partition Aggregation: Provable Defenses against General Poisoning Attacks".
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from consensus_imitation.core._sources import BY_SLOT, EVERYBODY, Source, share_of
from consensus_imitation.ensembles._rows import Rows
from consensus_imitation.ensembles.neural import _on_host
from consensus_imitation.ensembles.neural import _rounds as rounds
from consensus_imitation.ensembles.neural import training as train
from consensus_imitation.ensembles.neural._learned import Apply, Learned
from consensus_imitation.ensembles.neural._local import Answered
from consensus_imitation.ensembles.neural._temperature import Temperature
from consensus_imitation.ensembles.neural.replay import Elsewhere, Replay, Row
from consensus_imitation.ensembles.neural.settings import Training
from consensus_imitation.errors import ConfigurationError


class Shares(struct.PyTreeNode):
    """What divides the answers, and what each member has seen vary.

    Attributes:
        first: what each member was asked about first, leaves [N, ...].
        varied: which numbers of it have been others since: bool, leaves [N, ...].
        unnamed: int32 [], answers so far that named no source: the next one belongs to member ``unnamed`` modulo N.
        key: uint32 [8], of the hash of the sources' names.
    """

    first: Any
    varied: Any
    unnamed: jax.Array
    key: jax.Array


def divides(training: Training) -> bool:
    """Return whether members that learn so have a share of the answers each."""
    return training.bootstrap == "partition"


def alone(training: Training, num_members: int) -> Training:
    """Return how one of N members learns from its share: as the only one; of the replay's room it has its part."""
    return replace(training, bootstrap="none", capacity=-(-training.capacity // num_members))


def init(training: Training, make_params: Any, num_members: int, inputs: Any, kept: Any, key: jax.Array) -> Learned:
    """Return what the members know before the first answer: `training.init`, with a replay and a key for each.

    Args:
        training: settings.
        make_params: ``key -> parameters`` of one member.
        num_members: N.
        inputs: what a network sees, for its shapes.
        kept: the same as the replay keeps it.
        key: PRNG key.
    """
    own = alone(training, num_members)
    learned = train.init(own, make_params, num_members, kept, key)
    zeros = jax.tree.map(lambda leaf: np.zeros(jnp.shape(leaf), jnp.asarray(leaf).dtype), kept)
    row = Row(zeros, np.int32(0), np.zeros(1, np.uint8))
    replays = tuple(Replay.of(Rows.like(row, own.capacity)) for _ in range(num_members))
    shares = Shares(
        first=jax.tree.map(lambda leaf: jnp.zeros((num_members, *jnp.shape(leaf)), jnp.asarray(leaf).dtype), inputs),
        varied=jax.tree.map(lambda leaf: jnp.zeros((num_members, *jnp.shape(leaf)), bool), inputs),
        unnamed=jnp.zeros((), jnp.int32),
        key=jax.random.bits(jax.random.fold_in(learned.key, 2), (8,), jnp.uint32),
    )
    answered: Any = ()
    if training.local_caution:
        answered = jax.vmap(lambda _: Answered.none(own.capacity, 1, inputs))(jnp.arange(num_members))
    keys = jax.random.split(learned.key, num_members)
    temperature = Temperature.one(num_members, training.temperature, shares=num_members)
    return learned.replace(replay=replays, temperature=temperature, key=keys, shares=shares, answered=answered)


def owners(learned: Learned, sources: Sequence[Source | None], trusted: Any) -> np.ndarray:
    """Return whose answers these are: int32 [T], the number of a member, `EVERYBODY` or `BY_SLOT`."""
    key = np.asarray(learned.shares.key).astype("<u4").tobytes()
    number = len(learned.replay)
    told = [BY_SLOT if source is None else share_of(source, key, number) for source in sources]
    return np.where(trusted, EVERYBODY, np.asarray(told, np.int32)).astype(np.int32)


def log_probs(training: Training, apply: Apply, learned: Learned, inputs: Any) -> jax.Array:
    """Predict one input with every member: [N, A]. Each sees what never varied in its share as it always was there."""
    own = alone(training, len(learned.replay))
    shares = learned.shares
    seen = jax.tree.map(
        lambda first, varied, now: jnp.where(varied, now, first.astype(jnp.asarray(now).dtype)),
        shares.first, shares.varied, inputs,
    )  # fmt: skip
    stored = Elsewhere(jnp.stack([replay.stored for replay in learned.replay]))
    each = learned.replace(replay=stored, key=(), shares=(), optimizer=())

    def of_one(known: Learned, inputs: Any) -> jax.Array:
        one = jax.tree.map(lambda leaf: leaf[None], known.replace(answered=()))
        return train.log_probs(own, apply, one.replace(answered=known.answered), inputs)[0]

    return jax.vmap(of_one)(each, seen)


def learn(
    training: Training,
    apply: Apply,
    learned: Learned,
    inputs: Any,
    answer: jax.Array,
    predicted: jax.Array,
    owner: jax.Array | None = None,
) -> Learned:
    """Return what the members know after one answer: `training.learn` of those whose answer it is.

    Args:
        training: settings.
        apply: a member's network.
        learned: what they knew before.
        inputs: what was asked about.
        answer: int32 [].
        predicted: [N, A], what `log_probs` returned for it.
        owner: int32 [], one entry of `owners`; None for `BY_SLOT`.

    Raises:
        ConfigurationError: if the answers before it are not there.
    """
    if not all(isinstance(replay, Replay) for replay in learned.replay):
        raise ConfigurationError("the answers of these members are kept elsewhere: learn by `learn_on_host`")
    number = len(learned.replay)
    whose, shares = _numbered(learned, owner)
    learned = learned.replace(shares=shares)

    def teach(n: jax.Array, learned: Learned) -> Learned:
        noted, due = _note(training, learned, n, inputs, answer, predicted)
        replays = tuple(_stored_if(n == m, replay, noted.row) for m, replay in enumerate(learned.replay))
        known = learned.replace(
            replay=replays, temperature=noted.temperature, shares=noted.shares, answered=noted.answered
        )

        def minibatch(places: jax.Array) -> Row:
            # The replays are read, not returned: no branch copies one.
            return jax.lax.switch(n, [partial(_rows_at, replay, places) for replay in replays])

        def fitted() -> Any:
            own = alone(training, number)
            one = _alone(known, n, noted.stored)
            before = (one.params, one.averages, one.optimizer)
            places = train.draw_minibatches(own, one)
            after = rounds.updated(own, apply, one, before, 0, places, minibatch)
            return _put(_fitted(learned), rounds.without_broken(after, before), n)

        params, averages, optimizer = jax.lax.cond(due, fitted, lambda: _fitted(learned))
        return known.replace(params=params, averages=averages, optimizer=optimizer)

    everybody = whose == EVERYBODY
    first = jnp.where(everybody, 0, whose)
    return jax.lax.fori_loop(first, jnp.where(everybody, number, first + 1), teach, learned)


def learned_from(
    members: Any, learned: Learned, carry: Any, observation: Any, answer: Any, log_probs: jax.Array, owner: Any = None
) -> Learned:
    """`learn`, where the answers are in rows (see `_on_host.learned_from`); ``members`` is a `Neural`.

    Raises:
        ConfigurationError: if the answers before it are not there, or are others.
    """
    if not all(isinstance(replay, Replay) for replay in learned.replay):
        raise ConfigurationError("members cannot learn without the answers before: their replay is kept elsewhere")
    owner, shares = _numbered(learned, owner)
    learned = learned.replace(shares=shares)
    number, first = len(learned.replay), int(owner)
    for n in range(number) if first == EVERYBODY else [first]:
        learned = _taught(members, learned, n, (carry, observation, np.int32(answer), log_probs))
    return learned


class _Noted(struct.PyTreeNode):
    """An answer before its member is trained.

    Attributes:
        temperature: all members', after it.
        shares: after it.
        answered: likewise.
        row: what is to be stored.
        stored: int32 [], answers of this member, with it.
    """

    temperature: Any
    shares: Shares
    answered: Any
    row: Row
    stored: jax.Array


def _note(
    training: Training, learned: Learned, n: Any, inputs: Any, answer: jax.Array, predicted: jax.Array
) -> tuple[_Noted, jax.Array]:
    """Return what member n makes of an answer, and whether it is due for a round."""
    own = alone(training, len(learned.replay))
    stored = jnp.stack([replay.stored for replay in learned.replay])[n]
    plateau = learned.optimizer if training.plateau is not None else ()
    light = learned.replace(params=(), averages=(), prior_params=(), optimizer=plateau)
    one = _alone(light, n, stored + 1)
    said = jax.lax.dynamic_slice_in_dim(predicted, n, 1)
    inputs = jax.tree.map(lambda like, new: jnp.asarray(new, like.dtype), learned.shares.first, inputs)
    temperature = learned.temperature
    if training.temperature:
        temperature = _put(temperature, one.temperature.after(inputs, said, answer), n)
    before = one.replace(replay=Elsewhere(stored))
    answered = _put_whole(learned.answered, train.answered(own, before, inputs, answer, said), n)
    row = Row(train.kept(own, inputs, said), answer, jnp.ones(1, jnp.uint8))
    shares = _seen(learned.shares, n, stored, inputs)
    return _Noted(temperature, shares, answered, row, stored + 1), train.is_due(own, one)


def _seen(shares: Shares, n: Any, stored: jax.Array, inputs: Any) -> Shares:
    """Return what member n has seen vary, with one input more."""
    first = jax.tree.map(lambda kept, new: kept.at[n].set(jnp.where(stored == 0, new, kept[n])), shares.first, inputs)
    varied = jax.tree.map(
        lambda so_far, kept, new: so_far.at[n].set(so_far[n] | (new != kept[n])), shares.varied, first, inputs
    )
    return shares.replace(first=first, varied=varied)


def _numbered(learned: Learned, owner: Any) -> tuple[Any, Shares]:
    """Return whose the next answer is, int32 [] or an int, and what counts those without a source after it."""
    shares = learned.shares
    owner = jnp.asarray(BY_SLOT if owner is None else owner, jnp.int32)
    by_slot = owner == BY_SLOT
    number = jnp.where(by_slot, shares.unnamed % len(learned.replay), owner)
    return number, shares.replace(unnamed=shares.unnamed + by_slot)


def _stored_if(owned: jax.Array, replay: Any, row: Row) -> Replay:
    """Return a replay with one row more if it is the one that the row belongs to."""
    room = replay.counts.shape[0]
    # A place that is not there is not written to.
    place = jnp.where(owned, replay.stored % room, room)

    def put(kept: jax.Array, new: jax.Array) -> jax.Array:
        return kept.at[place].set(jnp.asarray(new, kept.dtype), mode="drop")

    return replay.replace(
        inputs=jax.tree.map(put, replay.inputs, row.inputs),
        answers=put(replay.answers, row.answer),
        counts=put(replay.counts, row.counts),
        stored=replay.stored + owned,
    )


def _rows_at(replay: Any, places: jax.Array) -> Row:
    inputs = jax.tree.map(lambda leaf: leaf[places], replay.inputs)
    return Row(inputs, replay.answers[places], replay.counts[places])


def _alone(learned: Learned, n: Any, stored: jax.Array) -> Learned:
    """Return what member n knows after so many answers, as an ensemble of it alone has it, without those."""
    one = _of(learned.replace(replay=(), shares=(), key=(), answered=()), n)
    answered = jax.tree.map(lambda leaf: leaf[n], learned.answered)
    return one.replace(replay=Elsewhere(stored), key=learned.key[n], answered=answered)


def _fitted(learned: Learned) -> tuple[Any, Any, Any]:
    return learned.params, learned.averages, learned.optimizer


def _of(tree: Any, n: Any) -> Any:
    """Return what is member n's of leaves [N, ...], as an ensemble of it alone has it: [1, ...]."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, n), tree)


def _put(tree: Any, one: Any, n: Any) -> Any:
    """Return leaves [N, ...] with those of member n, [1, ...], in their place."""
    return jax.tree.map(lambda leaf, new: leaf.at[n].set(new[0]), tree, one)


def _put_whole(tree: Any, one: Any, n: Any) -> Any:
    """Return leaves [N, ...] with those of member n, [...], in their place."""
    return jax.tree.map(lambda leaf, new: leaf.at[n].set(new), tree, one)


# --- where the answers are in rows ---


def _taught(members: Any, learned: Learned, n: int, told: tuple[Any, ...]) -> Learned:
    """Return what is known after member n got an answer: carry, observation, answer and predictions."""
    training = members.training
    rows, others = learned.replay[n].on_host(), tuple(Elsewhere(replay.stored) for replay in learned.replay)
    plateau = learned.optimizer if training.plateau is not None else ()
    light = learned.replace(params=(), averages=(), prior_params=(), optimizer=plateau, replay=others)
    noted, said = _noted(members, light, np.int32(n), *told)
    stored, due = np.asarray(said).tolist()
    if stored != rows.stored + 1:
        raise ConfigurationError(
            f"a member that has learned from {stored - 1} answers cannot learn on with {rows.stored} of these answers"
        )
    rows = rows.appended(jax.tree.map(np.asarray, noted.row))
    replays = (*learned.replay[:n], Replay.of(rows, noted.stored), *learned.replay[n + 1 :])
    after = learned.replace(temperature=noted.temperature, shares=noted.shares, answered=noted.answered, replay=replays)
    if not due:
        return after
    one = _one(after.replace(replay=(), shares=()), np.int32(n), noted.stored)
    fitted = _fitted(_on_host.round_of(_single(members), one, rows))
    params, averages, optimizer = _replaced(_fitted(after), fitted, np.int32(n))
    return after.replace(params=params, averages=averages, optimizer=optimizer)


def _single(members: Any) -> Any:
    """Return the ensemble of one member alone."""
    arch = members.architecture
    own = replace(arch, training=alone(arch.training, members.num_members))
    return members.replace(prior=jnp.ones(1), architecture=own)


@jax.jit
def _noted(
    members: Any, light: Learned, n: Any, carry: Any, observation: Any, answer: jax.Array, log_probs: Any
) -> tuple[_Noted, jax.Array]:
    inputs = members.inputs(carry, observation)
    noted, due = _note(members.training, light, n, inputs, answer, jnp.asarray(log_probs))
    return noted, jnp.stack([noted.stored, due.astype(jnp.int32)])


_one = jax.jit(_alone)
_replaced = jax.jit(_put)
