"""Nobody changes what others see: the environment, the demonstrator, the space, or the holder of a decision."""

from typing import Any

import jax
import numpy as np
import pytest

from consensus_imitation.ensembles.any_action import gaussian
from consensus_imitation.errors import ObservationError
from consensus_imitation.imitator import SamplingImitator

from .test_imitator import ENSEMBLE, GAINS, RULE, expert, leaves, observations, proportional, same


class Spoiler:
    """A demonstrator that writes into whatever it is shown or told, as ``o /= 255`` does."""

    def __init__(self, buffer: np.ndarray) -> None:
        self.buffer, self.told = buffer, 0

    def __call__(self, observation: Any) -> Any:
        answer = expert(observation)
        self.buffer[...] = 77.0  # the environment's own array
        observation[...] = 55.0
        self.answer = answer.astype(np.float32)
        return self.answer

    def observe(self, action: Any, who: str) -> None:
        self.told += 1
        action[...] = 33.0


class Careless:
    """A space that writes into what it is asked about."""

    def contains(self, action: Any) -> bool:
        action[...] = 11.0
        return True


def led(spoils: bool) -> tuple[list[Any], list[Any]]:
    """Thirty steps with `act`: the actions, and what the imitator is then."""
    buffer = np.zeros(2, np.float32)
    demonstrator = Spoiler(buffer) if spoils else expert
    space = Careless() if spoils else None
    imitator = SamplingImitator(ENSEMBLE, demonstrator, selection=RULE, seed=3, action_space=space)
    actions = []
    for x in observations(30):
        buffer[...] = x
        decision = imitator.act(buffer if spoils else x)
        actions.append(decision.action)
    assert 0 < imitator.num_queries < 30
    assert not spoils or demonstrator.told == 30
    return actions, leaves(imitator)


def test_act_is_not_changed_by_what_others_write() -> None:
    clean, spoilt = led(False), led(True)
    np.testing.assert_array_equal(clean[0], spoilt[0])
    assert same(clean[1], spoilt[1])


def test_nor_are_decide_and_answer() -> None:
    lives = []
    for spoils in (False, True):
        imitator = SamplingImitator(ENSEMBLE, selection=RULE, seed=3)
        buffer, answer = np.zeros(2, np.float32), np.zeros(2, np.float32)
        for x in observations(30):
            buffer[...], answer[...] = x, expert(x)
            decision = imitator.decide(buffer)
            if spoils:
                buffer[...] = 99.0
            if decision.queried:
                closed = imitator.answer(decision, answer)
                if spoils:
                    answer[...] = 99.0
                np.testing.assert_array_equal(closed.action, np.float32(expert(x)))
        lives.append(leaves(imitator))
    assert same(*lives)


def test_what_is_given_out_cannot_be_written_to() -> None:
    imitator = SamplingImitator(ENSEMBLE, expert, selection=RULE, seed=3)
    decisions = [imitator.act(x) for x in observations(12)]
    assert {decision.queried for decision in decisions} == {True, False}
    for decision in decisions:
        for array in (decision.action, decision.selected, decision.invalid):
            with pytest.raises(ValueError, match=r"read-only|WRITEABLE"):
                array[...] = 1
            with pytest.raises(ValueError, match="WRITEABLE"):
                array.flags.writeable = True
    with pytest.raises(AttributeError):
        decisions[0].action = 1  # type: ignore[misc]


def test_structured_observations_are_copied_whole() -> None:
    members = gaussian(_two, GAINS, [-2.0, -2.0], [2.0, 2.0])
    lives = []
    for spoils in (False, True):
        imitator = SamplingImitator(members, selection=RULE, seed=3)
        for x in observations(12):
            seen = {"place": [x[:1].copy(), x[1:].copy()]}
            decision = imitator.decide(seen)
            if spoils:
                seen["place"][0][...] = 99.0
                seen["place"].clear()
            if decision.queried:
                imitator.answer(decision, expert(x))
        lives.append(leaves(imitator))
    assert same(*lives)


def _two(gain: jax.Array, seen: Any) -> Any:
    return proportional(gain, jax.numpy.concatenate(seen["place"]))


@pytest.mark.parametrize(
    "seen", [np.array([2**40, 1]), 2**31, object(), ["left"]], ids=["int64", "int", "object", "text"]
)
@pytest.mark.parametrize("entrance", ["decide", "act"])
def test_what_members_cannot_be_shown_is_refused_before_anything_happens(entrance: str, seen: Any) -> None:
    imitator = SamplingImitator(ENSEMBLE, expert, selection=RULE, seed=3)
    before = leaves(imitator)
    with pytest.raises(ObservationError):
        getattr(imitator, entrance)(seen)
    assert same(before, leaves(imitator))
