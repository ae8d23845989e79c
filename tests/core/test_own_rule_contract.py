"""The checks that users call on their own rules find every kind of false promise, and let sound rules pass."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from consensus_imitation.core.aggregation import ActionLaw
from consensus_imitation.core.rule_contract import check_aggregation_rule, check_selection_rule
from consensus_imitation.errors import ConfigurationError, RuleContractError

from .own_rules import Own

N, A = 4, 3


# --- selection ---


class Sound(struct.PyTreeNode):
    """The two heaviest, written another way than the library's."""

    @property
    def tolerated_members(self) -> int:
        return 1

    @property
    def largest_set(self) -> float:
        return 2

    @property
    def smallest_share(self) -> float:
        return 0.0

    def __call__(self, log_weights: jax.Array) -> jax.Array:
        return jnp.sum(log_weights[None] > log_weights[:, None], axis=1) < 2

    def margins(self, log_weights: jax.Array) -> jax.Array:
        ranked = jnp.sort(log_weights)
        # The third falls in when the second falls below it; who is out is short of the second.
        return jnp.where(self(log_weights), log_weights - ranked[-3], log_weights - ranked[-2])

    def exclusion_bound(self, prior_weight: float, num_members: int) -> float:
        return 1.0

    def check(self, num_members: int) -> None:
        """Fits all."""


class Nobody(Sound):
    def __call__(self, log_weights: jax.Array) -> jax.Array:
        return jax.nn.softmax(log_weights) > 0.9


class WithoutRuledOut(Sound):
    """Selects nobody where only one member is left, in a place that drawn weights do not show."""

    def __call__(self, log_weights: jax.Array) -> jax.Array:
        return super().__call__(log_weights) & (jnp.sum(jnp.isfinite(log_weights)) > 1)


class Unscaled(Sound):
    def __call__(self, log_weights: jax.Array) -> jax.Array:
        return super().__call__(log_weights) | (log_weights > 5)


class FarMargins(Sound):
    def margins(self, log_weights: jax.Array) -> jax.Array:
        return super().margins(log_weights) + 0.5


class NearMargins(Sound):
    def margins(self, log_weights: jax.Array) -> jax.Array:
        margins = super().margins(log_weights)
        return jnp.where(margins > 0, margins / 2, margins)


class OutsideMargins(Sound):
    def margins(self, log_weights: jax.Array) -> jax.Array:
        return jnp.abs(super().margins(log_weights))


class NanMargins(Sound):
    def margins(self, log_weights: jax.Array) -> jax.Array:
        return super().margins(log_weights) * jnp.nan


class Quorum(Sound):
    @property
    def tolerated_members(self) -> int:
        return 2


class Small(Sound):
    @property
    def largest_set(self) -> float:
        return 1


class Share(Sound):
    @property
    def smallest_share(self) -> float:
        return 0.3


class Certain(Sound):
    """Promises that the truth is never left out."""

    def exclusion_bound(self, prior_weight: float, num_members: int) -> float:
        return 0.0


class AlmostCertain(Sound):
    def exclusion_bound(self, prior_weight: float, num_members: int) -> float:
        return 0.25 if prior_weight <= 0.5 else 0.0


class Growing(Sound):
    def exclusion_bound(self, prior_weight: float, num_members: int) -> float:
        return prior_weight


class Lightest(Sound):
    def __call__(self, log_weights: jax.Array) -> jax.Array:
        return super().__call__(-log_weights)

    def margins(self, log_weights: jax.Array) -> jax.Array:
        return jnp.where(self(log_weights), jnp.inf, -jnp.inf)


class Trusting(Sound):
    """Member 0 and the heaviest of the others: a rule that knows a place."""

    def __call__(self, log_weights: jax.Array) -> jax.Array:
        first = jnp.arange(log_weights.shape[0]) == 0
        return first | (log_weights == jnp.max(jnp.where(first, -jnp.inf, log_weights)))

    def margins(self, log_weights: jax.Array) -> jax.Array:
        first = jnp.arange(log_weights.shape[0]) == 0
        ranked = jnp.sort(jnp.where(first, -jnp.inf, log_weights))
        short = log_weights - ranked[-1]
        return jnp.where(first, jnp.inf, jnp.where(short < 0, short, ranked[-1] - ranked[-2]))


def test_a_sound_selection_rule_passes() -> None:
    check_selection_rule(Sound(), N)
    check_selection_rule(Sound(), N, seed=1)


