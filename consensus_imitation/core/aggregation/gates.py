"""When to ask, as people decide it today: gates on the confidence or the disagreement of an ensemble.

A gate is an aggregation rule like those of `aggregation`, and takes its turn in the same harness as `Minimum`. It has
two parts: *when* it asks (its threshold), and *how* it acts when it does not (``base``, by default the posterior
mixture). Most gates are hard: they ask with probability 0 or 1.

What tells all of them from the minimum: where the law that acts is confident they do not ask, or ask regardless of it,
and one member's objection does not keep an action from being taken. None promises a bound on anything, so
``log_inflation`` is ``inf`` where they act.

Two things are the same for all gates here. A member without a usable prediction (a row of ``-inf``), selected or not,
makes every gate ask: they fail closed, as the minimum does. (A ``base`` whose law is none makes the gate's law none,
too: `_rule_checks`.) And the number that a gate is about is a pytree *leaf*: sweeping it does not recompile, and it can
be ``vmap``ped over.

Mass that members withhold, because they have seen little, is asked about by the gates on confidence and variance, as
everywhere in this library. `RandomQueries` and `MinimumGate`, which are about how often to ask, ask exactly so often.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.typing import ArrayLike

from consensus_imitation.core._rule_checks import AGGREGATION_PARTS, law_of, missing
from consensus_imitation.core._tree import PyTree
from consensus_imitation.core._validation import check_number
from consensus_imitation.core.aggregation.rules import Minimum, PosteriorMixture
from consensus_imitation.core.laws import ActionLaw
from consensus_imitation.errors import ConfigurationError


class _Gate(PyTree, guests=True):
    """What the gates share: they fit ensembles of any size."""

    def __post_init__(self) -> None:
        self._check(lenient=True)

    def _check(self, lenient: bool) -> None:
        """Check the numbers; a lenient check lets pass what operations on pytrees put in their place."""

    def check(self, num_members: int) -> None:
        """Raise ConfigurationError if a number or the law that acts is none, or the law does not fit the ensemble."""
        self._check(lenient=False)
        base: Any = getattr(self, "base", None)
        lacks = missing(base, AGGREGATION_PARTS)
        if lacks:
            raise ConfigurationError(
                f"base must be an aggregation rule, such as MAP(), got {base!r:.200}, which lacks {', '.join(lacks)}"
            )
        base.check(num_members)

    def _judged(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        """The base's law; all NaN if it is none, so that no gate makes one of it."""
        base: Any = getattr(self, "base", None)
        law, faulty = law_of(base, log_probs, log_weights, selected)
        return jax.tree.map(lambda part: jnp.where(faulty, jnp.nan, part), law)


class MaxProbGate(_Gate):
    """Ask if and only if the likeliest action's probability is below a threshold.

    The plainest gate on confidence, and the one that calibration is about: with calibrated predictions the imitator's
    guess is wrong in at most a share ``1 - threshold`` of the steps on which it acts. A demonstrator that is itself
    undecided is asked for ever; a deceptive member that is sure of itself is not asked about at all.

    Args:
        threshold: in [0, 1]; 0 asks only for mass withheld, 1 unless the law is certain. An array to ``vmap`` over.
        base: the law that is judged, and that acts. `MAP` makes it the gate of one trained network.

    Raises:
        ConfigurationError: if ``threshold`` is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.core.aggregation import MaxProbGate
        >>> log_probs, everyone = jnp.log(jnp.array([[0.7, 0.3], [0.9, 0.1]])), jnp.array([True, True])
        >>> [float(MaxProbGate(tau)(log_probs, jnp.zeros(2), everyone).query_prob) for tau in (0.75, 0.85)]
        [0.0, 1.0]

    References:
        Hendrycks and Gimpel 2017 (arXiv:1610.02136) for the score. Laskey et al. 2016 ("SHIV", ICRA) ask where a
        one-class model finds the state unlike the data; here the network's own confidence stands in for that.
    """

    threshold: ArrayLike
    base: Any = struct.field(default_factory=PosteriorMixture)

    def _check(self, lenient: bool) -> None:
        _check_within("threshold", self.threshold, 0.0, 1.0, lenient)

    @property
    def name(self) -> str:
        """Short name."""
        return _named("maxprob", self.threshold)

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        """Combine; ``selected`` matters only through ``base``."""
        law = self._judged(log_probs, log_weights, selected)
        confident = jnp.max(law.probs) >= jnp.asarray(self.threshold)
        return _gated(law, confident, log_probs)


