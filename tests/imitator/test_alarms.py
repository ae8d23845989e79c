"""What is wrong is said, of whom, as long as it is so, and nothing else is."""

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import (
    AlphaThreshold,
    ConsensusImitator,
    InflationBudget,
    MisspecificationAlarm,
    TopK,
    ensembles,
)
from consensus_imitation.core.aggregation import MAP
from consensus_imitation.demonstrators import Patience, SafeAction
from consensus_imitation.errors import ConsensusWarning
from consensus_imitation.imitator._health import NEAR, STORM_QUERIES, UNEXPLAINED
from tests.ensembles.learning.counting import Counters, counters
from tests.stress.crowd_world import A, asked, make

from .probe import checkpoint, crash, run_of

#: Members 0 and 1 agree but for a little, member 2 turns at observation 1: it does what nobody else does.
CAREFUL = np.array([0.98, 0.01, 0.01])
TURNING = np.array([[CAREFUL, CAREFUL], [[0.97, 0.02, 0.01]] * 2, [CAREFUL, CAREFUL[::-1]]])


def storms(imitator: ConsensusImitator) -> list[str]:
    return [line for line in imitator.alarms if "storm" in line]


def quietly(*args: Any, **named: Any) -> ConsensusImitator:
    return ConsensusImitator(*args, **{"selection": TopK(3), "seed": 0, **named})


