"""Whoever answers: functions, objects with a memory, policies that predict; one for all environments or one each."""

import warnings
from typing import Any

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, InflationBudget, Minimum, TopK, ensembles
from consensus_imitation.core import _voids
from consensus_imitation.demonstrators import Demonstrator, Panel, as_demonstrator
from consensus_imitation.errors import InvalidAnswerError

#: Two members that agree on observation 0, and hardly at all on observation 1.
PROBS = np.array([[[1.0, 0.0], [0.999, 0.001]], [[1.0, 0.0], [0.001, 0.999]]])


class Diary(Demonstrator):
    """Writes down all that it is told."""

    def __init__(self) -> None:
        self.entries: list[Any] = []

    def __call__(self, observation: Any) -> int:
        self.entries.append(("asked", int(observation)))
        return 1

    def reset(self) -> None:
        self.entries.append("reset")

    def observe(self, action: int, who: str) -> None:
        self.entries.append((action, who))


class Policy:
    """As in Stable-Baselines3: arrays out, and a state that has to be handed back."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> Any:
        count = 0 if state is None else state[0]
        return np.array(count % 2), (count + 1,)


def test_everything_is_told_once_for_every_step_asked_or_not() -> None:
    diary = Diary()
    imitator = ConsensusImitator(ensembles.tabular(PROBS), diary, selection=TopK(2), seed=0)
    imitator.begin_episode()
    imitator.act(0)
    imitator.act(1)
    imitator.act(0)
    assert diary.entries == ["reset", (0, "imitator"), ("asked", 1), (1, "demonstrator"), (0, "imitator")]


def test_answers_given_by_hand_are_told_too() -> None:
    diary = Diary()
    imitator = ConsensusImitator(ensembles.tabular(PROBS), diary, selection=TopK(2), seed=0)
    imitator.answer(imitator.decide(1), 0)
    assert diary.entries == [(0, "demonstrator")]


def test_a_batch_has_one_demonstrator_for_each_environment() -> None:
    diaries = [Diary(), Diary()]
    imitator = ConsensusImitator(ensembles.tabular(PROBS), diaries, selection=TopK(2), seed=0, num_envs=2)
    imitator.begin_episode(env=1)
    imitator.act(np.array([0, 1]))
    assert diaries[0].entries == [(0, "imitator")]
    assert diaries[1].entries == ["reset", ("asked", 1), (1, "demonstrator")]
    with pytest.raises(ValueError, match="2 in all; got 1"):
        Panel([Diary()], 2)
    with pytest.raises(ValueError, match="its own memory"):
        Panel(Diary(), 2)


def test_a_policy_that_predicts_gets_its_state_back_in_each_environment_apart() -> None:
    panel = Panel(Policy(), 2)
    assert [int(panel.ask(0, env)) for env in (0, 0, 1, 0, 1)] == [0, 1, 0, 0, 1]
    panel.reset(0)
    assert [int(panel.ask(0, env)) for env in (0, 1)] == [0, 0]
    imitator = ConsensusImitator(ensembles.tabular(PROBS), Policy(), selection=TopK(2), seed=0)
    assert [imitator.act(1).action for _ in range(3)] == [0, 1, 0]


def test_a_demonstrator_that_fails_when_told_undoes_the_step() -> None:
    """It has seen what was drawn, so that number does not decide again: the next step is a question."""

    class Brittle(Diary):
        def observe(self, action: int, who: str) -> None:
            raise RuntimeError("lost")

    imitator = ConsensusImitator(ensembles.tabular(PROBS), Brittle(), selection=TopK(2), seed=0)
    before = imitator.state
    for observation in (0, 1):
        with pytest.raises(RuntimeError, match="lost"):
            imitator.act(observation)
        asking = before.stream.replace(asking=imitator.state.stream.asking, ledger=imitator.state.stream.ledger)
        assert bool(asking.asking)
        # Whoever raises may choose what is done.
        chex.assert_trees_all_equal(imitator.state, before.replace(stream=asking, voids=jnp.uint32(_voids.BROKEN_OFF)))
        assert imitator.num_steps == 0


def test_only_what_is_there_is_called() -> None:
    class Resettable:
        resets = 0

        def __call__(self, observation: Any) -> int:
            return 1

        def reset(self) -> None:
            self.resets += 1

    thing = Resettable()
    adapted = as_demonstrator(thing)
    adapted.observe(0, "imitator")
    adapted.reset()
    assert (adapted(0), thing.resets) == (1, 1)
    assert as_demonstrator(adapted) is adapted


def test_what_cannot_answer_is_refused() -> None:
    with pytest.raises(TypeError, match="a demonstrator is a function"):
        as_demonstrator(3)
    with pytest.raises(NotImplementedError, match="__call__"):
        Demonstrator()(0)
    imitator = ConsensusImitator(ensembles.tabular(PROBS), lambda observation: 7, selection=TopK(2), seed=0)
    with pytest.raises(InvalidAnswerError):
        imitator.act(1)


def test_nobody_is_told_of_a_row_that_was_set_aside() -> None:
    bots = [Diary(), Diary()]
    imitator = ConsensusImitator(ensembles.tabular(PROBS), bots, selection=TopK(1), seed=0, num_envs=2)
    for _ in range(5):
        imitator.act(np.array([0, 1]), active=np.array([True, False]))
    imitator.act(np.array([0, 1]))
    assert [len([1 for said in bot.entries if said[0] != "asked"]) for bot in bots] == [6, 1]


def test_what_a_set_aside_row_would_have_seen_raises_no_alarm() -> None:
    def fussy(observation: Any) -> list[float]:
        return [0.5, 0.5] if observation >= 0 else [np.nan, np.nan]

    imitator = ConsensusImitator(ensembles.callables([fussy], 2), selection=TopK(1), seed=0, num_envs=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        imitator.decide(np.array([1, -1]), active=np.array([True, False]))
    assert imitator.alarms == ()


def test_a_demonstrator_that_fails_to_reset_starts_no_ledger_afresh() -> None:
    class Stubborn(Diary):
        def reset(self) -> None:
            raise RuntimeError("not now")

    members = ensembles.tabular(np.array([[[0.6, 0.4]], [[0.5, 0.5]]]))
    budget = InflationBudget(factor=100.0, per="episode")
    imitator = ConsensusImitator(members, Stubborn(), selection=TopK(2), seed=0, inflation_budget=budget)
    while imitator.ledger == 0.0:
        imitator.act(0)
    before = imitator.state
    with pytest.raises(RuntimeError, match="not now"):
        imitator.begin_episode()
    assert imitator.state is before


def test_a_demonstrator_is_not_told_of_a_step_that_came_to_nothing() -> None:
    """Members on the host may fail when they are to learn: the step is withdrawn, and asked about again."""

    class Forgetful(type(ensembles.callables([lambda observation: [0.5, 0.4]], 2))):  # type: ignore[misc]
        learns = True

        def learn(self, *operands: Any) -> Any:
            raise RuntimeError("cannot learn")

    bot = Diary()
    asks = Forgetful([lambda observation: [0.0, 0.0]], 2, None)
    imitator = ConsensusImitator(asks, bot, selection=TopK(1), aggregation=Minimum(), seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError, match="cannot learn"):
            imitator.act(0)
    assert bot.entries == [("asked", 0)]
    assert imitator.num_steps == 0
