"""The members' card says what is known of the members, and changes nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Journal, Merging, Minimum, TopK, ensembles
from consensus_imitation.core.aggregation import MAP
from consensus_imitation.core.calibration import calibration, said
from consensus_imitation.demonstrators import Patience, SafeAction
from consensus_imitation.ensembles import Training
from consensus_imitation.errors import ObservationError, PendingQueryError
from consensus_imitation.experiments import journal_report
from consensus_imitation.imitator import _card
from consensus_imitation.journal.calibration import member_calibration

from .test_resume import bits

PROBS = np.random.default_rng(0).dirichlet(np.ones(3), (4, 5))
QUICK = Training(batch_size=8, updates=1, capacity=50, caution=5.0)


def tables(**options: Any) -> ConsensusImitator:
    options = {"selection": TopK(3), "seed": 0} | options
    return ConsensusImitator(ensembles.tabular(PROBS), lambda seen: int(seen) % 3, **options)


def networks(training: Training = QUICK, **options: Any) -> ConsensusImitator:
    members = ensembles.mlp((4,), 3, 3, hidden=(4,), training=training)
    return ConsensusImitator(members, lambda seen: int(seen[0] > 0), seed=0, **options)


def test_probes_are_asked_about_as_often_as_the_rules_say_and_nothing_changes() -> None:
    imitator = tables()
    for t in range(20):
        imitator.act(t % 5)
    before = bits(imitator)
    heaviest = np.argsort(-imitator.weights, kind="stable")[:3]
    doubt = 1 - PROBS[heaviest].min(0).sum(-1)
    card = imitator.card(familiar=[0, 1], unfamiliar=[3])
    assert card.asked_familiar == pytest.approx(doubt[:2].mean(), abs=1e-5)
    assert card.asked_unfamiliar == pytest.approx(doubt[3], abs=1e-5)
    assert bits(imitator) == before
    assert (card.num_members, card.selected, card.tolerated_members, card.learns) == (4, 3, 2, False)
    assert (card.num_answers, card.kind) == (imitator.num_queries, "Tabular")
    assert tables().card().asked_familiar is None


@pytest.mark.slow
def test_a_batch_is_probed_by_its_first_environment() -> None:
    imitator = tables(num_envs=2)
    assert imitator.card(familiar=[3]).asked_familiar == pytest.approx(1 - PROBS[:3].min(0).sum(-1)[3], abs=1e-5)


def test_probes_wait_until_no_query_does() -> None:
    imitator = tables()
    while not imitator.decide(0).queried:
        pass
    with pytest.raises(PendingQueryError, match="answer or withdraw"):
        imitator.card(familiar=[0])
    assert imitator.card().asked_familiar is None


def test_probes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ObservationError):
        networks().card(unfamiliar=[np.zeros(3, np.float32)])
    with pytest.raises(ValueError, match="no probes"):
        tables().card(familiar=[])


@pytest.mark.slow
def test_inputs_that_never_varied_are_named() -> None:
    imitator = networks()
    assert imitator.card().never_varied is None
    seen = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    seen[:, 1], seen[:59, 3] = 2.0, 0.5
    imitator.pretrain(seen[:59], (seen[:59, 0] > 0).astype(int))
    assert imitator.card().never_varied == ("input[1]", "input[3]")
    imitator.pretrain(seen[59:], (seen[59:, 0] > 0).astype(int))
    assert imitator.card().never_varied == ("input[1]",)
    assert "input[1]; what members do where it differs was never seen" in str(imitator.card())
    # What the ring has forgotten does not count: the last 50 answers.
    more = np.ones((50, 4), np.float32)
    more[:, 0] = np.arange(50)
    imitator.pretrain(more, np.zeros(50, int))
    assert imitator.card().never_varied == ("input[1]", "input[2]", "input[3]")


@pytest.mark.slow
def test_ranges_are_over_all_answers_however_many_are_looked_at_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_card, "_AT_ONCE", 3)
    imitator = networks()
    seen = np.zeros((7, 4), np.float32)
    seen[:3, 0], seen[6, 1], seen[:, 2] = 1.0, 1.0, np.arange(7)
    imitator.pretrain(seen, np.zeros(7, int))
    assert imitator.card().never_varied == ("input[3]",)


@pytest.mark.slow
def test_masks_and_names_are_no_part_of_the_inputs() -> None:
    from gymnasium import spaces

    space = spaces.Dict({"place": spaces.Box(-1, 1, (2,)), "speed": spaces.Box(-1, 1, (1,))})
    members = ensembles.mlp(space, 3, 2, hidden=(4,), training=Training(masked=True, caution=0.0))
    imitator = ConsensusImitator(members, lambda seen: 0, seed=0)
    seen = [{"place": np.array([0.1 * t, 0.0]), "speed": np.array([0.5])} for t in range(5)]
    imitator.pretrain(seen, [0] * 5)
    assert imitator.card().never_varied == ("input['place'][1]", "input['speed'][0]")


def test_fixed_members_keep_no_answers() -> None:
    card = tables().card()
    assert card.never_varied is None
    assert "never varied" not in str(card)


def test_the_effective_number_is_the_certificates_or_the_journals(tmp_path: Path) -> None:
    measured, kept = tables(merging=Merging(tolerance=None)), tables(journal=tmp_path / "run")
    for t in range(60):
        measured.act(t % 5)
        kept.act(t % 5)
    found = measured.card().effective
    assert found == measured.certificate().effective
    assert kept.certificate().effective is None
    # The same answers to the same members, read out of the journal.
    np.testing.assert_allclose(kept.card().effective, found, rtol=1e-3)
    assert f"like {found.estimate:.3g} independent ones" in str(measured.card())
    assert tables().card().effective is None
    assert "is not measured" in str(tables().card())
    kept.close()


def test_without_a_veto_nobody_dishonest_is_tolerated() -> None:
    assert tables(aggregation=Minimum()).card().tolerated_members == 2
    assert tables(aggregation=MAP()).card().tolerated_members == 0


def test_false_answers_are_tolerated_where_members_divide_them() -> None:
    assert networks(selection=TopK(3)).card().tolerated_answers == 0
    card = networks(replace(QUICK, bootstrap="partition"), selection=TopK(3)).card()
    assert (card.tolerated_answers, card.tolerated_members) == (2, 2)
    assert "2 false answers, or sources" in str(card)


def test_calibration_is_that_of_what_was_predicted_before_each_answer(tmp_path: Path) -> None:
    """The oracle keeps the predictions itself, as the imitator gives them while a query waits."""
    imitator = networks(journal=Journal(tmp_path / "run"))
    rng, predicted, answers = np.random.default_rng(1), [], []
    for seen in rng.normal(size=(60, 4)).astype(np.float32):
        decision = imitator.decide(seen)
        if decision.queried:
            predicted.append(imitator.predictions)
            answers.append(int(rng.integers(3)))
            imitator.answer(decision, answers[-1])
    probs = np.stack(predicted)
    wanted = calibration(np.log(probs / probs.sum(-1, keepdims=True)), answers)
    found = imitator.card().calibration
    assert found is not None
    for name in wanted._fields:
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-4)
    text = str(imitator.card())
    assert f"{np.min(found.log_loss):.3g} to {np.max(found.log_loss):.3g} nats" in text
    imitator.close()
    page = journal_report.write(tmp_path / "run", tmp_path / "page.html").read_text()
    assert "3 members (Neural)" in page
    assert said(found).split(" (")[0] in page
    assert networks().card().calibration is None


def test_a_journal_without_answers_has_no_calibration(tmp_path: Path) -> None:
    with tables(journal=tmp_path / "run"):
        pass
    assert member_calibration(tmp_path / "run") is None


def test_what_nobody_answered_is_not_calibrated(tmp_path: Path) -> None:
    """Where the safe action was taken instead, nothing was learned of the demonstrator."""

    def nobody(seen: Any) -> int:
        raise TimeoutError

    members = ensembles.tabular(np.eye(3)[:, None])  # three members that agree about nothing
    patience = Patience(then=SafeAction(2))
    with ConsensusImitator(members, nobody, patience=patience, seed=0, journal=tmp_path / "run") as imitator:
        assert [imitator.act(0).action for _ in range(3)] == [2, 2, 2]
    assert member_calibration(tmp_path / "run") is None


@pytest.mark.slow
def test_it_is_the_same_after_a_run_is_taken_up_again(tmp_path: Path) -> None:
    seen = np.random.default_rng(2).normal(size=(40, 4)).astype(np.float32)
    with networks(journal=tmp_path / "run") as imitator:
        for one in seen:
            imitator.act(one)
        before = str(imitator.card(seen[:3], -9 * seen[:3]))
    members = ensembles.mlp((4,), 3, 3, hidden=(4,), training=QUICK)
    with ConsensusImitator.resume(tmp_path / "run", members, lambda seen: 0) as again:
        assert str(again.card(seen[:3], -9 * seen[:3])) == before
