"""How sure members may be: a temperature for each, fitted to answers that it has not learned from yet.

A member that gave little to an answer was ignorant, or it has learned by heart what was chance. An answer alone does
not say which. Two different answers to the same input do: there the demonstrator is random. So by default temperatures
are fitted to *repeated* inputs, and only contradictions there begin to raise them. Members whose demonstrator never
contradicts itself are the same to the bit as members without a temperature.

Reference:
    Guo et al. (2017), "On Calibration of Modern Neural Networks" (the temperature).
"""

import math
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

#: A temperature stays within a factor of this of 1.
_LARGEST = 10.0

#: An answer counts as at most so many.
_LARGEST_WEIGHT = 50.0

#: The log-probability of what is not legal: finite, so that it counts for nothing.
_FORBIDDEN = -1e9

#: Places for inputs that were answered. A later input takes the place of an earlier one, which is then forgotten.
_PLACES = 4096

#: Instead of an answer: nothing was answered here; and different things were.
_NEVER, _CONTESTED = -1, -2


class Repeats(struct.PyTreeNode):
    """Which inputs were answered before, and how. M is 1, or N where each member has answers of its own.

    Attributes:
        marks: uint32 [M, P], which input has this place.
        answers: int32 [M, P], its answer, if all were the same; below 0 if not, or if there is none.
    """

    marks: jax.Array  # [M, P]
    answers: jax.Array  # [M, P]

    @classmethod
    def none(cls, number: int = 1) -> Self:
        """Return that of no answers, for so many shares."""
        return cls(jnp.zeros((number, _PLACES), jnp.uint32), jnp.full((number, _PLACES), _NEVER, jnp.int32))

    def noted(self, asked: Any, answer: jax.Array) -> tuple[jax.Array, Self]:
        """Return what is known of one input of the only share, int32 [] as in ``answers``, and this with its answer."""
        where, mark = _hash(asked)
        place = where % _PLACES
        before = jnp.where(self.marks[0, place] == mark, self.answers[0, place], _NEVER)
        now = jnp.where((before == _NEVER) | (before == answer), answer, _CONTESTED).astype(jnp.int32)
        marks, answers = self.marks.at[0, place].set(mark), self.answers.at[0, place].set(now)
        return before, self.replace(marks=marks, answers=answers)


