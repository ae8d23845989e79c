"""A selection rule of one's own in the imitator for any action space: refused, or failing closed under its own name."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import TopK
from consensus_imitation.core.sampling_learner import SamplingLearner
from consensus_imitation.ensembles.any_action import gaussian
from consensus_imitation.errors import ConfigurationError, ConsensusWarning
from consensus_imitation.imitator import SamplingImitator
from tests.core.own_rules import NOBODY, Own


def members() -> Any:
    return gaussian(lambda mean, observation: (mean, jnp.zeros(1)), jnp.zeros((3, 1)), -5.0, 5.0)


class Indices(Own):
    def __call__(self, log_weights: jax.Array) -> jax.Array:
        return jnp.argsort(log_weights)[:2]


def imitator(selection: Any) -> SamplingImitator:
    return SamplingImitator(members(), lambda observation: np.zeros(1, np.float32), selection=selection, seed=0)


@pytest.mark.parametrize("rule", [Indices(), TopK(2) | Indices(), Indices() & TopK(2)], ids=["own", "|", "&"])
def test_what_is_no_mask_is_refused_at_every_way_in(rule: Any) -> None:
    state = imitator(TopK(2)).state
    ways = {
        "construction": lambda: imitator(rule),
        "from_state": lambda: SamplingImitator.from_state(state, members(), selection=rule),
        "core": lambda: SamplingLearner(members(), rule).init(jax.random.key(0)),
        "core, without init": lambda: SamplingLearner(members(), rule).decide(state, None),
    }
    for way in ways.values():
        with pytest.raises(ConfigurationError, match="must return a mask"):
            way()


def test_a_function_is_no_rule() -> None:
    with pytest.raises(ConfigurationError, match="lacks check, exclusion_bound"):
        imitator(lambda log_weights: log_weights > 0)


@pytest.mark.parametrize("rule", [NOBODY, TopK(2) & NOBODY], ids=["own", "joined"])
def test_a_selection_of_nobody_asks_and_is_named(rule: Any) -> None:
    agree = imitator(Own(0.1))
    assert not any(agree.act(None).queried for _ in range(10))
    failing = imitator(rule)
    with pytest.warns(ConsensusWarning) as warned:
        decisions = [failing.act(None) for _ in range(5)]
    assert [str(one.message).startswith("at step 0 the selection rule ") for one in warned] == [True]
    for decision in decisions:
        assert decision.rule_fault
        assert decision.queried
        assert decision.query_prob_estimate == 1
        assert not decision.selected.any()
    assert len(failing.alarms) == 1
    assert "selected nobody: so at 5 decisions" in failing.alarms[0]
    assert "Own(share=1.5)" in failing.alarms[0]
    failing.clear_alarm()
    assert failing.alarms == ()
