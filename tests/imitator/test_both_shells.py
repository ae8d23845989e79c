"""Rules that hold in both shells: spent draws, closed imitators, decisions that nobody else can change, states."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.ensembles.any_action import from_functions
from consensus_imitation.errors import ConfigurationError, JournalError, JournalWriteError, StaleAnswerError
from consensus_imitation.imitator import SamplingImitator

from .any_action.test_imitator import ENSEMBLE, RULE, expert

MEMBERS = ensembles.tabular(np.array([[[0.9, 0.1], [0.3, 0.7]]] * 2))


class Told:
    """Would answer, and is told of every step: the first time, something is raised."""

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException | None = error

    def __call__(self, observation: Any) -> Any:
        return expert(observation) if np.ndim(observation) else 0

    def observe(self, action: Any, who: str) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error


def listed(demonstrator: Any = None, **more: Any) -> ConsensusImitator:
    return ConsensusImitator(MEMBERS, demonstrator, selection=TopK(2), seed=0, **more)


def unlisted(demonstrator: Any = None, **more: Any) -> SamplingImitator:
    return SamplingImitator(ENSEMBLE, demonstrator, selection=RULE, seed=1, **more)


#: Each shell: how to make it, and an observation at which nobody would ask, and another one.
SHELLS: dict[str, tuple[Callable[..., Any], Any, Any]] = {
    "listed": (listed, 0, 1),
    "unlisted": (unlisted, np.zeros(2), np.full(2, 1e-3)),
}
shells = pytest.mark.parametrize(("make", "agreed", "other"), SHELLS.values(), ids=SHELLS)


@shells
@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_step_of_which_the_demonstrator_knows_is_not_drawn_again(
    make: Any, agreed: Any, other: Any, error: Any, keeps: bool, tmp_path: Path
) -> None:
    more = {"journal": tmp_path / "run"} if keeps else {}
    imitator = make(Told(error()), **more)
    with pytest.raises(error):
        imitator.act(agreed)
    assert imitator.num_steps == 0
    assert imitator.decide(other).queried
    imitator.close()
    assert not make(expert).decide(agreed).queried  # the control: without an error nobody is asked


@shells
@pytest.mark.parametrize("call", ["decide", "act", "withdraw", "clear_alarm"])
def test_a_closed_imitator_says_so_at_every_entrance(
    make: Any, agreed: Any, other: Any, call: str, tmp_path: Path
) -> None:
    imitator = make(Told(RuntimeError()), journal=tmp_path / "run")
    with pytest.raises(RuntimeError):
        imitator.act(agreed)
    asked = imitator.decide(other)
    imitator.close()
    calls: dict[str, Callable[[], Any]] = {
        "decide": lambda: imitator.decide(agreed),
        "act": lambda: imitator.act(agreed),
        "withdraw": lambda: imitator.withdraw(asked),
        "clear_alarm": imitator.clear_alarm,
    }
    with pytest.raises(JournalError, match="this imitator was closed: go on with its run by") as caught:
        calls[call]()
    assert not isinstance(caught.value, JournalWriteError)
    imitator.close()  # nothing has failed


@pytest.mark.parametrize("state", [None, "state", 0, unlisted().state], ids=["None", "text", "number", "the other's"])
def test_a_state_of_something_else_is_refused(state: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected the state of a ConsensusImitator or a Learner"):
        ConsensusImitator.from_state(state, MEMBERS, selection=TopK(2))
    if state is not None and not isinstance(state, str | int):
        return
    with pytest.raises(ConfigurationError, match="expected the state of a SamplingImitator or a SamplingLearner"):
        SamplingImitator.from_state(state, ENSEMBLE, selection=RULE)


def test_weights_of_another_shape_are_refused() -> None:
    state = unlisted().state
    posterior = state.posterior.replace(log_weights=jnp.zeros(()))
    with pytest.raises(ConfigurationError, match=r"weights of shape \[\]"):
        SamplingImitator.from_state(state.replace(posterior=posterior), ENSEMBLE, selection=RULE)


def steering() -> SamplingImitator:
    """Members whose actions are dicts, and who never agree."""

    def log_prob(own: Any, observation: Any, action: Any) -> Any:
        return jnp.where(action["gear"] == own, 0.0, -jnp.inf)

    def sample(own: Any, observation: Any, key: Any) -> Any:
        return {"gear": own.astype(jnp.int32), "steer": jnp.zeros(1)}

    members = from_functions(sample=sample, log_prob=log_prob, params=jnp.arange(2))
    return SamplingImitator(members, selection=TopK(2), seed=0)


@pytest.mark.parametrize("through", ["the answer", "the answer given again"])
def test_what_was_answered_is_changed_by_nobody(through: str) -> None:
    imitator = steering()
    asked = imitator.decide(0)
    assert asked.queried
    given = {"gear": 1, "steer": [0.5]}
    closed = imitator.answer(asked, given)
    if through == "the answer given again":
        closed = imitator.answer(asked, given)
    closed.action["steer"] = np.array([9.0], np.float32)
    closed.action["wheel"] = 1
    assert imitator.answer(asked, given).action["steer"].tolist() == [0.5]
    with pytest.raises(StaleAnswerError, match="another answer to the same query is refused"):
        imitator.answer(asked, {"gear": 1, "steer": [9.0]})
