"""The card of an imitator with actions of any kind: what it would ask about, and nothing changes."""

import math
from statistics import NormalDist
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import TopK
from consensus_imitation.ensembles.any_action import gaussian
from consensus_imitation.errors import ObservationError, PendingQueryError
from consensus_imitation.imitator import SamplingImitator
from consensus_imitation.imitator._sampling_card import NUM_PROPOSALS

from .journals import bits

#: Two members whose means are apart by the observation.
GAINS = jnp.array([[0.0], [1.0]])


def apart(**options: Any) -> SamplingImitator:
    members = gaussian(lambda gain, seen: (gain * seen, jnp.zeros(1)), GAINS, low=-50.0, high=50.0)
    return SamplingImitator(members, lambda seen: np.zeros(1, np.float32), selection=TopK(2), seed=0, **options)


@pytest.mark.parametrize("num_envs", [None, 2])
@pytest.mark.parametrize("distance", [0.0, 0.5, 1.0, 3.0])
def test_probes_are_asked_about_as_often_as_their_densities_differ(distance: float, num_envs: int | None) -> None:
    imitator = apart(num_envs=num_envs)
    before = bits(imitator)
    # The mass below both of two normal densities.
    theta = 1 - 2 * NormalDist().cdf(-distance / 2)
    card = imitator.card(familiar=[np.zeros(1, np.float32)], unfamiliar=[np.full(1, distance, np.float32)])
    assert card.asked_familiar == 0.0
    # An estimate in [0, 1] with that mean has at most this deviation; four of them are exceeded once in 15,000 cases.
    assert card.asked_unfamiliar == pytest.approx(theta, abs=4 * math.sqrt(theta * (1 - theta) / NUM_PROPOSALS) + 1e-6)
    assert bits(imitator) == before


def test_it_says_what_is_not_measured() -> None:
    card = apart().card()
    assert (card.kind, card.learns) == ("Parametric", False)
    assert (card.num_members, card.selected, card.tolerated_members) == (2, 2, 1)
    assert (card.effective, card.calibration, card.never_varied, card.asked_familiar) == (None, None, None, None)
    assert "densities give no probability of each action" in str(card)
    assert "keep a journal" not in str(card)


def test_probes_wait_until_no_query_does() -> None:
    imitator = apart()
    while not imitator.decide(np.full(1, 3.0, np.float32)).queried:
        pass
    with pytest.raises(PendingQueryError, match="answer or withdraw"):
        imitator.card(familiar=[np.zeros(1, np.float32)])
    assert imitator.card().asked_familiar is None
    imitator.withdraw(imitator.pending[0])
    # A question that got no answer is asked again; a probe is looked at as if it were the first.
    assert imitator.card(familiar=[np.zeros(1, np.float32)]).asked_familiar == 0.0


def test_probes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ObservationError):
        apart().card(familiar=["a word"])
    with pytest.raises(ValueError, match="no probes"):
        apart().card(familiar=[])