class EntropyGate(_Gate):
    """Ask if and only if the entropy of the law exceeds a threshold.

    The entropy counts a demonstrator that is undecided (aleatoric) like members that disagree (epistemic). Mass that
    the law withholds counts as one more outcome.

    Args:
        threshold: in nats, at least 0; at ``ln A`` and above it asks only for mass withheld. An array to ``vmap`` over.
        base: the law that is judged, and that acts.

    Raises:
        ConfigurationError: if ``threshold`` is negative.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.core.aggregation import EntropyGate
        >>> log_probs, everyone = jnp.log(jnp.array([[0.5, 0.5], [0.5, 0.5]])), jnp.array([True, True])
        >>> [float(EntropyGate(tau)(log_probs, jnp.zeros(2), everyone).query_prob) for tau in (0.6, 0.7)]
        [1.0, 0.0]

    References:
        Uncertainty sampling: Lewis and Gale 1994; Settles 2009, section 3.1.
    """

    threshold: ArrayLike
    base: Any = struct.field(default_factory=PosteriorMixture)

    def _check(self, lenient: bool) -> None:
        _check_within("threshold", self.threshold, 0.0, float("inf"), lenient)

    @property
    def name(self) -> str:
        """Short name."""
        return _named("entropy", self.threshold)

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        """Combine; ``selected`` matters only through ``base``."""
        law = self._judged(log_probs, log_weights, selected)
        entropy = -jnp.sum(_plogp(law.probs)) - _plogp(law.query_prob)
        # A uniform law's entropy is ln A only to within rounding; erring towards asking would make ln A ask.
        return _gated(law, entropy <= jnp.asarray(self.threshold) + 1e-6, log_probs)


class VarianceGate(_Gate):
    """EnsembleDAgger: ask if the members disagree too much, be it in their probabilities or in their favourites.

    *Doubt* is the variance over members of each action's probability, averaged over actions: 0 if all members agree,
    1/4 at most (for two actions, half of the members sure of each).

    *Discrepancy*, in the paper, is the distance from the novice's action to the expert's, and takes an expert that is
    asked at every step; a gate that is there to save questions cannot have that. What can be had without asking is how
    far the members are from the action the imitator would take: the share of them with another favourite. Posterior
    weights do not enter either score.

    Args:
        threshold: of the doubt, in [0, 1]; it acts up to and at this doubt. An array to ``vmap`` over.
        discrepancy: in [0, 1], largest share of members with another favourite; 1 sets no limit.
        base: the law that acts.

    Raises:
        ConfigurationError: if a limit is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.core.aggregation import VarianceGate, doubt
        >>> log_probs, everyone = jnp.log(jnp.array([[0.9, 0.1], [0.7, 0.3]])), jnp.array([True, True])
        >>> round(float(doubt(log_probs)), 4)
        0.01
        >>> [float(VarianceGate(chi)(log_probs, jnp.zeros(2), everyone).query_prob) for chi in (0.02, 0.005)]
        [0.0, 1.0]

    References:
        Menda, Driggs-Campbell and Kochenderfer 2019, "EnsembleDAgger" (arXiv:1807.08364).
    """

    threshold: ArrayLike
    discrepancy: ArrayLike = 1.0
    base: Any = struct.field(default_factory=PosteriorMixture)

    def _check(self, lenient: bool) -> None:
        _check_within("threshold", self.threshold, 0.0, 1.0, lenient)
        _check_within("discrepancy", self.discrepancy, 0.0, 1.0, lenient)

    @property
    def name(self) -> str:
        """Short name."""
        return _named("variance", self.threshold)

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        """Combine; ``selected`` matters only through ``base``."""
        law = self._judged(log_probs, log_weights, selected)
        apart = jnp.mean(jnp.argmax(log_probs, axis=-1) != jnp.argmax(law.probs))
        calm = (doubt(log_probs) <= jnp.asarray(self.threshold)) & (apart <= jnp.asarray(self.discrepancy) + 1e-6)
        return _gated(law, calm, log_probs)


class RandomQueries(_Gate):
    """Ask with a fixed probability, whatever the members say; else act.

    The control of every gate: what the same number of answers is worth when nobody chose where to ask. With ``rate=1``
    the demonstrator does everything (behavioural cloning's data); with ``rate=0`` nothing is asked.

    Args:
        rate: in [0, 1]. An array to ``vmap`` over.
        base: the law that acts.

    Raises:
        ConfigurationError: if ``rate`` is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.core.aggregation import RandomQueries
        >>> law = RandomQueries(0.25)(jnp.log(jnp.array([[1.0, 0.0]])), jnp.zeros(1), jnp.array([True]))
        >>> law.probs.tolist(), float(law.query_prob)
        ([0.75, 0.0], 0.25)

    References:
        DAgger's mixture policy acts like this with ``rate`` its beta (Ross, Gordon and Bagnell 2011, arXiv:1011.0686);
        but there the demonstrator labels *every* state, whoever acts, and here only those it is asked about.
    """

    rate: ArrayLike
    base: Any = struct.field(default_factory=PosteriorMixture)

    def _check(self, lenient: bool) -> None:
        _check_within("rate", self.rate, 0.0, 1.0, lenient)

    @property
    def name(self) -> str:
        """Short name."""
        return _named("random", self.rate)

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        """Combine; ``selected`` matters only through ``base``."""
        law = self._judged(log_probs, log_weights, selected)
        return _at_rate(law, jnp.asarray(self.rate, jnp.float32), log_probs)