class Temperature(struct.PyTreeNode):
    """A number per member that its logits are divided by.

    Attributes:
        log: float32 [N], its logarithm.
        curvature: float32 [N], sum of the log-loss's second derivatives so far.
        repeats: what was answered where; () if temperatures are fitted to all answers, or to none.
    """

    log: jax.Array  # [N]
    curvature: jax.Array  # [N]
    repeats: Repeats | tuple[()] = ()

    @classmethod
    def one(cls, num_members: int, setting: bool | str, shares: int = 1) -> Self:
        """Return that before the first answer.

        Args:
            num_members: N.
            setting: `Training.temperature`.
            shares: M, of the answers.
        """
        repeats = Repeats.none(shares) if setting == "repeats" else ()
        # The prior curvature: as much as some twenty answers, so that the first few move it little.
        return cls(log=jnp.zeros(num_members), curvature=jnp.full(num_members, 10.0), repeats=repeats)

    def after(self, inputs: Any, log_probs: jax.Array, answer: jax.Array) -> Self:
        """Return that after an answer, as predicted before it was learned from.

        Of repeated inputs alone, it is one `step` if there were different answers to the same input, this one included.
        If all were the same, it is one that does not raise the temperature: there a member that is surprised did not
        know. It never falls below 1.

        Args:
            inputs: what was asked about.
            log_probs: [N, A], of members that learn from the answer.
            answer: int32 [].
        """
        if not isinstance(self.repeats, Repeats):
            return self.step(log_probs, answer)
        # What is legal is a part of the question.
        legal = jnp.any(jnp.asarray(log_probs) > -jnp.inf, axis=0)
        # (Where no member said anything, nothing is known of that.)
        asked = (inputs, legal | ~jnp.any(legal))
        before, repeats = self.repeats.noted(asked, answer)
        slope, variance = _derivatives(log_probs, answer)
        slope = jnp.where(before == answer, jnp.minimum(slope, 0.0), slope)
        moved = self._moved(slope, variance, 0.0)
        repeated = before != _NEVER
        return moved.replace(
            log=jnp.where(repeated, moved.log, self.log),
            curvature=jnp.where(repeated, moved.curvature, self.curvature),
            repeats=repeats,
        )

    def step(self, log_probs: jax.Array, answer: jax.Array) -> Self:
        """Return one step of online Newton on the log-loss of an answer, as predicted before it was learned from.

        With b the logarithm of the inverse temperature, the loss's derivative is ``E_p[log p] - log p(answer)`` and its
        second derivative about ``Var_p[log p]``, both functions of the prediction alone. Old answers count less and
        less, over some 200 of them, since the networks keep changing.

        Answers that were asked for are hard ones. So each counts by one over the probability of asking for it (of the
        minimum of all these members), up to `_LARGEST_WEIGHT`: as often as steps like it were met. Otherwise members
        that are sure and disagree would be taken for members that are sure of noise, and their disagreement would be
        tempered away.

        Args:
            log_probs: [N, A], of members that learn from the answer.
            answer: int32 [].
        """
        return self._moved(*_derivatives(log_probs, answer), -math.log(_LARGEST))

    def _moved(self, slope: jax.Array, variance: jax.Array, lowest: float) -> Self:
        curvature = self.curvature * (1 - 1 / 200) + variance
        log = jnp.clip(self.log + jnp.clip(slope / curvature, -0.1, 0.1), lowest, math.log(_LARGEST))
        usable = jnp.isfinite(log)
        log, curvature = jnp.where(usable, log, self.log), jnp.where(usable, curvature, self.curvature)
        return self.replace(log=log, curvature=curvature)


def _derivatives(log_probs: jax.Array, answer: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the first and the second derivative of each member's loss, times the answer's weight: float32 [N]."""
    asked = 1 - jnp.sum(jnp.exp(jnp.min(log_probs, axis=0)))
    weight = 1 / jnp.clip(asked, 1 / _LARGEST_WEIGHT, 1.0)
    # Without what caution withheld; and finite, so that what is not legal, of probability 0, counts for 0.
    log_probs = jnp.maximum(jax.nn.log_softmax(log_probs), _FORBIDDEN)
    probs = jnp.exp(log_probs)
    expected = jnp.sum(probs * log_probs, axis=-1)
    variance = weight * jnp.sum(probs * (log_probs - expected[:, None]) ** 2, axis=-1)
    return weight * (expected - log_probs[:, answer]), variance


def _hash(tree: Any) -> tuple[jax.Array, jax.Array]:
    """Return two words, uint32 [], that other numbers in any place of the pytree would change."""
    words = jnp.concatenate([_words(leaf) for leaf in jax.tree.leaves(tree)])
    there = jnp.arange(len(words), dtype=jnp.uint32) * np.uint32(0x9E3779B9)

    def of(seed: int) -> jax.Array:
        return _mixed(jnp.sum(_mixed(_mixed(there + np.uint32(seed)) ^ words), dtype=jnp.uint32))

    return of(1), of(2)


def _words(leaf: Any) -> jax.Array:
    """Return a leaf's numbers as words, uint32 [numbers]: of floats their bits."""
    leaf = jnp.ravel(jnp.asarray(leaf))
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        leaf = jax.lax.bitcast_convert_type(leaf.astype(jnp.float32), jnp.uint32)
    return leaf.astype(jnp.uint32)


def _mixed(words: jax.Array) -> jax.Array:
    """Return words of which every bit depends on every bit (the finaliser of MurmurHash3)."""
    words = (words ^ (words >> 16)) * np.uint32(0x85EBCA6B)
    words = (words ^ (words >> 13)) * np.uint32(0xC2B2AE35)
    return words ^ (words >> 16)