def honest(seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return lambda observation: rng.choice(3, p=CAREFUL)


@pytest.mark.parametrize("num_envs", [None, 4], ids=["single", "batch"])
def test_a_quiet_run_says_nothing(num_envs: int | None) -> None:
    imitator = quietly(ensembles.tabular(TURNING), honest(), num_envs=num_envs)
    for t in range(300):
        env = None if num_envs is None else t % num_envs
        decision = imitator.act(0, env=env)
        assert decision.alarms == ()
        assert imitator.alarms == ()
    assert decision.query_prob > 0


# --- unusable predictions ---


def sometimes(*bad: int) -> ensembles.Callables:
    """Members 1 and 2 answer nonsense to some observations."""

    def member(n: int) -> Any:
        return lambda observation: [np.nan] * A if n and int(observation) == n and n in bad else CAREFUL

    return ensembles.callables([member(n) for n in range(3)], A)


def test_an_unusable_prediction_is_said_with_its_member_and_only_when_it_occurs() -> None:
    imitator = quietly(sometimes(1, 2), lambda observation: 0)
    assert imitator.act(0).alarms == ()
    with pytest.warns(ConsensusWarning, match="member 1 gave an unusable prediction"):
        assert imitator.act(1).alarms == ("member 1 gave an unusable prediction",)
    assert imitator.act(1).alarms == ("member 1 gave an unusable prediction",)  # warned of once
    assert imitator.act(0).alarms == ()
    with pytest.warns(ConsensusWarning, match="member 2"):
        assert imitator.act(2).alarms == ("member 2 gave an unusable prediction",)
    first, second = imitator.alarms
    assert "member 1 gave an unusable prediction 2 times" in first
    assert "member 2 gave an unusable prediction 1 times" in second
    imitator.clear_alarm()
    assert imitator.alarms == ()


def test_in_lockstep_rows_that_are_set_aside_raise_nothing() -> None:
    imitator = quietly(sometimes(1), lambda observation: 0, num_envs=3)
    assert imitator.act(np.array([0, 1, 0]), active=np.array([True, False, True])).alarms == ()
    with pytest.warns(ConsensusWarning, match="member 1"):
        assert imitator.act(np.array([0, 1, 0])).alarms != ()


# --- near exclusion ---


def test_a_member_near_exclusion_is_said_before_it_is_out() -> None:
    """Member 1 loses ln 3 with every answer; out it is at a weight of alpha."""
    alpha = 0.01
    probs = np.array([[[0.6, 0.4]], [[0.2, 0.8]]])
    imitator = ConsensusImitator(
        ensembles.tabular(probs), lambda observation: 0, selection=AlphaThreshold(alpha), seed=0
    )
    said: dict[int, bool] = {}
    out = None
    while out is None:
        decision = imitator.act(0)
        weight = 3.0**-imitator.num_queries
        margin = np.log(weight) - np.log(alpha / (1 - alpha))  # in while w >= alpha (1 + w)
        if not decision.queried:
            near = [line for line in decision.alarms if line.startswith("member 1 is near exclusion")]
            assert bool(near) == (0 <= margin < NEAR) == bool([x for x in imitator.alarms if "near" in x])
            assert not near or f"less than {margin:.2g} nats" in near[0]
            said[imitator.num_queries] = bool(near)
            out = None if decision.selected[1] else imitator.num_queries
    assert out == 5  # 3 ** -4 > 0.01 / 0.99 > 3 ** -5
    assert not said.get(0, False)
    assert not any("member 0" in line for line in imitator.alarms)


def test_a_rule_that_bounds_no_exclusion_says_nothing_of_it() -> None:
    """Of four equal members any may be left out of the two heaviest at any time."""
    imitator = make(demonstrator=lambda observation: int(observation) % A)
    for t in range(60):
        assert imitator.act(t % 7).alarms == ()
    assert imitator.num_queries > 10


def test_nobody_is_near_after_going_back_to_the_beginning() -> None:
    probs = np.array([[[0.6, 0.4]], [[0.21, 0.79]]])
    imitator = ConsensusImitator(
        ensembles.tabular(probs), lambda observation: 0, selection=AlphaThreshold(0.01), seed=0
    )
    fresh = imitator.state
    while not imitator.alarms:
        imitator.act(0)
    imitator.restore(fresh)
    assert imitator.alarms == ()


# --- misspecification ---


@pytest.mark.parametrize("alarm", [None, MisspecificationAlarm(delta=0.01)])
def test_answers_that_nobody_explains(alarm: MisspecificationAlarm | None) -> None:
    probs = np.array([[[0.5, 0.5, 0.0]], [[0.1, 0.9, 0.0]]])
    imitator = ConsensusImitator(
        ensembles.tabular(probs), lambda observation: 2, selection=TopK(2), seed=0, alarm=alarm
    )
    decision = asked(imitator, 0)
    with pytest.warns(ConsensusWarning, match="no member explains"):
        imitator.answer(decision, 2)
    assert imitator.alarms == (UNEXPLAINED,)
    for _ in range(2 * STORM_QUERIES):
        decision = imitator.act(0)
        # The reason is known: it is no storm, and nobody is to blame for it.
        assert (decision.queried, decision.alarms) == (True, (UNEXPLAINED,))
    imitator.clear_alarm()
    assert imitator.alarms == ()
    assert imitator.decide(0).alarms == ()


# --- storms ---


@pytest.mark.parametrize("num_envs", [None, 4], ids=["single", "batch"])
def test_a_member_that_turns_after_a_quiet_spell_is_blamed(num_envs: int | None) -> None:
    imitator = quietly(ensembles.tabular(TURNING), honest(), num_envs=num_envs)
    for t in range(400):
        env = None if num_envs is None else t % num_envs
        assert imitator.act(int(t >= 300), env=env).alarms == () or t >= 300
    (line,) = storms(imitator)
    assert "member 2 dissented most (9" in line or "member 2 dissented most (100" in line
    earlier = float(line.split("against ")[1].split(" per step")[0])
    assert earlier < 0.2
    imitator.clear_alarm()
    assert not storms(imitator)
    assert any(imitator.act(1, env=None if num_envs is None else 0).alarms for _ in range(20))  # it still is


def test_a_member_that_turns_in_lockstep_is_blamed() -> None:
    imitator = quietly(ensembles.tabular(TURNING), honest(), num_envs=32)
    for t in range(16):
        imitator.act(np.full(32, int(t >= 12)))
    assert "member 2 dissented most" in storms(imitator)[0]


@pytest.mark.parametrize(
    ("rate", "num_envs"), [(0.05, None), (0.3, None), (0.6, None), (1.0, None), (0.2, 256), (0.6, 256)]
)
def test_a_steady_rate_of_any_height_is_no_storm(rate: float, num_envs: int | None) -> None:
    """Members that disagree by so much, always."""
    probs = np.array([[[1.0, 0.0]], [[1 - rate, rate]]])
    imitator = ConsensusImitator(
        ensembles.tabular(probs, prior=[1.0, 1e-30]), lambda observation: 0, selection=TopK(2), seed=1,
        num_envs=num_envs,
    )  # fmt: skip
    for _ in range(600 if num_envs is None else 12):
        imitator.act(0 if num_envs is None else np.zeros(num_envs, int))
    assert abs(imitator.query_rate - rate) < 0.1
    assert imitator.alarms == ()


def test_a_run_that_goes_on_from_a_state_at_a_steady_rate_has_no_storm() -> None:
    """What the rate was before is not known to it."""
    probs = np.array([[[1.0, 0.0]], [[0.3, 0.7]]])
    members = ensembles.tabular(probs, prior=[1.0, 1e-30])
    imitator = ConsensusImitator(members, lambda observation: 0, selection=TopK(2), seed=1)
    for _ in range(300):
        imitator.act(0)
    imitator = ConsensusImitator.from_state(imitator.state, members, lambda observation: 0, selection=TopK(2))
    first = imitator.state
    for _ in range(2):
        for _ in range(150):
            imitator.act(0)
        assert imitator.alarms == ()
        imitator.restore(first)


def test_the_beginning_of_a_learning_run_is_no_storm() -> None:
    opinions = 0.1 + 10 * np.eye(3)
    members = Counters(jnp.full(3, 1 / 3), jnp.asarray(opinions, jnp.float32), num_rows=5, num_actions=A)
    imitator = quietly(members, lambda observation: int(observation) % A)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConsensusWarning)
        rates = []
        for t in range(600):
            before = imitator.num_queries
            decision = imitator.act(t % 5)
            rates.append(imitator.num_queries - before)
            assert not any("storm" in line for line in decision.alarms)
    assert np.mean(rates[:100]) > 0.4
    assert np.mean(rates[-200:]) < 0.2