class MinimumGate(_Gate):
    """Ask exactly as often as the minimum would, but act from another law.

    Separates the two halves of the conservative imitator: with the same questions at every state, the difference to
    `Minimum` is that of the acting law alone. (A veto that has no effect on what is done: one member's objection to an
    action makes it likelier that a question is asked, but the action is taken whenever it is not.)

    Args:
        base: the law that acts: the posterior mixture, `MAP`, `MajorityVote`.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation import Minimum
        >>> from consensus_imitation.core.aggregation import MAP
        >>> from consensus_imitation.core.aggregation import MinimumGate
        >>> log_probs, everyone = jnp.log(jnp.array([[0.7, 0.3], [0.4, 0.6]])), jnp.array([True, True])
        >>> gate, minimum = (rule(log_probs, jnp.zeros(2), everyone) for rule in (MinimumGate(MAP()), Minimum()))
        >>> bool(gate.query_prob == minimum.query_prob), [round(p, 2) for p in gate.probs.tolist()]
        (True, [0.49, 0.21])
    """

    base: Any = struct.field(default_factory=PosteriorMixture)

    @property
    def name(self) -> str:
        """Short name."""
        return f"minimum-gate-{self.base.name}"

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        """Combine."""
        theta = Minimum()(log_probs, log_weights, selected).query_prob
        law = self._judged(log_probs, log_weights, selected)
        return _at_rate(law, theta, log_probs)


def doubt(log_probs: jax.Array) -> jax.Array:
    """Variance over members of each action's probability, averaged over actions: float32 [] in [0, 1/4].

    Args:
        log_probs: [N, A].
    """
    return jnp.mean(jnp.var(jnp.exp(log_probs), axis=0))


def _at_rate(law: ActionLaw, rate: jax.Array, log_probs: jax.Array) -> ActionLaw:
    """Ask with exactly that probability, else act by the law: what it withholds is not asked about on top."""
    mass = jnp.sum(law.probs)
    able = mass > 0
    # Without mass they are all 0, or all NaN, and stay so.
    probs = jnp.where(able, law.probs * (1.0 - rate) / jnp.where(able, mass, 1.0), law.probs)
    return _gated(ActionLaw(probs, rate), able, log_probs)


def _gated(law: ActionLaw, acts: jax.Array, log_probs: jax.Array) -> ActionLaw:
    """The law where the gate lets it act, else a query; a query, too, where a member is unusable; no law of no law."""
    # The sum is for a NaN: on CPU the maximum of a long row may lose it.
    usable = jnp.all(jnp.max(log_probs, axis=-1) > -jnp.inf) & ~jnp.isnan(jnp.sum(log_probs))
    acts = acts & usable
    gated = ActionLaw(
        probs=jnp.where(acts, law.probs, 0.0),
        query_prob=jnp.where(acts, law.query_prob, 1.0),
        # The same as for the laws of `aggregation` that promise nothing.
        log_inflation=jnp.where(acts, jnp.inf, 0.0),
    )
    none = jnp.any(jnp.isnan(law.probs)) | jnp.isnan(law.query_prob)
    return jax.tree.map(lambda part: jnp.where(none, jnp.nan, part), gated)


def _plogp(probs: jax.Array) -> jax.Array:
    return jnp.where(probs > 0, probs * jnp.log(jnp.where(probs > 0, probs, 1.0)), 0.0)


def _number(value: ArrayLike) -> float | None:
    """The leaf as a number, if it is one: under transformations of JAX other things stand in its place."""
    return float(value) if isinstance(value, int | float | np.generic) else None


def _named(kind: str, value: ArrayLike) -> str:
    number = _number(value)
    return kind if number is None else f"{kind}-{number:g}"


def _check_within(what: str, value: ArrayLike, low: float, high: float, lenient: bool) -> None:
    bounds = f"lie in [{low:g}, {high:g}]" if high < float("inf") else f"be at least {low:g}"
    check_number(what, value, bounds, lambda number: (number >= low) & (number <= high), lenient=lenient)
