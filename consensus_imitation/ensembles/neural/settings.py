"""How members learn: the settings, with their checks, and the optimiser that they make.

References:
    Osband, Aslanides and Cassirer (2018), "Randomized Prior Functions for Deep Reinforcement Learning".
    Oza and Russell (2001), "Online Bagging and Boosting" (the Poisson weights).
    Polyak and Juditsky (1992), "Acceleration of Stochastic Approximation by Averaging".
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal, cast

import numpy as np
import optax

from consensus_imitation.core._validation import check_instance, check_integer, check_number
from consensus_imitation.errors import ConfigurationError

#: Settings of which each member makes use with its own answers alone. What is not named here, a partition refuses.
_OF_ONE_MEMBER = frozenset({
    "learning_rate", "optimizer", "batch_size", "updates", "every", "capacity", "bootstrap", "label_smoothing",
    "weight_decay", "prior_scale", "temperature", "plateau", "caution", "local_caution", "averaging", "masked",
})  # fmt: skip

#: Weights of losses in which all members are compared (`_coupling`).
COUPLED = ("decorrelate", "disagree", "minimum_explains", "minimum_withholds")

#: All settings that are one float, at least 0.
_NUMBERS = ("label_smoothing", "weight_decay", "prior_scale", "caution", "local_caution", "averaging", *COUPLED)


@dataclass(frozen=True)
class Plateau:
    """Lower a member's learning rate when its training loss no longer falls (`optax.contrib.reduce_on_plateau`).

    Attributes:
        factor: what the rate is multiplied by, in (0, 1).
        patience: rounds without improvement before that.
        smallest: lowest multiple of the rate, at least 0.
        stop: skip all updates once every member is at its lowest rate. The members then learn nothing more.
    """

    factor: float = 0.5
    patience: int = 20
    smallest: float = 0.05
    stop: bool = False

    def __post_init__(self) -> None:
        check_number("factor", self.factor, "lie in (0, 1)", lambda factor: (factor > 0) & (factor < 1))
        check_integer("patience", self.patience, 1)
        check_number("smallest", self.smallest, "lie in [0, 1)", lambda smallest: (smallest >= 0) & (smallest < 1))


@dataclass(frozen=True)
class Training:
    """Settings of the members' training; hashable, so that equal settings share compiled functions.

    Attributes:
        learning_rate: a number, or a schedule ``updates so far -> rate`` (any hashable function in JAX; make it once,
            since two closures are never equal).
        optimizer: ``learning_rate -> optax.GradientTransformation``; None for Adam (AdamW with ``weight_decay``).
        batch_size: answers in a minibatch, drawn with replacement from all that the replay holds.
        updates: minibatches in a round.
        every: number of answers between rounds.
        capacity: answers that the replay holds; the oldest are overwritten.
        bootstrap: weight of each answer for each member, drawn once when it comes: "poisson" (mean 1), "bernoulli"
            (0 or 2), or "none" (1: the members differ by initialisation only). Or "partition": each answer counts for
            one member, so that d false answers, or d corrupted sources, reach at most d members (T7). Choose as many
            members as you select, N = k = d + 1. An answer's member goes by its source
            (``ConsensusImitator.answer(..., source=)``; a number modulo N, a name by a keyed hash), or, if it names
            none, by its number modulo N. Each member has a replay of its own, of ``capacity / N``, and everything
            else that is counted or fitted: ``every``, both kinds of ``caution``, ``temperature`` and ``plateau`` are
            about its own answers. Rounds of training cost what one member costs on everything; the members know less
            and ask more.
        label_smoothing: share of the target spread over all actions, in [0, 1).
        weight_decay: of AdamW.
        prior_scale: factor of a second, never trained network that is added to each member's logits (randomised prior
            function); 0 for none.
        temperature: to which answers the temperature is fitted that each member's logits are divided by, in steps on
            the log-loss of answers that the member has not been trained on yet. It is for demonstrators that are truly
            random, whose noise members otherwise learn by heart. "repeats": to answers about inputs that were answered
            before, to the bit. Contradicting answers raise it, and it never falls below 1, so that nothing changes
            where no input repeats, or where repeated inputs are always answered alike. True: to all answers
            (docs/frontier.md has what that costs with a demonstrator that is not random). False: to none.
        plateau: see `Plateau`; None to keep the rate.
        caution: c, answers after which members withhold half: of its probability mass each withholds
            ``c / (c + answers so far)``, and the imitator asks about what is withheld. Freshly initialised networks all
            predict about the same for everything, so without this they would agree, and act, in ignorance. 0 for none.
            All members of one ensemble withhold the same. It costs no weight, also against fixed members in a `union`,
            which withhold nothing: each prediction is scored scaled up to sum to one (`posterior.normalised`).
        local_caution: share of their mass, in [0, 1), that members withhold on average where they have answers. Far
            from all answered inputs they withhold nearly everything, so that the imitator asks there, however sure its
            members are. What both kinds of caution leave is multiplied. 0.05 is a good value, with a ``caution`` of 5;
            0 for none. docs/shift.md has the measurements. For observations that are vectors of floats only: among
            pictures, views, choices, words and windows distance does not say what is alike.
        averaging: updates over which a member averages the parameters that it predicts with (exponentially, Polyak), at
            least 1, or 0 for none: then it predicts with its newest. While training is young the average covers a tenth
            of its updates.
        masked: whether the replay keeps what was legal with each answer, and members are trained on the conditional law
            that they predict under an action mask (a softmax over the legal actions). False trains on the softmax over
            all actions, so that members have to learn from the answers what is legal as well. Without masks it makes no
            difference but a byte for each action of each answer.
        decorrelate: weight of a loss: the mean correlation, over pairs of members and the answers of a minibatch, of
            their errors (one minus the answer's probability). 0 for none, as for the three that follow. It makes
            members err more independently on familiar inputs, and *more effective members are not more safety*.
        disagree: weight of a loss on the minibatch's inputs with noise (of one standard deviation of each number), of
            which no answer is trained on: for two members p and q, ``-log(1 - sum_a p(a) q(a))``, the mean over pairs.
            For at least four actions: with fewer it drives members towards uniform predictions, on which they agree,
            and act at random. For observations of floats only, as ``minimum_withholds``.
        minimum_explains: weight of a loss on the answers: the log-loss of the normalised minimum of ``minimum_of``
            members, on average over all choices of so many.
        minimum_withholds: weight of a loss on the same inputs with noise: ``-log`` of the probability with which that
            minimum asks, ``1 - sum_a min p(a)``. With two actions it makes members ask nearly everywhere.
        minimum_of: k of these two minima, 2 .. N. Two members that disagree do so in every larger selection.

    The four weights compare members, and come with a `ConsensusWarning` that says what was measured (docs/shift.md):
    on the lunar lander none is as good, or as cheap, as ``local_caution``. They take all members and a whole minibatch
    at once, need two members at least, and cannot be combined with ``bootstrap="partition"``, since what one member is
    taught would reach the others.

    Why these defaults: ``caution``, because without it members agree, and act, in ignorance; no ``label_smoothing``,
    because the imitator never stops asking about members that are never certain; bootstrap, because members that see
    the same answers in the same way disagree less than they should. docs/learning.md has the measurements of caution
    and smoothing. The other numbers are common ones and were not tuned.

    Raises:
        ConfigurationError: on construction, if a number is out of range, or if a setting would let members see what
            others are taught and ``bootstrap`` is "partition".
    """

    learning_rate: float | Callable[[Any], Any] = 3e-3
    optimizer: Callable[[Any], optax.GradientTransformation] | None = None
    batch_size: int = 128
    updates: int = 8
    every: int = 4
    capacity: int = 16_384
    bootstrap: Literal["poisson", "bernoulli", "none", "partition"] = "poisson"
    label_smoothing: float = 0.0
    weight_decay: float = 0.0
    prior_scale: float = 0.0
    temperature: bool | Literal["repeats"] = "repeats"
    plateau: Plateau | None = None
    caution: float = 20.0
    local_caution: float = 0.0
    averaging: float = 0.0
    masked: bool = False
    decorrelate: float = 0.0
    disagree: float = 0.0
    minimum_explains: float = 0.0
    minimum_withholds: float = 0.0
    minimum_of: int = 2

    def __post_init__(self) -> None:
        if not callable(self.learning_rate):
            wanted = "be positive and finite, or a schedule"
            check_number("learning_rate", self.learning_rate, wanted, lambda rate: (rate > 0) & (rate < math.inf))
        # As Python's own numbers: sums and products with a small type of the user's would wrap round, or be full.
        for name in ("batch_size", "updates", "every", "capacity"):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), 1))
        object.__setattr__(self, "minimum_of", check_integer("minimum_of", self.minimum_of, 2))
        for name in _NUMBERS:
            most = 1 if name in ("label_smoothing", "local_caution") else math.inf
            wanted = "be at least 0 and " + ("below 1" if most == 1 else "finite")
            value = getattr(self, name)
            check_number(name, value, wanted, lambda number, most=most: (number >= 0) & (number < most))
            if np.ndim(value):
                raise ConfigurationError(f"{name} must be one number, got {value!r}")
            object.__setattr__(self, name, float(value))
        if 0 < self.averaging < 1:
            raise ConfigurationError(f"averaging must be 0 or at least 1, in updates; got {self.averaging!r}")
        check_instance("plateau", self.plateau, Plateau, "give a Plateau(...), or None to keep the rate")
        if self.optimizer is not None and not callable(self.optimizer):
            raise ConfigurationError(
                f"optimizer must be a function learning_rate -> transformation, got {self.optimizer!r}"
            )
        if not isinstance(cast(Any, self.temperature), bool) and self.temperature != "repeats":
            raise ConfigurationError(f"temperature must be 'repeats', True or False; got {self.temperature!r}")
        if not isinstance(cast(Any, self.masked), bool):
            raise ConfigurationError(f"masked must be True or False, got {self.masked!r}")
        if self.bootstrap not in ("poisson", "bernoulli", "none", "partition"):
            raise ConfigurationError(
                f"bootstrap must be 'poisson', 'bernoulli', 'none' or 'partition'; got {self.bootstrap!r}"
            )
        if self.bootstrap == "partition":
            self._check_divided()
        if self.optimizer is not None and self.weight_decay:
            raise ConfigurationError("weight_decay belongs to the default optimizer: put it into the one you give")

    def _check_divided(self) -> None:
        """Raise ConfigurationError for settings by which a member would see what others are taught."""
        others = [
            one for one in fields(self) if one.name not in _OF_ONE_MEMBER and getattr(self, one.name) != one.default
        ]
        if others:
            names = " and ".join(one.name for one in others)
            raise ConfigurationError(
                f"bootstrap='partition' cannot be combined with {names}: members would learn from what others are "
                "taught, and a false answer would reach them all"
            )

    def make_optimizer(self) -> optax.GradientTransformationExtraArgs:
        """Return the gradient transformation of one member."""
        rate = self.learning_rate
        if self.optimizer is not None:
            steps = self.optimizer(rate)
        else:
            steps = optax.adamw(rate, weight_decay=self.weight_decay) if self.weight_decay else optax.adam(rate)
        if self.plateau is None:
            return optax.with_extra_args_support(steps)
        lowered = optax.contrib.reduce_on_plateau(
            factor=self.plateau.factor,
            patience=self.plateau.patience,
            rtol=1e-3,
            accumulation_size=self.updates,
            min_scale=self.plateau.smallest,
        )
        return optax.chain(steps, lowered)
