"""A question that got no answer stays a question, whatever is observed next; what voids a promise is in the state."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, TopK
from consensus_imitation.core import _voids, posterior
from consensus_imitation.core.sampling_learner import SamplingLearner
from consensus_imitation.ensembles.any_action import from_functions
from consensus_imitation.errors import ConsensusWarning, InvalidAnswerError, NoDemonstratorError
from consensus_imitation.imitator import SamplingImitator

from .test_imitator import ENSEMBLE, RULE, expert, until_query
from .worlds import decide, factored

AGREED, DISPUTED = np.zeros(2, np.float32), np.full(2, 1.5, np.float32)


class SilentError(Exception):
    """Nobody answers."""


def asked_in_vain(demonstrator: Any, error: type[BaseException]) -> Callable[[SamplingImitator], SamplingImitator]:
    def way(imitator: SamplingImitator) -> SamplingImitator:
        own = SamplingImitator.from_state(imitator.state, ENSEMBLE, demonstrator, selection=RULE)
        for _ in range(200):
            try:
                own.act(DISPUTED)
            except error:
                return own
        raise AssertionError("no query in 200 steps")

    return way


def raising(error: BaseException) -> Any:
    def answer(observation: Any) -> Any:
        raise error

    return answer


class Deaf:
    """Answers, and breaks when it is first told of it."""

    broken = False

    def __call__(self, observation: Any) -> Any:
        return expert(observation)

    def observe(self, action: Any, who: str) -> None:
        if who == "demonstrator" and not self.broken:
            self.broken = True
            raise SilentError


def never_answered(imitator: SamplingImitator) -> SamplingImitator:
    until_query(imitator)
    return SamplingImitator.from_state(imitator.state, ENSEMBLE, selection=RULE)


#: Every way in which a question gets no answer: what is left of the imitator.
WAYS: dict[str, Callable[[SamplingImitator], SamplingImitator]] = {
    "raises": asked_in_vain(raising(SilentError()), SilentError),
    "interrupted": asked_in_vain(raising(KeyboardInterrupt()), KeyboardInterrupt),
    "no action": asked_in_vain(lambda observation: [np.nan, 0.0], InvalidAnswerError),
    "nobody": asked_in_vain(None, NoDemonstratorError),
    "breaks when told": lambda imitator: asked_in_vain(Deaf(), SilentError)(imitator),
    "taken up from the state while it waits": never_answered,
}

#: Every way of going on: with the same imitator, or from its state.
GOING_ON: dict[str, Callable[[SamplingImitator, Any], SamplingImitator]] = {
    "the same": lambda imitator, demonstrator: imitator,
    "from_state": lambda imitator, demonstrator: SamplingImitator.from_state(
        imitator.state, ENSEMBLE, demonstrator, selection=RULE
    ),
}


@pytest.mark.parametrize("on", GOING_ON.values(), ids=GOING_ON.keys())
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_the_next_step_asks_whatever_is_observed(way: Any, on: Any) -> None:
    imitator = on(way(SamplingImitator(ENSEMBLE, selection=RULE, seed=11)), None)
    before, steps = posterior.weights(imitator.state.posterior), imitator.num_steps
    decision = imitator.decide(AGREED)  # where nobody would ask
    assert imitator.pending == (decision,)
    assert decision.queried
    assert decision.query_prob_estimate == 1
    assert decision.step == steps
    np.testing.assert_array_equal(posterior.weights(imitator.state.posterior), before)
    imitator.answer(decision, [0.0, 0.0])
    assert imitator.num_steps == steps + 1
    assert not imitator.decide(AGREED).queried


def test_a_veto_by_exception_and_a_state_of_another_prior_are_noticed() -> None:
    class Vetoing(Deaf):
        def observe(self, action: Any, who: str) -> None:
            if who == "imitator":
                raise SilentError

    imitator = SamplingImitator(ENSEMBLE, Vetoing(), selection=RULE, seed=11)
    with pytest.raises(SilentError):
        imitator.act(AGREED)
    assert imitator.void == tuple(_voids.reasons(_voids.BROKEN_OFF))
    assert WAYS["raises"](SamplingImitator(ENSEMBLE, selection=RULE, seed=11)).void == ()
    other = ENSEMBLE.replace(prior=ENSEMBLE.prior.at[0].multiply(1e-6))
    fresh = SamplingImitator(other, selection=RULE, seed=11).state
    taken_up = SamplingImitator.from_state(fresh, ENSEMBLE, selection=RULE)
    assert taken_up.void == tuple(_voids.reasons(_voids.OTHER_RULES))


def test_silence_cannot_be_used_to_draw_again() -> None:
    """The demonstrator is silent twenty times in a row: twenty questions, and no action."""
    imitator = WAYS["raises"](SamplingImitator(ENSEMBLE, selection=RULE, seed=5))
    for observation in [AGREED, DISPUTED] * 10:
        with pytest.raises(SilentError):
            imitator.act(observation)
    assert int(imitator.state.stream.asked) == 21


def test_every_question_has_a_proposal_of_its_own() -> None:
    """Members that agree, and whose action is the key that they are shown: read from the core."""
    seen: list[Any] = []
    telltale = from_functions(
        sample=lambda own, observation, key: jax.random.key_data(key).astype(jnp.int32),
        log_prob=lambda own, observation, action: jax.debug.callback(seen.append, action) or jnp.zeros(()),
        params=jnp.zeros(1),
    )
    learner = SamplingLearner(telltale, TopK(1))
    state = learner.init(jax.random.key(0))
    for _ in range(8):
        state = learner.pose(state)
        assert bool(decide(learner, state, None).queried)
    jax.effects_barrier()
    keys = {tuple(np.asarray(action).tolist()) for action in seen}
    assert len(keys) == 8
    closed = learner.observe(state, None, learner.decide(state, None), jnp.zeros(2, jnp.int32))[0]
    assert int(closed.stream.asked) == 0


def test_a_law_that_is_broken_by_drawing_again() -> None:
    """At the first observation most is asked about, at the second hardly anything may be done without asking.

    Without the rule the number that said "ask" at the first would make the second action nearly certain.
    """
    ensemble, _ = factored(jax.random.key(0), 2, (2,))
    # [N, observation, logits]: half and half, and then .02 for the first action.
    table = jnp.log(jnp.array([[[0.5, 0.5], [0.02, 0.98]], [[0.52, 0.48], [0.02, 0.98]]]))
    members = ensemble.replace(params=table, apply=_row)
    acted = 0
    for seed in range(150):
        imitator = SamplingImitator(members, raising(SilentError()), selection=TopK(2), seed=seed)
        try:
            imitator.act(jnp.int32(0))
        except SilentError:
            assert imitator.decide(jnp.int32(1)).queried
            acted += 1
    assert acted >= 1


def _row(own: jax.Array, observation: jax.Array) -> jax.Array:
    return own[observation]


# --- what voids a promise ---


def alarmed() -> SamplingImitator:
    imitator = SamplingImitator(ENSEMBLE, selection=RULE, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConsensusWarning)
        imitator.answer(until_query(imitator), [5.0, 0.0])
    return imitator


def test_a_cleared_alarm_voids_every_promise_for_ever() -> None:
    imitator = alarmed()
    assert "no member explains" in imitator.void[0]
    imitator.clear_alarm()
    assert imitator.alarms == ()
    for _ in range(3):
        assert imitator.void == ("an alarm that no member explains the answers was cleared",)
        imitator = SamplingImitator.from_state(imitator.state, ENSEMBLE, expert, selection=RULE)
        imitator.act(AGREED)


def test_nothing_is_void_that_was_not_alarming() -> None:
    imitator = SamplingImitator(ENSEMBLE, expert, selection=RULE, seed=0)
    imitator.clear_alarm()
    for _ in range(5):
        imitator.act(DISPUTED)
    assert SamplingImitator.from_state(imitator.state, ENSEMBLE, expert, selection=RULE).void == ()


@pytest.mark.parametrize(
    "change",
    [{"selection": AlphaThreshold(0.1)}, {"selection": TopK(2)}, {"prior": [0.2, 0.3, 0.5]}],
    ids=["rule", "parameter", "prior"],
)
def test_going_on_under_other_rules_voids_every_promise(change: dict[str, Any]) -> None:
    imitator = SamplingImitator(ENSEMBLE, expert, selection=RULE, seed=0)
    other = ENSEMBLE.replace(prior=jnp.array(change["prior"])) if "prior" in change else ENSEMBLE
    rule = change.get("selection", RULE)
    fresh = SamplingImitator.from_state(imitator.state, other, expert, selection=rule)
    assert (fresh.void == ()) == ("prior" not in change)  # nothing else has happened yet
    imitator.act(AGREED)
    changed = SamplingImitator.from_state(imitator.state, other, expert, selection=rule)
    assert "rules or the prior" in changed.void[0]
    # And so it stays.
    assert "rules or the prior" in SamplingImitator.from_state(changed.state, ENSEMBLE, expert, selection=RULE).void[0]


def test_the_rule_of_a_question_counts_too() -> None:
    imitator = WAYS["raises"](SamplingImitator(ENSEMBLE, selection=RULE, seed=0))
    state = imitator.state.replace(stream=imitator.state.stream.replace(step=jnp.int32(0)))
    assert SamplingImitator.from_state(state, ENSEMBLE, selection=TopK(1)).void != ()
