"""Value iteration against a linear program, Bellman's equation and values that are known."""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from consensus_imitation.demonstrators import TabularDemonstrator
from consensus_imitation.demonstrators.bots.planning import Plan, PlanningDemonstrator, Transitions, value_iteration
from consensus_imitation.experiments import tasks

DISCOUNT = 0.99


def table_of(name: str) -> Transitions:
    return tasks.make(name).make_env().unwrapped.P


def linear_program(transitions: Transitions, discount: float) -> np.ndarray:
    """Smallest values that no action improves on; written from the definition, one constraint per state and action."""
    rows, limits = [], []
    for state, actions in transitions.items():
        for outcomes in actions.values():
            row = np.zeros(len(transitions))
            row[state] -= 1
            for prob, after, _, terminated in outcomes:
                row[after] += discount * prob * (not terminated)
            rows.append(row)
            limits.append(-sum(prob * reward for prob, _, reward, _ in outcomes))
    size = len(transitions)
    found = linprog(np.ones(size), np.array(rows), np.array(limits), bounds=(None, None), method="highs")
    assert found.success
    return found.x


def policy_values(transitions: Transitions, policy: np.ndarray, discount: float) -> np.ndarray:
    """Values of a stochastic policy [S, A], by solving its linear equations."""
    size = len(transitions)
    system, reward = np.eye(size), np.zeros(size)
    for state, actions in transitions.items():
        for action, outcomes in actions.items():
            for prob, after, gained, terminated in outcomes:
                weight = policy[state, action] * prob
                reward[state] += weight * gained
                system[state, after] -= discount * weight * (not terminated)
    return np.linalg.solve(system, reward)


@pytest.mark.parametrize("name", ["frozenlake", "taxi", "cliffwalking"])
def test_values_are_those_of_the_linear_program(name: str) -> None:
    transitions = table_of(name)
    plan = value_iteration(transitions, DISCOUNT)
    expected = linear_program(transitions, DISCOUNT)
    # HiGHS is exact to about 1e-7 of its constraints; value iteration to the tolerance asked for.
    np.testing.assert_allclose(plan.state_values, expected, atol=1e-5)
    np.testing.assert_allclose(plan.action_values.max(axis=-1), plan.state_values, atol=1e-8)


@pytest.mark.parametrize("epsilon", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("name", ["frozenlake", "cliffwalking"])
def test_the_policy_is_worth_what_the_plan_says_and_no_single_change_is_better(name: str, epsilon: float) -> None:
    transitions = table_of(name)
    plan = value_iteration(transitions, DISCOUNT, epsilon)
    policy = PlanningDemonstrator(plan, epsilon=epsilon).table
    np.testing.assert_allclose(policy_values(transitions, policy, DISCOUNT), plan.state_values, atol=1e-5)
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = (1 - epsilon) * np.eye(4)[rng.integers(4, size=len(transitions))] + epsilon / 4
        assert np.all(policy_values(transitions, other, DISCOUNT) <= plan.state_values + 1e-6)


def test_known_values() -> None:
    # Thirteen steps from the start to the goal of the cliff walk, at -1 each.
    cliff = value_iteration(table_of("cliffwalking"), DISCOUNT)
    assert cliff.state_values[36] == pytest.approx(-sum(DISCOUNT**i for i in range(13)), abs=1e-8)
    # The chance to cross the slippery lake is 14/17; undiscounted values are the limit.
    lake = value_iteration(table_of("frozenlake"), 1 - 1e-6, tolerance=1e-4)
    assert lake.state_values[0] == pytest.approx(14 / 17, abs=2e-4)


def test_a_plan_that_allows_for_its_slips_leaves_the_edge() -> None:
    transitions = table_of("cliffwalking")
    bold, careful = (PlanningDemonstrator(value_iteration(transitions, DISCOUNT, e), epsilon=0.1) for e in (0.0, 0.1))
    assert bold.table[25].argmax() == 1  # right, along the edge
    assert careful.table[25].argmax() == 0  # up, away from it
    values = [policy_values(transitions, one.table, DISCOUNT)[36] for one in (bold, careful)]
    assert values[1] > values[0] + 1


def test_answers_follow_the_table() -> None:
    env = tasks.make("frozenlake").make_env()
    demonstrator = PlanningDemonstrator.for_env(env, discount=DISCOUNT, temperature=0.05, seed=3)
    probs = demonstrator.probs(0)
    assert probs.min() > 0.1  # a soft-max that leaves something to test
    n = 4000
    counts = np.bincount([demonstrator(0) for _ in range(n)], minlength=4)
    assert np.all(np.abs(counts - n * probs) <= 4.5 * np.sqrt(n * probs * (1 - probs)))
    wrong = np.roll(probs, 1)
    assert not np.all(np.abs(counts - n * wrong) <= 4.5 * np.sqrt(n * wrong * (1 - wrong)))
    TabularDemonstrator.create(demonstrator.table)  # the table is one that rollouts take


@pytest.mark.parametrize("number", [0.0, np.nextafter(1, 0)])
def test_no_draw_yields_an_impossible_action(number: float) -> None:
    values = np.array([[0.0, 1.0, 0.0]])
    demonstrator = PlanningDemonstrator(Plan(values, values.max(axis=-1), 1))
    demonstrator._rng = type("Fixed", (), {"random": lambda _: number})()
    assert demonstrator(0) == 1


def test_softmax_is_that_of_action_values() -> None:
    plan = value_iteration(table_of("frozenlake"), DISCOUNT)
    probs = PlanningDemonstrator(plan, temperature=0.1).table
    odds = np.log(probs[:, 0] / probs[:, 1])
    np.testing.assert_allclose(odds, (plan.action_values[:, 0] - plan.action_values[:, 1]) / 0.1, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"discount": 1.0}, "discount must lie in"),
        ({"discount": float("nan")}, "discount must lie in"),
        ({"epsilon": -0.1}, "epsilon must lie in"),
        ({"tolerance": 0.0}, "tolerance must be positive"),
        ({"max_sweeps": 3}, "no convergence"),
        ({"transitions": {0: {0: [(0.9, 0, 0.0, False)]}}}, "sum to one"),
        ({"transitions": {0: {0: [(1.0, 7, 0.0, False)]}}}, "states of the table"),
        ({"transitions": {1: {0: [(1.0, 1, 0.0, False)]}}}, "numbered from 0"),
        ({"transitions": {}}, "numbered from 0"),
    ],
)
def test_bad_arguments_are_refused(change: dict[str, Any], said: str) -> None:
    arguments = {"transitions": {0: {0: [(1.0, 0, 1.0, False)]}}, "discount": DISCOUNT} | change
    with pytest.raises(ValueError, match=said):
        value_iteration(**arguments)


def test_an_environment_without_a_table_is_refused() -> None:
    env = tasks.make("cartpole").make_env()
    with pytest.raises(ValueError, match="no transition table"):
        PlanningDemonstrator.for_env(env, discount=DISCOUNT)
    plan = value_iteration({0: {0: [(1.0, 0, 1.0, False)]}}, DISCOUNT)
    with pytest.raises(ValueError, match="temperature must be positive"):
        PlanningDemonstrator(plan, temperature=0.0)
    with pytest.raises(ValueError, match="epsilon must lie in"):
        PlanningDemonstrator(plan, epsilon=1.5)
