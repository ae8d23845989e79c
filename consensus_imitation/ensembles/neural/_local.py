"""Local caution: where few answers lie near an input, members withhold mass, and the imitator asks.

``n(x)`` is the number of answers near x: each counts ``exp(-d^2 / 2h^2)``, d its distance, times the probability that
the member had given to that answer before it was learned: one that surprised a member counts less. The member withholds
``c / (c + n(x))``.

Distances are in standard deviations of the answered inputs, each number times the square root of its correlation ratio
with the answers: a change counts more in what the demonstrator goes by.

Members have to learn fast there, too. An answer is drawn for minibatches the oftener, the more was withheld of its
input when it came; that fades with the answers that follow.

The bandwidth h is the median distance of an answered input to its second nearest. The constant c is the one with which
answered inputs, themselves left out, withhold a given share on average. Both, deviations and ratios are functions of
the answers alone; they are fitted again as soon as there are a quarter more answers.

References:
    Parzen (1962), "On Estimation of a Probability Density Function and Mode" (the kernel).
    Laskey et al. (2016), "SHIV" (asking where the state is unlike the data).
    Fisher (1925), "Statistical Methods for Research Workers" (the correlation ratio).
"""

from collections.abc import Callable
from functools import partial, reduce
from operator import add
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import struct

#: A count runs over the first so many places, or four times as many, and so on: as few as hold all answers.
_FEWEST = 1024

#: Answered inputs from which the constants are fitted, spread evenly over all: enough for a median and a mean.
_SAMPLE = 128

#: The constants are fitted again when there are so many times as many answers.
_GROWTH = 1.25

#: A number of which the answer tells nothing counts as if it told so much: foreign values of it are still far.
_LEAST_TOLD = 1e-4

#: The shortest bandwidth, in standard deviations: inputs that come again and again are at no distance.
_SHORTEST = 1e-3

#: Between these c is looked for, by so many halvings of its logarithm; float32 has no counts much below the smallest.
_SMALLEST, _LARGEST, _HALVINGS = 1e-30, 1e4, 50

#: How much oftener than others the newest answer is drawn of whose input all was withheld, and the number of answers
#: after which that is half as much.
_REPEATED, _HALF_LIFE = 20.0, 64.0

#: Up to so many numbers of an input are added one after another, which runs several times as fast.
_FEW_NUMBERS = 64


