"""A rule that fails while the imitator runs: every step is a query, and the rule is named, not a member."""

import asyncio
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Minimum, TopK, ensembles
from consensus_imitation.core.aggregation import MaxProbGate
from consensus_imitation.errors import ConsensusWarning, ReplayError
from consensus_imitation.imitator.kernels import unpack
from consensus_imitation.journal.reader import reading
from tests.core.own_rules import NOBODY, PROBS, TABLES, mine

from .probe import crash

#: What fails, the number of the fault, and how it is named.
FAILING: dict[str, tuple[dict[str, Any], int, str]] = {
    "aggregation": ({"aggregation": mine()}, 2, "the aggregation rule 'mine' gave no law"),
    "gate": ({"aggregation": MaxProbGate(0.1, base=mine())}, 2, "the aggregation rule 'maxprob-0.1' gave no law"),
    "selection": ({"selection": NOBODY}, 1, r"the selection rule Own(share=1.5) selected nobody"),
    "joined": ({"selection": TopK(2) & NOBODY}, 1, "the selection rule Intersection(rules="),
}


def row(probs: np.ndarray) -> Callable[[Any], np.ndarray]:
    return lambda observation: probs[int(observation)]


MEMBERS: dict[str, Callable[[], Any]] = {
    "tables": lambda: TABLES,
    "functions": lambda: ensembles.callables([row(member) for member in PROBS], 3),
}


def make(failing: str = "aggregation", members: str = "tables", **options: Any) -> ConsensusImitator:
    rules = {"selection": TopK(2), **FAILING[failing][0]}
    return ConsensusImitator(MEMBERS[members](), lambda observation: 2, seed=0, **rules, **options)


def by_act(imitator: ConsensusImitator, observation: Any) -> Any:
    return imitator.act(observation)


def by_decide(imitator: ConsensusImitator, observation: Any) -> Any:
    decision = imitator.decide(observation)
    return imitator.answer(decision, 2 if imitator.num_envs is None else np.full(imitator.num_envs, 2))


def by_act_async(imitator: ConsensusImitator, observation: Any) -> Any:
    return asyncio.run(imitator.act_async(observation))


def by_env(imitator: ConsensusImitator, observation: Any) -> Any:
    return imitator.act(observation if np.ndim(observation) == 0 else observation[0], env=1)


#: The ways to a decision, and the number of environments.
WAYS: dict[str, tuple[Callable[[ConsensusImitator, Any], Any], int | None]] = {
    "act": (by_act, None),
    "decide": (by_decide, None),
    "act_async": (by_act_async, None),
    "act, lockstep": (by_act, 3),
    "decide, lockstep": (by_decide, 3),
    "env=": (by_env, 3),
}


@pytest.mark.quick_cases(12)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("failing", FAILING)
@pytest.mark.parametrize("members", MEMBERS)
def test_the_step_is_a_query_and_the_rule_is_named(members: str, failing: str, way: str) -> None:
    step, num_envs = WAYS[way]
    _, number, named = FAILING[failing]
    imitator = make(failing, members, num_envs=num_envs)
    observation = 1 if num_envs is None else np.ones(num_envs, int)
    with pytest.warns(ConsensusWarning) as warned:
        decisions = [step(imitator, observation) for _ in range(4)]
    assert [str(one.message).startswith(f"at step 0 {named}") for one in warned] == [True]  # once
    for decision in decisions:
        assert np.all(np.asarray(decision.rule_fault) == number)
        assert np.all(decision.queried)
        assert np.all(np.asarray(decision.query_prob) == 1)
        assert np.all(np.asarray(decision.action) == 2)
        assert not np.any(decision.invalid)
        assert not np.any(decision.min_probs)
        assert len(decision.alarms) == 1
        assert decision.alarms[0].startswith(named)
    assert len(imitator.alarms) == 1
    assert imitator.alarms[0].startswith(named)
    assert "4 decisions" in imitator.alarms[0]
    assert "member" not in imitator.alarms[0]
    imitator.clear_alarm()
    assert imitator.alarms == ()


