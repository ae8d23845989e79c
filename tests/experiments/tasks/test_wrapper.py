"""An imitator as a wrapper: whoever steps it is the demonstrator, asked or not."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.errors import ConfigurationError, InvalidAnswerError, NoDemonstratorError
from consensus_imitation.experiments.tasks.wrapper import ConsensusWrapper
from tests.experiments.compare.tiny import ROOMS, Rooms, expert

RIGHT = np.eye(2)[np.arange(ROOMS) % 2]
MEMBERS = ensembles.tabular(np.stack([0.95 * RIGHT + 0.025, 0.6 * RIGHT + 0.2]))


def imitator(demonstrator: Any = None, **more: Any) -> ConsensusImitator:
    return ConsensusImitator(MEMBERS, demonstrator, selection=TopK(2), seed=0, **more)


class Carried(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Writes down what is carried out."""

    def __init__(self) -> None:
        super().__init__(Rooms())
        self.actions: list[Any] = []

    def step(self, action: Any) -> Any:
        self.actions.append(action)
        return super().step(action)


def test_a_loop_that_knows_no_imitator_teaches_it_as_act_would() -> None:
    """The same steps as in the loop with `act`, though an action is given at every step."""
    inner = Carried()
    env = ConsensusWrapper(inner, imitator())
    other, plain = imitator(expert), Rooms()
    seen, info = env.reset(seed=3)
    expected, _ = plain.reset(seed=3)
    other.begin_episode()
    queried = 0
    for _ in range(60):
        asked, proposed = info["asked"], expert(seen)
        assert seen == expected
        seen, _, terminated, truncated, info = env.step(proposed if asked else 1 - proposed)  # ignored where not asked
        decision = other.act(expected)
        expected, _, *over, _ = plain.step(decision.action)
        assert asked == info["decision"].queried == decision.queried
        assert inner.actions[-1] == info["action"] == info["decision"].action == decision.action
        assert [terminated, truncated] == over
        queried += asked
        if any(over):
            assert info["asked"] is False
            seen, info = env.reset()
            expected, _ = plain.reset()
            other.begin_episode()
    assert 0 < queried == env.imitator.num_queries < 60
    np.testing.assert_array_equal(env.imitator.weights, other.weights)


def until_asked(env: ConsensusWrapper) -> None:
    _, info = env.reset(seed=0)
    while not info["asked"]:
        *_, terminated, truncated, info = env.step(None)
        if terminated or truncated:
            _, info = env.reset()


def test_an_answer_is_needed_where_it_asks_and_has_to_be_an_action() -> None:
    inner = Carried()
    env = ConsensusWrapper(inner, imitator())
    until_asked(env)
    done = len(inner.actions)
    with pytest.raises(NoDemonstratorError, match="pass the demonstrator's action to step"):
        env.step(None)
    for wrong in (2, -1, 0.0, "left"):
        with pytest.raises(InvalidAnswerError):
            env.step(wrong)
    assert len(inner.actions) == done  # nothing was carried out
    assert len(env.imitator.pending) == 1
    *_, info = env.step(np.int64(1))
    assert (inner.actions[-1], info["action"], env.imitator.num_queries) == (1, 1, 1)


def test_a_query_that_waits_at_a_reset_is_withdrawn_and_asked_next() -> None:
    env = ConsensusWrapper(Rooms(), imitator())
    until_asked(env)
    _, info = env.reset()
    assert info["asked"]
    assert len(env.imitator.pending) == 1
    assert env.imitator.num_queries == 0


def test_a_step_needs_an_episode() -> None:
    env = ConsensusWrapper(Rooms(), imitator())
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    env.reset(seed=0)
    over = False
    while not over:
        over = any(env.step(0)[2:4])
    steps = env.imitator.num_steps
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    assert env.imitator.num_steps == steps  # the last observation of an episode is not decided about


def test_an_answer_counts_once_though_the_environment_fails() -> None:
    class Failing(Carried):
        def step(self, action: Any) -> Any:
            if not self.actions:
                self.actions.append(action)
                raise RuntimeError("unplugged")
            return super().step(action)

    inner = Failing()
    inner.actions.append(None)
    env = ConsensusWrapper(inner, imitator())
    until_asked(env)
    inner.actions.clear()
    with pytest.raises(RuntimeError, match="unplugged"):
        env.step(1)
    *_, info = env.step(None)  # carried out now
    assert inner.actions == [1, 1]
    assert (info["action"], env.imitator.num_queries) == (1, 1)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the imitator is for 2 environments"):
        ConsensusWrapper(Rooms(), imitator(num_envs=2))
    three = ConsensusImitator(ensembles.tabular(np.full((2, ROOMS, 3), 1 / 3)), seed=0)
    with pytest.raises(ConfigurationError, match="actions"):
        ConsensusWrapper(Rooms(), three)
