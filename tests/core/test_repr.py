"""What an imitator, its policy, its rules and its journal print: enough to know where one is."""

from pathlib import Path

import numpy as np

from consensus_imitation import ConsensusImitator, InflationBudget, TopK, ensembles
from consensus_imitation.core.rules import Rules
from tests.imitator.probe import directory_of

MEMBERS = ensembles.tabular(np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[0.5, 0.5]]]))


def test_an_imitator_says_who_decides_by_which_rules_and_how_it_went(tmp_path: Path) -> None:
    imitator = ConsensusImitator(MEMBERS, lambda observation: 1, selection=TopK(2), seed=0, journal=tmp_path / "run")
    imitator.act(0)
    who, rules, went, journal = repr(imitator).split("\n")
    assert who == "<ConsensusImitator: 3 members (Tabular), 2 actions, 1 environment"
    assert rules.strip() == repr(imitator.rules)
    assert went.strip() == "1 steps, 1 queries (rate 1), 0 waiting, 0 alarms"
    assert journal.strip() == f"journal {tmp_path / 'run'}, 3 calls>"
    assert repr(directory_of(imitator)) == f"RunDirectory('{tmp_path / 'run'}', 3 calls)"
    imitator.close()
    assert "journal" in repr(imitator)


def test_of_a_batch_it_says_how_many_environments_and_what_waits() -> None:
    imitator = ConsensusImitator(MEMBERS, selection=TopK(2), num_envs=2)
    assert "2 environments" in repr(imitator)
    assert "no journal" in repr(imitator)
    imitator.decide(0, env=1)
    assert "1 waiting" in repr(imitator)


def test_rules_say_only_those_that_there_are() -> None:
    rules = Rules(TopK(2), budget=InflationBudget(2.0))
    assert repr(rules).endswith("budget=InflationBudget(factor=2.0, per='run'))")
    assert "alarm" not in repr(rules)


def test_a_policy_says_what_it_follows() -> None:
    imitator = ConsensusImitator(MEMBERS, selection=TopK(2))
    assert repr(imitator.policy()) == f"<Policy: 3 members (Tabular), 2 actions, 1 environment\n  {imitator.rules}>"