def test_a_rule_that_knows_places_says_so() -> None:
    check_selection_rule(Trusting(), N, by_weight=False)
    with pytest.raises(RuleContractError, match=r"passes over a heavier member|leaves out the heaviest|another order"):
        check_selection_rule(Trusting(), N)


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Nobody(), "selects nobody"),
        (WithoutRuledOut(), r"selects nobody at the log-weights \[-inf, -inf, -inf, 0.0\]"),
        (Unscaled(), "if all weights have a common factor more"),
        (FarMargins(), "keeps it when|leaves it out when it has fallen by a little less|and the mask"),
        (NearMargins(), "keeps it when it has fallen by a little more"),
        (OutsideMargins(), "has margins .* and the mask"),
        (NanMargins(), "has margins that are NaN"),
        (Quorum(), r"tolerates 2 dishonest members \(tolerated_members\), and selects 2"),
        (Small(), r"at most 1 \(largest_set\), and selects 2"),
        (Share(), r"\(smallest_share\), and selects one with"),
        (Certain(), r"is left out with probability at most 0 \(exclusion_bound\), but it leaves out"),
        (AlmostCertain(), r"probability at most 0.25 \(exclusion_bound\), but it leaves out"),
        (Growing(), "must be in .* and not grow with the prior"),
        (Lightest(), "leaves out the heaviest member|passes over a heavier member"),
        (Own(0.1), "keeps it when it has fallen by a little more"),  # who falls makes all others heavier
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Sound | Own) else "",
)
def test_a_false_promise_of_a_selection_rule_is_found(rule: Any, said: str) -> None:
    with pytest.raises(RuleContractError, match=said) as caught:
        check_selection_rule(rule, N)
    assert type(rule).__name__ in str(caught.value)


def test_what_an_imitator_refuses_is_refused() -> None:
    for check in (lambda: check_selection_rule(None, N), lambda: check_aggregation_rule(Sound(), N, A)):
        with pytest.raises(ConfigurationError, match="must be a rule"):
            check()
    for sizes in ((0, A), (N, 0)):
        with pytest.raises(ConfigurationError, match="at least 1"):
            check_aggregation_rule(Unanimous(), *sizes)


# --- aggregation ---


class Unanimous(struct.PyTreeNode):
    """The minimum over the selected members, written another way than the library's."""

    name: str = struct.field(pytree_node=False, default="unanimous")
    veto_factor: float = struct.field(pytree_node=False, default=1.0)

    def check(self, num_members: int) -> None:
        """Fits all."""

    def minimum(self, log_probs: jax.Array, selected: jax.Array) -> jax.Array:
        least = jnp.min(jnp.where(selected[:, None], jnp.exp(log_probs), 1.0), axis=0)
        return jnp.where(jnp.any(selected), least, 0.0)

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        probs = self.minimum(log_probs, selected)
        query = 1.0 - jnp.minimum(jnp.sum(probs), 1.0)
        return ActionLaw(probs, query, jnp.log1p(query))


class NoLaw(Unanimous):
    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        law = super().__call__(log_probs, log_weights, selected)
        return law._replace(query_prob=law.query_prob / 2)


class Mean(Unanimous):
    """Claims a veto, and takes the mean."""

    def minimum(self, log_probs: jax.Array, selected: jax.Array) -> jax.Array:
        return jnp.mean(jnp.exp(log_probs), axis=0)


class Eager(Unanimous):
    """Acts where nobody was selected, within the veto of nobody."""

    def minimum(self, log_probs: jax.Array, selected: jax.Array) -> jax.Array:
        return jnp.where(jnp.any(selected), super().minimum(log_probs, selected), 1 / A)


class Doubled(Unanimous):
    """Twice what each gives, and says once."""

    def minimum(self, log_probs: jax.Array, selected: jax.Array) -> jax.Array:
        least = super().minimum(log_probs, selected)
        return 2 * least / jnp.maximum(1.0, 2 * jnp.sum(least))


class Modest(Unanimous):
    """Says that nothing gets likelier, and asks besides."""

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        return super().__call__(log_probs, log_weights, selected)._replace(log_inflation=jnp.float32(0.0))


class Lonely(Unanimous):
    """Another law in a batch than alone."""

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        law = super().__call__(log_probs, log_weights, selected)
        if isinstance(log_probs, jax.core.Tracer):
            return law
        return ActionLaw(jnp.zeros_like(law.probs), jnp.float32(1.0), jnp.float32(0.0))


def test_a_sound_aggregation_rule_passes() -> None:
    check_aggregation_rule(Unanimous(), N, A)
    check_aggregation_rule(Unanimous(), 1, 1, seed=1)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (NoLaw(), "which is no law"),
        (Mean(), r"one member's veto leaves at most 1.0 times what it gives \(veto_factor\)"),
        (Eager(), "veto_factor|does not ask for certain"),
        (Doubled(), "veto_factor"),
        (Modest(), "declares a log_inflation of 0, and makes action"),
        (Lonely(), "one law alone and another in a batch"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Unanimous) else "",
)
def test_a_false_promise_of_an_aggregation_rule_is_found(rule: Any, said: str) -> None:
    with pytest.raises(RuleContractError, match=said) as caught:
        check_aggregation_rule(rule, N, A)
    assert type(rule).__name__ in str(caught.value)


def test_where_no_veto_is_declared_none_is_looked_for() -> None:
    """The mean of all promises nothing, and keeps it."""

    class Open(Mean):
        def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
            return super().__call__(log_probs, log_weights, selected)._replace(log_inflation=jnp.float32(np.inf))

    check_aggregation_rule(Open(veto_factor=float("inf")), N, A)
