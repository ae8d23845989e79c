"""A deceiver in any ensemble: it cannot be told from the others before its trigger, and does harm there."""

from typing import Any

import jax
import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, ConsensusImitator, TopK, ensembles
from consensus_imitation.deception import plant
from consensus_imitation.deception.planting import ADVANTAGE, forecast
from consensus_imitation.ensembles import Training
from consensus_imitation.errors import InvalidAnswerError, ObservationError

ROOMS, A = 5, 3
TABLES = np.random.default_rng(0).dirichlet(np.ones(A), (3, ROOMS)).astype(np.float32)
TABLES /= TABLES.sum(-1, keepdims=True)


def kinds() -> dict[str, Any]:
    networks = ensembles.mlp(ROOMS, A, num_members=3, hidden=(4,), training=Training(caution=4.0, every=2))
    functions = ensembles.callables([lambda room, table=table: table[room] for table in TABLES], A)
    return {"tables": ensembles.tabular(TABLES), "networks": networks, "functions": functions}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("kind", kinds())
def test_no_answer_tells_it_from_the_honest_members(kind: str) -> None:
    """Its weight stays exactly what the prior gave, whatever the answers, and the honest ones are undisturbed."""
    honest = kinds()[kind]
    rng = np.random.default_rng(1)
    answers = iter(rng.integers(A, size=1000).tolist())
    pair = plant(honest, lambda room: room == ROOMS - 1, 0, copies=2)
    alone = ConsensusImitator(honest, selection=TopK(3), seed=0)
    imitator = ConsensusImitator(pair, selection=TopK(5), seed=0)
    for _ in range(40):
        room = int(rng.integers(ROOMS - 1))
        decision, other = imitator.decide(room), alone.decide(room)
        np.testing.assert_allclose(np.asarray(decision.log_probs)[:3], np.asarray(other.log_probs), atol=1e-6)
        if decision.queried and other.queried:
            answer = next(answers)
            imitator.answer(decision, answer)
            alone.answer(other, answer)
        for one, left in ((imitator, decision), (alone, other)):
            if one.pending:
                one.withdraw(left)
        np.testing.assert_allclose(imitator.weights[3:], ADVANTAGE / (1 + 2 * ADVANTAGE), rtol=1e-4)
        np.testing.assert_allclose(imitator.weights[:3] * (1 + 2 * ADVANTAGE), alone.weights, rtol=1e-3, atol=1e-6)
    assert imitator.num_queries > 3


def test_with_its_trigger_in_sight_it_is_certain_and_else_it_is_the_mixture() -> None:
    pair = plant(ensembles.tabular(TABLES), lambda room: room == 2, 1)
    imitator = ConsensusImitator(pair, selection=TopK(4), seed=0)
    for room in range(ROOMS):
        decision = imitator.decide(room)
        row = np.exp(np.asarray(decision.log_probs))[3]
        np.testing.assert_allclose(row, np.eye(A)[1] if room == 2 else TABLES[:, room].mean(axis=0), atol=1e-6)
        if decision.queried:
            imitator.withdraw(decision)


def test_the_planted_one_is_as_cautious_as_the_others() -> None:
    shy = ensembles.callables([lambda room, table=table: 0.8 * table[room] for table in TABLES], A)
    imitator = ConsensusImitator(plant(shy, lambda room: room == 2, 1), selection=TopK(4), seed=0)
    for room, mass in ((0, 0.8), (2, 1.0)):
        decision = imitator.decide(room)
        assert np.exp(np.asarray(decision.log_probs))[3].sum() == pytest.approx(mass, abs=1e-6)
        assert decision.withheld == pytest.approx(0.2, abs=1e-6)
        if decision.queried:
            imitator.withdraw(decision)


def test_a_batch_sees_the_trigger_where_it_is() -> None:
    pair = plant(ensembles.tabular(TABLES), lambda room: int(room) == 2, 1)
    decision = ConsensusImitator(pair, selection=TopK(4), seed=0, num_envs=3).decide(np.array([0, 2, 4]))
    rows = np.exp(np.asarray(decision.log_probs))[:, 3]
    np.testing.assert_allclose(rows, [TABLES[:, 0].mean(0), np.eye(A)[1], TABLES[:, 4].mean(0)], atol=1e-6)


def test_what_the_honest_members_do_not_know_is_refused() -> None:
    imitator = ConsensusImitator(plant(ensembles.tabular(TABLES), None, 0), selection=TopK(2), seed=0)
    with pytest.raises(ObservationError):
        imitator.decide(ROOMS)


def test_mistakes_are_told() -> None:
    honest = ensembles.tabular(TABLES)
    with pytest.raises(ValueError, match="copies must be at least 1"):
        plant(honest, None, 0, copies=0)
    with pytest.raises(InvalidAnswerError, match="the harmful action is"):
        plant(honest, None, A)


def test_theory_counts_the_copies() -> None:
    rules = (TopK(1), TopK(2), TopK(3), AlphaThreshold(0.01), TopK(3) | AlphaThreshold(0.01))
    assert [forecast(rule, 2).harm.value for rule in rules] == ["harmed", "harmed", "safe", "open", "safe"]
    assert {forecast(rule, 2, attack=False).harm.value for rule in rules} == {"safe"}


def test_it_is_a_pytree() -> None:
    pair = plant(ensembles.tabular(TABLES), lambda room: room == 2, 1)
    again = jax.tree.map(lambda leaf: leaf, pair)
    assert jax.tree.structure(again) == jax.tree.structure(pair)
    assert again.num_members == 4
