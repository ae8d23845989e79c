"""The demonstrator acts unasked: written down with who acted, not used for reweighting, learned from only if wanted."""

from pathlib import Path
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, InflationBudget, TopK, ensembles
from consensus_imitation.demonstrators import Demonstrator
from consensus_imitation.ensembles import Training
from consensus_imitation.errors import ConfigurationError, InvalidAnswerError, ObservationError, PendingQueryError
from consensus_imitation.journal.audit import replay
from consensus_imitation.journal.export import export
from consensus_imitation.journal.reader import reading
from tests.imitator.fingerprints import fingerprint

PROBS = np.random.default_rng(3).dirichlet(np.ones(3), (4, 5))
SPACE = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


def tables(**more: Any) -> ConsensusImitator:
    return ConsensusImitator(ensembles.tabular(PROBS), selection=TopK(2), seed=5, **more)


def networks() -> Any:
    return ensembles.mlp(SPACE, 3, num_members=2, hidden=(4,), training=Training(batch_size=4))


def learner(**more: Any) -> ConsensusImitator:
    return ConsensusImitator(networks(), selection=TopK(2), seed=5, **more)


def answered(imitator: ConsensusImitator, observation: Any, action: int, env: int | None = None) -> None:
    decision = imitator.decide(observation, env=env)
    if decision.queried:
        imitator.answer(decision, action)


def known(imitator: ConsensusImitator) -> list[bytes]:
    """What members have learned."""
    leaves = jax.tree.leaves(imitator.state.learned)
    keys = [jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
    plain = [jax.random.key_data(leaf) if key else leaf for leaf, key in zip(leaves, keys, strict=True)]
    return [np.asarray(leaf).tobytes() for leaf in plain]


def test_the_step_counts_and_the_posterior_stays_as_it_is() -> None:
    imitator = tables(inflation_budget=InflationBudget(3.0))
    for observation in (0, 1, 2, 3):
        answered(imitator, observation, 1)
    weights, ledger, queries = imitator.weights, imitator.ledger, imitator.num_queries
    decision = imitator.take_over(4, 2)
    assert (decision.action, decision.queried, decision.query, decision.step) == (2, False, None, 4)
    assert np.array_equal(imitator.weights, weights)
    assert (imitator.ledger, imitator.num_queries, imitator.num_steps) == (ledger, queries, 5)
    assert "NOTHING" not in str(imitator.certificate())


def test_the_draws_of_the_other_steps_do_not_depend_on_what_was_done_meanwhile() -> None:
    def drawn(action: int) -> list[Any]:
        imitator = tables()
        imitator.take_over(0, action)
        return [imitator.decide(1).action, imitator.state.stream.step.item()]

    assert drawn(0) == drawn(2)


def test_members_learn_only_if_that_is_wanted() -> None:
    seen = np.array([0.5, -0.5], np.float32)
    plain, taught = learner(), learner()
    before = known(plain)
    plain.take_over(seen, 2)
    taught.take_over(seen, 2, learn=True)
    assert known(plain) == before
    assert known(taught) != before
    assert np.array_equal(plain.weights, taught.weights)


def test_whoever_listens_is_told_who_acted() -> None:
    told: list[Any] = []

    class Listener(Demonstrator):
        def observe(self, action: int, who: Any) -> None:
            told.append((action, who))

    imitator = ConsensusImitator(ensembles.tabular(PROBS), Listener(), selection=TopK(2), seed=0)
    imitator.take_over(0, 1)
    assert told == [(1, "demonstrator")]


def test_what_is_no_action_and_a_query_that_waits_are_refused_and_change_nothing(tmp_path: Path) -> None:
    imitator = tables(journal=tmp_path / "run")
    for wrong in (3, -1, 1.5, "1", None, True):
        with pytest.raises(InvalidAnswerError):
            imitator.take_over(0, wrong)
    assert imitator.num_steps == 0
    while not (decision := imitator.decide(0)).queried:
        pass
    steps = imitator.num_steps
    with pytest.raises(PendingQueryError):
        imitator.take_over(1, 0)
    assert imitator.pending == (decision,)
    imitator.withdraw(decision)
    imitator.take_over(1, 0)
    assert imitator.num_steps == steps + 1
    imitator.close()
    batch = tables(num_envs=2)
    with pytest.raises(ConfigurationError, match="env="):
        batch.take_over(np.array([0, 1]), 0)
    batch.take_over(3, 0, env=1)
    assert batch.state.stream.step.tolist() == [0, 1]


@pytest.mark.parametrize("learn", [False, True])
def test_a_run_with_take_overs_resumes_bit_for_bit(tmp_path: Path, learn: bool) -> None:
    def steps(imitator: ConsensusImitator, rng: np.random.Generator) -> None:
        for t in range(6):
            seen = rng.uniform(-1, 1, 2).astype(np.float32)
            if t % 3 == 1:
                imitator.take_over(seen, t % 3, learn=learn)
            else:
                answered(imitator, seen, t % 3)

    imitator = learner(journal=tmp_path / "run")
    steps(imitator, np.random.default_rng(0))
    state = fingerprint(imitator)
    # As if the process had been killed: nothing but the journal says what happened.
    imitator._live.recorder.let_go()
    again = ConsensusImitator.resume(tmp_path / "run", networks(), selection=TopK(2))
    assert fingerprint(again) == state
    again.close()
    with reading(tmp_path / "run") as reader:
        records = [entry.record for entry in reader.entries() if entry.record.kind == "takeover"]
    assert [(one.who, one.action, one.note) for one in records] == [("demonstrator", 1, "learned" if learn else "")] * 2
    assert all(one.log_probs is not None and np.array_equal(one.before, one.after) for one in records)
    assert replay(tmp_path / "run").exact
    assert "takeover" in Path(export(tmp_path / "run", tmp_path / "run.csv", "csv")).read_text(encoding="utf-8")


def test_who_takes_over_does_what_is_legal_and_a_resumed_run_knows_what_was(tmp_path: Path) -> None:
    mask = np.array([True, False, True])
    with tables(journal=tmp_path / "run") as imitator:
        with pytest.raises(InvalidAnswerError, match="legal are 0, 2"):
            imitator.take_over(1, 1, action_mask=mask)
        with pytest.raises(ObservationError, match="leaves no action"):
            imitator.take_over(1, 2, action_mask=np.zeros(3, bool))
        assert imitator.num_steps == 0
        decision = imitator.take_over(1, 2, action_mask=mask)
        np.testing.assert_array_equal(decision.action_mask, mask)
        assert decision.min_probs[1] == 0
        before = fingerprint(imitator)
    with reading(tmp_path / "run") as reader:
        (record,) = [entry.record for entry in reader.entries() if entry.record.kind == "takeover"]
        np.testing.assert_array_equal(record.action_mask, mask)
    with ConsensusImitator.resume(tmp_path / "run", ensembles.tabular(PROBS), selection=TopK(2)) as again:
        assert fingerprint(again) == before


def test_a_question_says_what_is_legal() -> None:
    mask = np.array([False, True, True])
    imitator = ConsensusImitator(ensembles.tabular(np.eye(3)[[1, 2], None]), selection=TopK(2), seed=5)
    decision = imitator.decide(0, action_mask=mask)
    np.testing.assert_array_equal(imitator.question(decision).allowed, mask)
