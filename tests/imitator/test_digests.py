"""A journal that keeps digests of the imitator's own steps: small, and as good for going on."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Journal, TopK, ensembles
from consensus_imitation.errors import ConfigurationError, ReplayError
from consensus_imitation.imitator._calls import grouped
from consensus_imitation.imitator.sampling import SamplingImitator
from consensus_imitation.journal.audit import replay
from consensus_imitation.journal.export import export
from tests.stress.crash_runs import read

from .any_action.worlds import fixed_gaussian
from .probe import crash
from .test_resume import RULE, B, bits, both, callables, demonstrator, step, tabular

WAYS = ("single", "lockstep", "apart")


def begun(path: Path, way: str = "single", keep: Any = "digests", **more: Any) -> ConsensusImitator:
    settings = Journal(path, keep=keep, **more)
    num_envs = None if way == "single" else B
    return ConsensusImitator(tabular(), demonstrator, selection=RULE, seed=3, num_envs=num_envs, journal=settings)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("way", WAYS)
def test_it_goes_on_as_one_that_keeps_everything(way: str, tmp_path: Path) -> None:
    ends = []
    for keep in ("everything", "digests"):
        imitator = begun(tmp_path / keep, way, keep)
        for t in range(15):
            step(imitator, way, t)
        crash(imitator)
        again = ConsensusImitator.resume(tmp_path / keep, tabular(), demonstrator, selection=RULE)
        for t in range(15, 30):
            step(again, way, t)
        ends.append(bits(again))
        again.close()
        assert replay(tmp_path / keep).exact
    assert ends[0] == ends[1]


@pytest.mark.parametrize("way", WAYS)
def test_own_steps_are_digests_and_queries_are_whole_also_after_resuming(way: str, tmp_path: Path) -> None:
    imitator = begun(tmp_path / "run", way)
    for t in range(20):
        step(imitator, way, t)
    crash(imitator)
    again = ConsensusImitator.resume(tmp_path / "run", tabular(), demonstrator, selection=RULE)
    for t in range(20, 40):
        step(again, way, t)
    again.close()
    own = waiting = 0
    for call in grouped(read(tmp_path / "run")):
        steps = [entry.record for entry in call if entry.record.kind in ("act", "ask")]
        asks = any(record.kind == "ask" for record in steps)
        for record in steps:
            own, waiting = own + (not asks), waiting + asks
            left_out = [record.log_probs is None, record.min_probs is None, record.packed is None]
            assert left_out == [not asks] * 3
            assert ("sha256:" in record.note) == (not asks)
            assert record.selected is not None
    assert own > 0
    assert waiting > 0


def test_the_likeliest_actions_are_named(tmp_path: Path) -> None:
    probs = np.array([[[0.0, 0.25, 0.75]]])
    imitator = ConsensusImitator(ensembles.tabular(probs), journal=Journal(tmp_path / "run", keep="digests"), seed=0)
    imitator.act(0)
    imitator.close()
    (own,) = [entry.record for entry in read(tmp_path / "run") if entry.record.kind == "act"]
    assert own.note.split()[1:] == ["2:0.75", "1:0.25"]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("way", WAYS)
def test_another_prediction_is_noticed_on_an_own_step(way: str, tmp_path: Path) -> None:
    """By the digest alone: what is drawn, who is selected, and how likely a question is stay the same."""
    num_envs = None if way == "single" else B

    def members(off: float) -> ensembles.Ensemble:
        def apply(params: jax.Array, observation: jax.Array) -> jax.Array:
            return params + jnp.array([off, -off, 0.0])

        return ensembles.stacked(apply, np.log(np.tile([0.25, 0.25, 0.5], (2, 1))), 3)

    settings = Journal(tmp_path / "run", keep="digests")
    imitator = ConsensusImitator(members(0.0), selection=TopK(2), seed=1, num_envs=num_envs, journal=settings)
    for t in range(4):
        step(imitator, way, t)
    crash(imitator)
    assert all(entry.record.kind in ("open", "act", "idle") for entry in read(tmp_path / "run"))
    with pytest.raises(ReplayError, match="predictions and decision"):
        ConsensusImitator.resume(tmp_path / "run", members(1e-6), selection=TopK(2))
    ConsensusImitator.resume(tmp_path / "run", members(0.0), selection=TopK(2)).close()


@pytest.mark.parametrize("way", WAYS)
def test_a_query_that_waits_and_one_that_was_answered_are_found_again(way: str, tmp_path: Path) -> None:
    imitator = begun(tmp_path / "run", way, checkpoint_every=1)
    given: list[tuple[Any, Any]] = []
    t = 0
    while len(given) < 3:
        seen = np.random.default_rng(t).integers(5, size=B)
        t += 1
        observation, env = (seen, None) if way == "lockstep" else (int(seen[0]), None if way == "single" else 0)
        decision = imitator.decide(observation, env=env)
        if np.any(decision.queried):
            answer = np.asarray(seen) * 7 % 3 if way == "lockstep" else demonstrator(observation)
            given.append((decision.query, answer))
            if len(given) < 3:
                imitator.answer(decision, answer)
    crash(imitator)
    again = ConsensusImitator.resume(tmp_path / "run", tabular(), demonstrator, selection=RULE)
    queries = again.num_queries
    again.answer(*given[0])
    assert again.num_queries == queries
    assert [one.query for one in again.pending] == [given[2][0]]
    again.answer(*given[2])
    again.close()
    assert replay(tmp_path / "run").exact


@pytest.mark.parametrize("make", [callables, both])
def test_members_in_python_need_everything(make: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r'keep="digests".*members in JAX'):
        ConsensusImitator(make(), demonstrator, journal=Journal(tmp_path / "run", keep="digests"))
    assert not (tmp_path / "run").exists()


def test_no_way_to_go_on_leaves_out_what_they_said(tmp_path: Path) -> None:
    ConsensusImitator(callables(), demonstrator, selection=RULE, journal=tmp_path / "run").close()
    settings: Any = Journal(tmp_path / "run", keep="digests")
    with pytest.raises(ConfigurationError, match=r'keep="digests".*members in JAX'):
        ConsensusImitator.resume(settings, callables(), demonstrator, selection=RULE)
    ConsensusImitator.resume(tmp_path / "run", callables(), demonstrator, selection=RULE).close()


def test_actions_without_numbers_need_everything(tmp_path: Path) -> None:
    members = fixed_gaussian([[0.0], [0.5]], [[0.0], [0.0]], -3.0, 3.0)
    with pytest.raises(ConfigurationError, match=r'keep="digests".*numbered actions'):
        SamplingImitator(members, journal=Journal(tmp_path / "run", keep="digests"))
    assert not (tmp_path / "run").exists()


def test_there_is_no_other_way_to_keep() -> None:
    with pytest.raises(ConfigurationError, match="keep of a journal must be one of everything, digests; got 'some'"):
        Journal("run", keep="some")  # type: ignore[arg-type]


def test_a_step_takes_little_room_however_many_actions_there_are(tmp_path: Path) -> None:
    size = {}
    probs = np.random.default_rng(0).dirichlet(np.ones(8000), (1, 1))
    for keep in ("everything", "digests"):
        settings: Any = Journal(tmp_path / keep, keep=keep)
        imitator = ConsensusImitator(ensembles.tabular(np.tile(probs, (4, 1, 1))), seed=0, journal=settings)
        for _ in range(20):
            imitator.act(0)
        imitator.close()
        size[keep] = (tmp_path / keep / "journal.sqlite").stat().st_size / 20
    assert size["everything"] > 4 * 6 * 8000
    assert size["digests"] < 4000


@pytest.mark.parametrize("kind", ["csv", "npz", "parquet", "minari"])
def test_it_is_exported_without_what_was_left_out(kind: str, tmp_path: Path) -> None:
    if kind in ("parquet", "minari"):
        pytest.importorskip({"parquet": "pyarrow"}.get(kind, kind))
    imitator = begun(tmp_path / "run", "lockstep", observations=True)
    for t in range(30):
        step(imitator, "lockstep", t)
    imitator.close()
    assert export(tmp_path / "run", tmp_path / f"out.{kind}", kind).exists()
    if kind == "npz":
        with np.load(tmp_path / "out.npz") as columns:
            own = np.array(["sha256" in text for text in columns["note"]])
            assert own.any()
            assert np.isnan(columns["log_probs"][columns["note_row"][own]]).all()
            asked = columns["kind"] == "ask"
            assert not np.isnan(columns["log_probs"][asked]).any()


@pytest.mark.parametrize("keep", ["everything", "digests"])
def test_records_that_wait_for_their_group_hold_what_was_so_at_their_step(keep: str, tmp_path: Path) -> None:
    """The environment writes into the same arrays again."""
    ends = []
    for group in (1, 50):
        place = tmp_path / str(group)
        imitator = begun(place, "lockstep", keep, group=group, observations=True)
        seen, active = np.zeros(B, np.int32), np.ones(B, bool)
        for t in range(30):
            seen[:], active[:] = (t + np.arange(B)) % 4, (t + np.arange(B)) % 3 > 0
            imitator.act(seen, active)
            seen[:], active[:] = 3, False
        ends.append(bits(imitator))
        imitator.close()
        found = [(entry.record.kind, entry.record.env, entry.record.observation) for entry in read(place)]
        ends.append(found)
        assert replay(place).exact
    assert ends[:2] == ends[2:]
    assert {env for kind, env, _ in ends[1] if kind == "act"} == set(range(B))