def test_in_lockstep_only_the_rows_in_which_it_fails_are_asked_about() -> None:
    asked = []
    imitator = ConsensusImitator(
        TABLES, lambda observation: asked.append(int(observation)) or 2, selection=TopK(2), aggregation=mine(), seed=0,
        num_envs=3,
    )  # fmt: skip
    with pytest.warns(ConsensusWarning, match="'mine' gave no law"):
        decision = imitator.act(np.array([0, 1, 0]))
    assert decision.rule_fault.tolist() == [0, 2, 0]
    assert decision.queried.tolist() == [False, True, False]
    assert asked == [1]
    # A row that is set aside is not asked about, and nothing is wrong with it.
    decision = imitator.act(np.array([0, 1, 0]), active=np.array([True, False, True]))
    assert not decision.rule_fault.any()
    assert not decision.queried.any()
    assert decision.alarms == ()


def test_where_warnings_are_errors_nothing_is_done() -> None:
    imitator = make()
    with pytest.raises(ConsensusWarning, match="'mine' gave no law"):
        imitator.decide(1)
    assert imitator.num_steps == 0


def test_a_rule_put_in_its_place_is_named_by_its_own_name() -> None:
    imitator = make()
    with pytest.warns(ConsensusWarning, match="'mine'"):
        imitator.act(1)
    imitator.aggregation = MaxProbGate(0.2, base=mine())
    with pytest.warns(ConsensusWarning, match="'maxprob-0.2'"):
        imitator.act(1)
    assert [line.split("'")[1] for line in imitator.alarms] == ["maxprob-0.2", "mine"]
    imitator.aggregation = Minimum()
    assert imitator.act(1).rule_fault == 0


def test_a_failed_rule_is_no_query_storm() -> None:
    imitator = make()
    for _ in range(120):
        imitator.act(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConsensusWarning)
        for _ in range(120):
            imitator.act(1)
    assert not any("storm" in line for line in imitator.alarms)


@pytest.mark.parametrize("members", MEMBERS)
@pytest.mark.parametrize("num_envs", [None, 2])
def test_a_journal_replays_a_rules_fault(members: str, num_envs: int | None, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    observations = [0, 1, 0, 1, 1]
    imitator = make("aggregation", members, num_envs=num_envs, journal=run_dir)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConsensusWarning)
        for observation in observations:
            imitator.act(observation if num_envs is None else np.array([0, observation]))
        left = imitator.decide(1 if num_envs is None else np.array([0, 1]))
    before = imitator.alarms
    crash(imitator)
    again = resume(run_dir, members)
    assert again.alarms == before
    (waiting,) = again.pending
    np.testing.assert_array_equal(waiting.rule_fault, left.rule_fault)
    assert waiting.alarms == left.alarms
    again.close()
    with reading(run_dir) as reader:
        packed = [entry.record.packed for entry in reader.entries() if entry.record.packed is not None]
    assert [unpack(one, 3).rule_fault for one in packed].count(2) == observations.count(1) + 1


def resume(run_dir: Path, members: str, **rules: Any) -> ConsensusImitator:
    rules = {"selection": TopK(2), "aggregation": mine(), **rules}
    return ConsensusImitator.resume(run_dir, MEMBERS[members](), lambda observation: 2, **rules)


def test_a_rule_that_fails_no_more_is_another_rule(tmp_path: Path) -> None:
    """The control of the replay: what was written down, fault included, has to come out again."""
    run_dir = tmp_path / "run"
    with pytest.warns(ConsensusWarning), make(journal=run_dir) as imitator:
        imitator.act(1)
    with pytest.raises((ReplayError, ValueError)):
        resume(run_dir, "tables", aggregation=mine("less than it says"))