@pytest.mark.parametrize("num_envs", [None, 4, 64])
def test_a_query_that_is_asked_over_and_over_counts_once(num_envs: int | None) -> None:
    """Nobody can be reached: hundreds of attempts at the same steps are not hundreds of queries."""

    def sometimes_there(observation: Any) -> int:
        if observation == 0:
            return 0
        raise ConnectionError("nobody there")

    imitator = quietly(ensembles.tabular(TURNING), sometimes_there, num_envs=num_envs)
    envs = [None] if num_envs is None else range(num_envs)
    for t in range(256):
        imitator.act(0, env=envs[t % len(envs)])
    failures = 0
    for t in range(400):
        try:
            imitator.act(1, env=envs[t % len(envs)])
        except ConnectionError:
            failures += 1
    assert failures > 300
    # Where 64 environments wait, there are that many queries.
    assert bool(storms(imitator)) == (num_envs == 64)


# --- the ledger, and silence ---


def test_a_spent_ledger_is_said_where_it_takes_the_step() -> None:
    probs = np.array([[[0.5, 0.5]], [[0.3, 0.7]]])
    imitator = ConsensusImitator(
        ensembles.tabular(probs, prior=[1.0, 1e-30]), lambda observation: 0, selection=TopK(2), seed=0,
        inflation_budget=InflationBudget(factor=2.0),
    )  # fmt: skip
    handed = 0
    for _ in range(400):
        decision = imitator.act(0)
        assert bool(decision.handed_over) == bool(decision.alarms)
        handed += bool(decision.handed_over)
    assert handed > 300
    # And no storm: nobody disagrees more than before.
    assert imitator.alarms == (f"the inflation budget is spent: {handed} steps were handed to the demonstrator",)
    assert imitator.ledger <= np.log(2)


def test_a_safe_action_is_said_and_stays_said() -> None:
    def silent(observation: Any) -> int:
        raise TimeoutError("not now")

    patience = Patience(timeout=1e-9, then=SafeAction(0))
    imitator = make(demonstrator=silent, patience=patience)
    decision = imitator.act(1)
    while not decision.queried:
        decision = imitator.act(1)
    (line,) = imitator.alarms
    assert line.startswith("1 queries were not answered")
    imitator.clear_alarm()
    assert imitator.alarms == (line,)  # the certificate stays void, too
    assert "nobody answered" in imitator.certificate().void


# --- alone ---


def test_a_learning_member_that_is_selected_alone_is_named_and_no_other_rule_is_blamed_for_it() -> None:
    members = counters([1.0, 2.0, 4.0], 5, A)
    alone = ConsensusImitator(members, lambda observation: 0, selection=TopK(1), seed=0)
    with pytest.warns(ConsensusWarning, match="selected alone"):
        assert alone.act(0).alarms == ("member 0 was selected alone",)
    likeliest = ConsensusImitator(members, lambda observation: 0, selection=TopK(1), aggregation=MAP(), seed=0)
    assert likeliest.act(0).alarms == ()


# --- over the end of a run ---


def test_alarms_come_back_with_the_run(tmp_path: Path) -> None:
    """From a checkpoint, from what is done again, and from both."""
    members = ensembles.tabular(np.concatenate([TURNING, TURNING[:, :1]], axis=1))
    members = members.replace(table=members.table.at[2, 2].set(np.nan))  # member 2 knows nothing of observation 2
    plain = quietly(members, honest())
    answers = honest()
    twin = quietly(members, answers, journal=tmp_path / "run")
    before = run_of(twin).alarms.saved()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConsensusWarning)
        for t in range(260):
            observation = 2 if t in (40, 120) else int(t >= 170)
            expected = plain.act(observation).alarms
            if t in (100, 101, 150, 200, 240, 255):
                if t % 2:
                    checkpoint(twin)
                crash(twin)
                twin = ConsensusImitator.resume(tmp_path / "run", members, answers, selection=TopK(3))
                assert run_of(twin).alarms.saved() == before
            assert twin.act(observation).alarms == expected
            assert twin.alarms == plain.alarms
            before = run_of(twin).alarms.saved()
    assert storms(plain)
    assert any("member 2 gave an unusable prediction 2 times" in line for line in plain.alarms)
    twin.close()


def test_alarms_cost_the_same_however_many_came_before() -> None:
    """What is done for a report, and what is kept, does not grow."""
    imitator = make(demonstrator=lambda observation: 0)
    decision = asked(imitator, 0)
    size = len(json.dumps(run_of(imitator).alarms.saved()))
    done = [0, 0, 0]
    for part in range(3):

        def count(frame: object, event: str, argument: object, part: int = part) -> None:
            done[part] += event in ("call", "c_call")

        for step in range(700):
            one = replace(decision, step=700 * part + step)
            sys.setprofile(count)
            run_of(imitator).alarms.report(one, False, None)
            sys.setprofile(None)
    assert 0 < done[2] <= 1.05 * done[1], done
    assert done[1] / 700 < 1000, done
    assert len(json.dumps(run_of(imitator).alarms.saved())) < size + 100 * STORM_QUERIES
