"""T1, T4 and T5 for events of tiny probability, with the law that the draw really has in place of the one intended."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, InflationBudget, Learner, Minimum, TopK, ensembles
from consensus_imitation.core.aggregation import ActionLaw
from consensus_imitation.core.draw import RESOLUTION
from tests.core.exact_law import probabilities

TINY = 1e-9
#: What the demonstrator does, and a rival that objects to part of it, so that something is asked.
TRUTH = np.array([0.6, TINY, 0.4 - TINY])
RIVAL = np.array([0.5, 10 * TINY, 0.5 - 10 * TINY])
FACTOR = 1.3


def learner_for(order: tuple[int, ...], aggregation: Minimum, budget: InflationBudget | None = None) -> Learner:
    probs = np.stack([TRUTH, RIVAL])[:, None, list(order)]
    return Learner(ensembles.tabular(probs), TopK(2) | AlphaThreshold(1e-4), aggregation, budget=budget)


def acted(learner: Learner, ledger: float = 0.0) -> tuple[np.ndarray, float]:
    """Of one step: the exact probability of asking and of each action unasked, and what it adds to the ledger."""
    state = learner.init(jax.random.key(0))
    state = state.replace(stream=state.stream.replace(ledger=jnp.float32(ledger)))
    decision = learner.decide(state, 0)
    return probabilities(ActionLaw(decision.min_probs, decision.query_prob)), float(decision.log_inflation)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
@pytest.mark.parametrize(
    ("aggregation", "factor"), [(Minimum(), 1.0), (Minimum(rounds=2), 2.0), (Minimum(threshold=0.5), 2.0)], ids=str
)
def test_t1_a_veto_reaches_down_to_the_resolution(order: tuple[int, ...], aggregation: Minimum, factor: float) -> None:
    """In whichever place: unasked, the rare action gets what the most cautious member gives it, no granule more."""
    own, _ = acted(learner_for(order, aggregation))
    limit = np.minimum(TRUTH, RIVAL)[list(order)]
    assert np.all(own[1:] <= factor * limit * (1 + 2e-5) + RESOLUTION)
    assert own[1 + order.index(1)] >= 0.99 * TINY


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_t5_for_an_event_of_a_few_in_a_billion(order: tuple[int, ...]) -> None:
    """The rare action within four steps, by enumeration over acting and asking: at most factor times as likely."""
    learner = learner_for(order, Minimum(), InflationBudget(FACTOR))
    rare, steps = order.index(1), 4
    happened, ledger, handed_over = 0.0, 0.0, 0
    # The posterior is left at the prior: the law of the step is then a function of the ledger alone.
    for _ in range(steps):
        own, spent = acted(learner, ledger)
        happened += (1 - happened) * (own[1 + rare] + own[0] * TRUTH[1])
        handed_over += own[0] == 1
        ledger += spent
    assert 0 < handed_over < steps
    demonstrator = 1 - (1 - TRUTH[1]) ** steps
    assert 0.99 * demonstrator <= happened <= FACTOR * demonstrator * (1 + 1e-5) + steps * RESOLUTION
