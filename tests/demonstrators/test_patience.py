"""What can be asked for, and what is refused."""

import math
from typing import Any

import numpy as np
import pytest

from consensus_imitation.demonstrators import Demonstrator, Panel, Patience, SafeAction, as_demonstrator
from consensus_imitation.errors import ConfigurationError, NoDemonstratorError


def test_by_default_one_waits_for_ever_and_asks_once() -> None:
    patience = Patience()
    assert (patience.timeout, patience.retries, patience.then) == (None, 0, "raise")
    assert Panel(None, None).patience == patience
    assert patience.failures == ()


@pytest.mark.parametrize("timeout", [1, 0.5, np.float32(0.5), np.int64(3)])
def test_a_timeout_is_a_number_of_seconds(timeout: Any) -> None:
    assert Patience(timeout=timeout).timeout == timeout


@pytest.mark.parametrize("timeout", [0, -1.0, math.nan, math.inf, 1e12, True, "5", [5.0], np.array([5.0]), 1j])
def test_any_other_timeout_is_refused(timeout: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"timeout must be a number of seconds above 0 .* None waits without limit"
    ):
        Patience(timeout=timeout)


@pytest.mark.parametrize("retries", [-1, 1.0, True, None, "2"])
def test_retries_are_counted(retries: Any) -> None:
    with pytest.raises(ConfigurationError, match="retries must be at least 0 and an integer"):
        Patience(retries=retries)


@pytest.mark.parametrize("then", [None, "guess", "", 0, 3, True, SafeAction, ["block"], np.array(["block"])])
def test_what_happens_then_is_never_a_guess(then: Any) -> None:
    with pytest.raises(ConfigurationError, match=r'then must be "raise", "block", or a SafeAction'):
        Patience(then=then)


@pytest.mark.parametrize("action", [-1, 1.0, True, None, "0", np.array([1])])
def test_a_safe_action_is_an_action(action: Any) -> None:
    with pytest.raises(ConfigurationError, match="SafeAction's action must be at least 0 and an integer"):
        SafeAction(action)


def test_a_safe_action_is_one_of_those_that_there_are() -> None:
    SafeAction(3).check(num_actions=4)
    with pytest.raises(ConfigurationError, match=r"SafeAction\(4\) is none of the 4 actions: name one from 0 to 3"):
        SafeAction(4).check(num_actions=4)


def test_a_panel_takes_patience_and_nothing_else() -> None:
    patience = Patience(timeout=1.0)
    assert Panel(lambda observation: 0, 2, patience).patience is patience
    with pytest.raises(ConfigurationError, match="patience must be a Patience, got 5"):
        Panel(lambda observation: 0, 2, 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("env", [-1, 2])
def test_an_environment_that_is_none_is_asked_nothing(env: int) -> None:
    with pytest.raises(ConfigurationError, match=f"there is no environment {env}: the panel answers for 2"):
        Panel(lambda observation: 0, 2).ask(0, env)


def test_a_safe_action_is_no_demonstrator() -> None:
    with pytest.raises(NoDemonstratorError, match="there is no demonstrator"):
        Panel(None, None, Patience(then=SafeAction(0))).ask(0)


def test_a_demonstrator_with_a_memory_sits_in_one_environment_only() -> None:
    class Bot(Demonstrator):
        def __call__(self, observation: Any) -> int:
            return 0

    class Thing:
        def __call__(self, observation: Any) -> int:
            return 0

        def reset(self) -> None:
            pass

    bot, thing = Bot(), Thing()
    for one in (bot, thing):
        with pytest.raises(ConfigurationError, match="its own memory"):
            Panel([one, one], 2)
    Panel([bot, thing, Bot()], 3)

    def answer(observation: Any) -> int:
        return 0

    Panel([answer, answer], 2)


@pytest.mark.parametrize("name", ["predict", "reset", "observe"])
def test_a_method_that_nobody_would_wait_for_is_refused(name: str) -> None:
    async def method(self: Any, *told: Any) -> None:
        """Never run."""

    thing = type("Thing", (), {"__call__": lambda self, observation: 0, name: method})()
    with pytest.raises(TypeError, match=f"{name} of .* is async def"):
        as_demonstrator(thing)
