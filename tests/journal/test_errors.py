"""The members' errors out of a journal: against the tables, the running run at every entrance, and the known law."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Journal, Merging, TopK, ensembles
from consensus_imitation.core.independence import effective_members
from consensus_imitation.ensembles.any_action import gaussian
from consensus_imitation.errors import JournalError
from consensus_imitation.experiments import journal_report
from consensus_imitation.imitator import SamplingImitator
from consensus_imitation.journal.errors import independence, member_errors

N, S, A = 4, 5, 3
MEASURED = Merging(tolerance=None)


def tables() -> np.ndarray:
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.full(A, 0.5), S)
    return np.stack([truth, *(0.5 * truth + 0.5 * rng.dirichlet(np.ones(A), (N - 1, S)))])


def make(journal, num_envs=None, **options) -> ConsensusImitator:
    rng, truth = np.random.default_rng(1), tables()[0]
    draw = lambda observation: int(rng.choice(A, p=truth[int(observation)]))  # noqa: E731
    demonstrator = draw if num_envs is None else [draw] * num_envs
    options = {"selection": TopK(4), "merging": MEASURED} | options
    return ConsensusImitator(
        ensembles.tabular(tables()), demonstrator, seed=2, journal=journal, num_envs=num_envs, **options
    )


def test_they_are_what_the_tables_had_not_given_to_the_answers(tmp_path: Path) -> None:
    with make(Journal(tmp_path, observations=True)) as imitator:
        asked = [(t % S, imitator.act(t % S)) for t in range(80)]
    asked = [(seen, decision.action) for seen, decision in asked if decision.queried]
    errors, own = member_errors(tmp_path, lambda observation: tables()[0, int(observation)])
    np.testing.assert_allclose(errors, [1 - tables()[:, seen, answer] for seen, answer in asked], atol=1e-6)
    assert own is not None
    np.testing.assert_allclose(own, errors[:, 0], atol=1e-6)
    # The first member is the demonstrator: its excess error is nothing, and says nothing.
    np.testing.assert_allclose(errors[:, 0] - own, 0, atol=1e-6)
    assert independence(tmp_path) == effective_members(errors)
    assert independence(tmp_path, lambda observation: tables()[0, int(observation)], 0.9) == effective_members(
        errors, own, 0.9
    )


def test_in_lockstep_each_environment_has_its_own_law(tmp_path: Path) -> None:
    with make(Journal(tmp_path, observations=True), num_envs=3) as imitator:
        for t in range(15):
            imitator.act(np.arange(t, t + 3) % S)
    errors, own = member_errors(tmp_path, lambda observation: tables()[0, int(observation)])
    np.testing.assert_allclose(errors[:, 0], own, atol=1e-6)
    assert len(errors) == imitator.num_queries > 5


@pytest.mark.parametrize("num_envs", [None, 3])
def test_a_running_run_and_its_journal_say_the_same_at_every_entrance(tmp_path: Path, num_envs: int | None) -> None:
    observations = lambda t: t % S if num_envs is None else np.arange(t, t + num_envs) % S  # noqa: E731
    with make(Journal(tmp_path, checkpoint_every=16), num_envs) as imitator:
        for t in range(40):
            imitator.act(observations(t))
        for t in range(40):
            decision = imitator.decide(observations(t))
            if np.any(decision.queried):
                imitator.answer(decision, 1 if num_envs is None else np.ones(num_envs, int))
        live = imitator.certificate().effective
    assert live is not None
    assert live == pytest.approx(independence(tmp_path), abs=1e-4)
    assert live.answers == imitator.num_queries > 20
    assert live.lower < live.estimate == pytest.approx(imitator.effective_members, abs=1e-3)
    rng = np.random.default_rng(9)
    draw = lambda observation: int(rng.integers(A))  # noqa: E731
    members, rules = ensembles.tabular(tables()), {"selection": TopK(4), "merging": MEASURED}
    with ConsensusImitator.resume(tmp_path, members, draw if num_envs is None else [draw] * num_envs, **rules) as again:
        assert again.certificate().effective == live
        assert f"{N} members err at {live.answers} answers like" in str(again.certificate())
        for t in range(10):
            again.act(observations(t))
        more = again.certificate().effective
    assert more == pytest.approx(independence(tmp_path), abs=1e-4)
    assert more is not None
    assert more.answers > live.answers


def test_withheld_mass_and_digests_change_nothing(tmp_path: Path) -> None:
    with make(Journal(tmp_path / "one")) as imitator:
        for t in range(40):
            imitator.act(t % S)
    with make(Journal(tmp_path / "two", keep="digests")) as imitator:
        for t in range(40):
            imitator.act(t % S)
    np.testing.assert_array_equal(member_errors(tmp_path / "one")[0], member_errors(tmp_path / "two")[0])
    probs = tables() * np.array([1, 0.5, 0.9, 0.2])[:, None, None]
    members = [lambda observation, n=n: probs[n, observation] for n in range(N)]
    with ConsensusImitator(
        ensembles.callables(members, A), lambda _: 1, seed=0, journal=tmp_path / "three"
    ) as imitator:
        for t in range(10):
            imitator.act(t % S)
    errors, _ = member_errors(tmp_path / "three")
    assert len(errors) > 5
    assert {tuple(row) for row in errors.round(5).tolist()} <= {
        tuple((1 - tables()[:, s, 1]).round(5)) for s in range(S)
    }


def test_without_measuring_the_certificate_is_silent_and_the_journal_is_not(tmp_path: Path) -> None:
    with make(tmp_path, merging=None) as imitator:
        for t in range(30):
            imitator.act(t % S)
    assert imitator.certificate().effective is None
    assert "independent ones" not in str(imitator.certificate())
    assert independence(tmp_path).answers == imitator.num_queries
    page = journal_report.write(tmp_path, tmp_path / "page.html").read_text()
    assert f"{N} members err at {imitator.num_queries} answers like" in page


def test_what_cannot_be_told_is_said(tmp_path: Path) -> None:
    law = lambda observation: tables()[0, int(observation)]  # noqa: E731
    with make(Journal(tmp_path / "short", observations=False, checkpoint_every=5)) as imitator:
        for t in range(60):
            imitator.act(t % S)
    with pytest.raises(JournalError, match="observations=True"):
        member_errors(tmp_path / "short", law)
    with make(Journal(tmp_path / "whole", observations=True)) as imitator:
        for t in range(20):
            imitator.act(t % S)
    with pytest.raises(ValueError, match="the law must give probabilities"):
        member_errors(tmp_path / "whole", lambda observation: [0.5, 0.1, 0.1])
    ensemble = gaussian(lambda gain, x: (-gain * x, jnp.array([-2.0])), jnp.array([[1.0], [9.0]]), low=-10.0, high=10.0)
    with SamplingImitator(ensemble, lambda x: -x, selection=TopK(2), seed=0, journal=tmp_path / "any") as sampling:
        for _ in range(5):
            sampling.act(jnp.array([1.0]))
    with pytest.raises(JournalError, match="cannot be listed"):
        independence(tmp_path / "any")
    page = journal_report.write(tmp_path / "any", tmp_path / "any.html").read_text()
    assert "independent ones" not in page
