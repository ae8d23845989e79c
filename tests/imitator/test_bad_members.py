"""What is no prediction becomes a question: the member is named and keeps its weight, and nothing else changes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.errors import ConsensusWarning

from . import bad_members as bad
from .bad_members import BAD, CALM, OTHER, N
from .fingerprints import fingerprint, taken
from .probe import put_state

ALARM = f"member {N - 1} gave an unusable prediction"


class NobodyThereError(Exception):
    """The demonstrator is not there."""


def answering(observation: Any) -> int:
    return int(observation)


def not_there(observation: Any) -> int:
    raise NobodyThereError


def pair(make: Callable[[], ensembles.Ensemble], num_envs: int | None = None) -> list[ConsensusImitator]:
    """Two imitators that have taken the same steps; the second will never see what is bad."""
    both = [ConsensusImitator(make(), Switched(), selection=TopK(N), seed=3, num_envs=num_envs) for _ in range(2)]
    for one in both:
        for observation in (CALM, OTHER) * 3:
            one.act(shown(observation, num_envs))
    assert fingerprint(both[0]) == fingerprint(both[1])
    assert both[0].num_queries > 0
    return both


class Switched:
    """A demonstrator that is there, except for what is bad."""

    def __call__(self, observation: Any) -> int:
        return (not_there if observation == BAD else answering)(observation)


def shown(observation: int, num_envs: int | None, elsewhere: int | None = None) -> Any:
    """What the environments show: ``observation``, and ``elsewhere`` in all but the first."""
    if num_envs is None:
        return observation
    return np.array([observation] + [observation if elsewhere is None else elsewhere] * (num_envs - 1))


def check(make: Callable[[], ensembles.Ensemble], num_envs: int | None = None, elsewhere: int | None = None) -> None:
    imitator, twin = pair(make, num_envs)
    before, weight, state = fingerprint(imitator), imitator.weights[N - 1], imitator.state
    seen = shown(BAD, num_envs, elsewhere)

    # NobodyThereError answers, so nothing is done, and nothing has changed but that a question is open.
    with (
        pytest.warns(ConsensusWarning, match=f"member {N - 1} gave an unusable prediction at step 6"),
        pytest.raises(NobodyThereError),
    ):
        imitator.act(seen)
    assert (imitator.num_steps, imitator.weights[N - 1]) == (6, weight)
    assert any(line.startswith(ALARM) and "1 times" in line for line in imitator.alarms)

    # It is a question, and the zero vector is what is asked about.
    (decision,) = imitator.pending
    first = 0 if num_envs is not None else ()
    assert np.asarray(decision.queried)[first]
    assert np.asarray(decision.query_prob)[first] == 1.0
    assert not np.asarray(decision.min_probs)[first].any()
    assert np.asarray(decision.invalid)[first].tolist() == [False] * (N - 1) + [True]
    assert (decision.action if num_envs is None else decision.action[0]) in (None, -1)
    assert ALARM in decision.alarms
    if elsewhere is not None:
        assert not decision.invalid[1:].any()
        assert decision.min_probs[1:].any()

    # An answer to it neither favours nor harms the member.
    closed = imitator.answer(decision, 1 if num_envs is None else np.ones(num_envs, int))
    assert np.all(np.asarray(closed.action)[np.asarray(closed.queried)] == 1)
    if elsewhere is None:
        assert imitator.weights[N - 1] == pytest.approx(weight, abs=1e-6)
    assert imitator.weights[N - 1] > 0

    # Whoever comes back to where it was is where one is who never saw any of it.
    imitator.restore(state)
    # All that is left is that it went back, which voids what is promised.
    assert "went back" in imitator.certificate().void
    put_state(imitator, imitator.state.replace(voids=state.voids))
    assert fingerprint(imitator) == before
    for observation in (OTHER, CALM):
        one, other = (each.act(shown(observation, num_envs)) for each in (imitator, twin))
        assert taken(one) == taken(other)
    assert fingerprint(imitator) == fingerprint(twin)
    assert twin.alarms == ()


@pytest.mark.parametrize("kind", bad.OUTPUTS)
def test_outputs_of_functions(kind: str) -> None:
    check(lambda: bad.python_members(bad.OUTPUTS[kind]))


@pytest.mark.parametrize("kind", bad.ROWS)
def test_rows_of_members_in_pure_jax(kind: str) -> None:
    check(lambda: bad.pure_members(bad.ROWS[kind]))


@pytest.mark.parametrize("kind", [kind for kind, row in bad.ROWS.items() if not np.isfinite(row).all()])
def test_networks_that_diverged(kind: str) -> None:
    check(lambda: bad.network_members(bad.ROWS[kind]))


@pytest.mark.parametrize("kind", bad.FEW)
def test_outputs_in_a_union(kind: str) -> None:
    check(lambda: bad.joined_members(bad.OUTPUTS[kind]))


@pytest.mark.parametrize("kind", bad.FEW)
@pytest.mark.parametrize("elsewhere", [None, OTHER], ids=["everywhere", "in one environment"])
def test_outputs_in_a_batch(kind: str, elsewhere: int | None) -> None:
    check(lambda: bad.python_members(bad.OUTPUTS[kind]), num_envs=2, elsewhere=elsewhere)


@pytest.mark.parametrize("kind", ["nan at 1", "sum above one"])
def test_rows_in_a_batch(kind: str) -> None:
    check(lambda: bad.pure_members(bad.ROWS[kind]), num_envs=2, elsewhere=OTHER)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_to_end_the_process_passes_through_a_member_and_changes_nothing(kind: type[BaseException]) -> None:
    """Ctrl-C is no failure of the member: whoever pressed it wants to stop."""
    imitator, twin = pair(lambda: bad.python_members(bad.raises(kind("stop"))))
    before = fingerprint(imitator)
    with pytest.raises(kind):
        imitator.act(BAD)
    assert fingerprint(imitator) == before
    assert imitator.alarms == ()
    assert taken(imitator.act(OTHER)) == taken(twin.act(OTHER))
    assert fingerprint(imitator) == fingerprint(twin)


def test_the_control_a_sound_output_is_none_of_this() -> None:
    """`check` fails for it, so that passing says something."""
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(lambda: bad.python_members(lambda: [0.6, 0.3, 0.1]))


def test_the_catalogue_is_as_large_as_it_says() -> None:
    assert len(bad.OUTPUTS) + len(bad.ROWS) >= 60