class Answered(struct.PyTreeNode):
    """The answered inputs, and what they say of the distance at which inputs are alike.

    Attributes:
        points: float32 [D, C], the inputs as numbers; a ring of the latest C.
        answers: int32 [C], what was answered.
        foreseen: float32 [N, C], the probability that each member had given to the answer; 0 where there is none yet.
        foreign: float32 [C], the share that members, on average, withheld of it when it came.
        scale: float32 [D], weights over deviations and bandwidth: differences times it are distances in bandwidths.
        constant: float32 [], c.
        fitted: int32 [], answers when the two were fitted; 0 before that.
    """

    points: jax.Array  # [D, C]
    answers: jax.Array  # [C]
    foreseen: jax.Array  # [N, C]
    foreign: jax.Array  # [C]
    scale: jax.Array  # [D]
    constant: jax.Array  # []
    fitted: jax.Array  # []

    @classmethod
    def none(cls, capacity: int, num_members: int, example: Any) -> Self:
        """Return that of no answers, with room for the latest ``capacity`` of them."""
        width = numbers(example).size
        return cls(
            points=jnp.zeros((width, capacity)),
            answers=jnp.zeros(capacity, jnp.int32),
            foreseen=jnp.zeros((num_members, capacity)),
            foreign=jnp.zeros(capacity),
            scale=jnp.ones(width),
            constant=jnp.ones(()),
            fitted=jnp.zeros((), jnp.int32),
        )

    def withheld(self, inputs: Any, stored: jax.Array) -> jax.Array:
        """Return the share that each member withholds: float32 [N]; everything before there are constants.

        Args:
            inputs: one input.
            stored: int32 [], answers so far.
        """
        near = self.near(numbers(inputs), stored)
        return jnp.where(self.fitted > 0, self.constant / (self.constant + near), 1.0)

    def near(self, point: jax.Array, stored: jax.Array) -> jax.Array:
        """Return the number of answers near a point [D], as each member counts them: float32 [N]."""

        def count(points: jax.Array, foreseen: jax.Array) -> jax.Array:
            return foreseen @ jnp.exp(-_squares(points, point, self.scale) / 2)

        return self._over_all(count, stored)

    def answered(self, inputs: Any, answer: jax.Array, predicted: jax.Array, stored: jax.Array, budget: float) -> Self:
        """Return that of one more answer.

        Args:
            inputs: what was asked about.
            answer: int32 [].
            predicted: [N, A], the log-probabilities of it.
            stored: int32 [], answers before it.
            budget: share that answered inputs withhold on average.
        """
        # Without what was withheld; nothing of a member that predicted nothing.
        own = jnp.nan_to_num(jnp.exp(predicted[:, answer] - jax.nn.logsumexp(predicted, axis=-1)))
        foreign = jnp.mean(self.withheld(inputs, stored))
        place, stored = stored % self.points.shape[1], stored + 1
        after = self.replace(
            points=self.points.at[:, place].set(numbers(inputs)),
            answers=self.answers.at[place].set(answer),
            foreseen=self.foreseen.at[:, place].set(own),
            foreign=self.foreign.at[place].set(foreign),
        )
        kept = (self.scale, self.constant, self.fitted)
        due = (stored >= _GROWTH * self.fitted) & (stored > 2)
        fit = partial(after.constants, stored, budget, predicted.shape[-1])
        scale, constant, fitted = jax.lax.cond(due, fit, lambda: kept)
        return after.replace(scale=scale, constant=constant, fitted=fitted)

    def drawn(self, key: jax.Array, shape: tuple[int, ...], stored: jax.Array) -> jax.Array:
        """Draw places of the answers so far, int32 [shape], with replacement; new ones far from others more often."""
        there, capacity = jnp.arange(len(self.foreign)), len(self.foreign)
        age = (stored - 1 - there) % capacity
        weights = 1 + _REPEATED * self.foreign * 2.0 ** (-age / _HALF_LIFE)
        reached = jnp.cumsum(jnp.where(there < stored, weights, 0.0))
        found = jnp.searchsorted(reached, jax.random.uniform(key, shape) * reached[-1], side="right")
        return jnp.minimum(found, jnp.minimum(stored, capacity) - 1).astype(jnp.int32)

    def constants(self, stored: jax.Array, budget: float, num_actions: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return ``scale``, ``constant`` and ``fitted`` as the answers so far, at least three, want them."""
        size = jnp.minimum(stored, self.points.shape[1])
        places = jnp.arange(_SAMPLE) * size // _SAMPLE
        scale = scales(self.points, self.answers, size, num_actions)

        def of(points: jax.Array, foreseen: jax.Array) -> tuple[jax.Array, jax.Array]:
            there = jnp.arange(points.shape[1])

            def to_others(place: jax.Array) -> jax.Array:
                other = (there < size) & (there != place)
                return jnp.where(other, _squares(points, self.points[:, place], scale), jnp.inf)

            squares = jax.vmap(to_others)(places)  # [S, room]
            nearest = jnp.min(squares, axis=1, keepdims=True)
            farther = jnp.min(jnp.where(squares > nearest, squares, jnp.inf), axis=1)
            second = jnp.where(jnp.sum(squares == nearest, axis=1) > 1, nearest[:, 0], farther)
            bandwidth = jnp.maximum(jnp.median(jnp.sqrt(second)), _SHORTEST)
            return bandwidth, jnp.exp(-squares / (2 * bandwidth**2)) @ foreseen.T

        bandwidth, near = self._over_all(of, stored)
        return scale / bandwidth, constant_of(near, budget), stored

    def _over_all(self, function: Callable[[jax.Array, jax.Array], Any], stored: jax.Array) -> Any:
        """Call a function of the first places of ``points`` and ``foreseen``: as few as hold all answers."""
        rooms, capacity = [_FEWEST], self.points.shape[1]
        while rooms[-1] < capacity:
            rooms.append(4 * rooms[-1])
        rooms[-1] = capacity
        branches = [lambda room=room: function(self.points[:, :room], self.foreseen[:, :room]) for room in rooms]
        return jax.lax.switch(jnp.sum(stored > jnp.array(rooms[:-1], jnp.int32)), branches)


def numbers(inputs: Any) -> jax.Array:
    """Return an input's numbers: float32 [D]."""
    return jnp.concatenate([jnp.ravel(jnp.asarray(leaf, jnp.float32)) for leaf in jax.tree.leaves(inputs)])


def scales(points: jax.Array, answers: jax.Array, size: jax.Array, num_actions: int) -> jax.Array:
    """Return what differences are multiplied by: the weight of each number over its standard deviation.

    The weight is the square root of the correlation ratio, which is the root of the share of the number's variance that
    the answer tells: at least that of `_LEAST_TOLD`, and 1 of what never varied. The deviation of that is a thousandth
    of its size, or of 1: whatever else comes there is far from all that was seen.

    Args:
        points: [D, C], of which the first ``size`` count.
        answers: int32 [C].
        size: int32 [].
        num_actions: A.

    Returns:
        float32 [D].
    """
    real = jnp.arange(points.shape[1]) < size
    mean = jnp.sum(jnp.where(real, points, 0.0), axis=1, keepdims=True) / size
    apart = jnp.where(real, points - mean, 0.0)
    whole = jnp.sum(apart**2, axis=1)
    deviation = jnp.sqrt(whole / size)
    largest = jnp.max(jnp.where(real, jnp.abs(points), 0.0), axis=1)
    deviation = jnp.where(deviation > 1e-6 * largest, deviation, 1e-3 * jnp.where(largest > 0, largest, 1.0))
    each = jax.ops.segment_sum(apart.T, answers, num_actions)  # [A, D]
    number = jax.ops.segment_sum(real.astype(jnp.float32), answers, num_actions)[:, None]
    between = jnp.sum(each**2 / jnp.maximum(number, 1.0), axis=0)
    told = jnp.where(whole > 0, jnp.clip(between / jnp.where(whole > 0, whole, 1.0), _LEAST_TOLD, 1.0), 1.0)
    return jnp.sqrt(jnp.sqrt(told)) / deviation


def constant_of(near: jax.Array, budget: float) -> jax.Array:
    """Return the c whose mean of ``c / (c + near)`` is the budget: float32 []."""
    ends = jnp.log(jnp.array([_SMALLEST, _LARGEST]))

    def halve(_: Any, ends: jax.Array) -> jax.Array:
        middle = jnp.mean(ends)
        less = jnp.mean(1 / (1 + near * jnp.exp(-middle))) < budget
        return jnp.where(less, ends.at[0].set(middle), ends.at[1].set(middle))

    return jnp.exp(jax.lax.fori_loop(0, _HALVINGS, halve, ends)[0])


def _squares(points: jax.Array, point: jax.Array, scale: jax.Array) -> jax.Array:
    """Return the squared distances of points [D, C] from one [D], each number times its scale: float32 [C]."""
    if len(points) > _FEW_NUMBERS:
        return jnp.sum(((points - point[:, None]) * scale[:, None]) ** 2, axis=0)
    return reduce(add, [((points[d] - point[d]) * scale[d]) ** 2 for d in range(len(points))])
