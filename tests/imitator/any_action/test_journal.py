"""A run over any action space that is written down: it comes back to the same bits, or is refused."""

import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Journal, TopK, ensembles
from consensus_imitation.core._packing import unpack
from consensus_imitation.ensembles.any_action import from_functions, gaussian
from consensus_imitation.errors import (
    ConfigurationError,
    InvalidAnswerError,
    JournalCorruptedError,
    JournalError,
    JournalWriteError,
    LockedError,
    ObservationError,
    PendingQueryError,
    ReplayError,
    StaleAnswerError,
    WrongQueryError,
)
from consensus_imitation.imitator import SamplingImitator
from consensus_imitation.journal import _disk, _new_file
from consensus_imitation.journal import store as store_module
from consensus_imitation.journal.reader import reading
from consensus_imitation.journal.recovery import examine
from tests.imitator.probe import checkpoint, crash
from tests.journal.faults import faults

from .journals import SEEN, B, again, bits, kept, make, script, told
from .test_imitator import ENSEMBLE, GAINS, RULE, expert, proportional, until_query


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for the disk: here nothing but the process can die."""
    monkeypatch.setattr(_new_file, "_PRAGMAS", ("journal_mode = PERSIST", "synchronous = OFF"))
    monkeypatch.setattr(_disk, "sync", lambda descriptor: None)


@pytest.mark.parametrize("num_envs", [None, B])
def test_a_journal_changes_nothing(num_envs: int | None, tmp_path: Path) -> None:
    said, after = kept(tmp_path / "run", num_envs)
    one = make(None, num_envs)
    assert [call(one) for call in script(num_envs)] == said
    assert bits(one)[:-1] == after[-1][:-1]
    asked = [what for what in said if what is not None and what[3][0]]
    assert 5 < len(asked) < len(said)


@pytest.mark.quick_cases(1)
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("checkpoint_every", [5, 1000])
@pytest.mark.parametrize("num_envs", [None, B])
def test_at_every_boundary_of_a_record_it_comes_back_to_the_same_bits_and_goes_on_the_same(
    num_envs: int | None, checkpoint_every: int, tmp_path: Path
) -> None:
    said, after = kept(tmp_path / "run", num_envs, tmp_path / "copies", checkpoint_every=checkpoint_every)
    calls = script(num_envs)
    for number in range(len(calls) + 1):
        with again(tmp_path / "copies" / str(number)) as one:
            assert bits(one) == after[number]
            for place in range(number, min(number + 4, len(calls))):
                assert calls[place](one) == said[place]
                assert bits(one) == after[place + 1]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("num_envs", [None, B])
def test_from_its_beginning_too(num_envs: int | None, tmp_path: Path) -> None:
    _, after = kept(tmp_path / "run", num_envs, observations=True, checkpoint_every=7)
    for file in (tmp_path / "run" / "checkpoints").iterdir():
        file.unlink()
    with again(tmp_path / "run") as one:
        assert bits(one) == after[-1]
        assert any("checkpoint" in line or "not used" in line for line in one.repairs) or one.repairs == ()


@pytest.mark.usefixtures("quick")
def test_a_torn_end_of_the_file_is_cut_back_or_refused(tmp_path: Path) -> None:
    """The file ends at many places within what was written last, with what comes before or after whole."""
    path = tmp_path / "run"
    one = make(path)
    calls = script(None)
    for call in calls[:10]:
        call(one)
    before = bits(one)
    shutil.copytree(path, tmp_path / "before")
    next(call for call in calls[10:] if call(one) is not None)
    crash(one)
    whole = (path / "journal.sqlite").read_bytes()
    shorter = (tmp_path / "before" / "journal.sqlite").read_bytes()
    outcomes: set[str] = set()
    places = [place for place in range(min(len(whole), len(shorter))) if whole[place] != shorter[place]]
    for number, cut in enumerate([1, 17, 512, 1000, 4095, 4096, 4097, 9000, *(0 for _ in range(8))]):
        copy = tmp_path / str(number)
        shutil.copytree(path, copy)
        data = whole[: len(whole) - cut]
        if cut == 0:  # a part of the last call reached the file, and a part did not
            middle = places[len(places) * (number - 7) // 10]
            data = whole[:middle] + shorter[middle:]
        (copy / "journal.sqlite").write_bytes(data)
        try:
            with again(copy) as resumed:
                assert bits(resumed) in (before, bits(one))
                outcomes.add("cut back" if resumed.repairs else "whole")
        except JournalCorruptedError:
            outcomes.add("refused")
    assert outcomes & {"cut back", "refused"}


KILLED = """
import os, signal, sys
from tests.imitator.any_action.journals import make, script
from consensus_imitation.journal import _disk as disk
one = make(sys.argv[1])
for call in script(None)[:6]:
    call(one)
print(one.num_steps, one.num_queries, len(one.pending), flush=True)
real, left = disk.execute, int(sys.argv[2])
def killed(connection, sql, values=()):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(connection, sql, values)
disk.execute = killed
while True:
    for call in script(None)[:3]:
        call(one)
"""


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("at", [1, 2, 3, 5])
def test_a_process_that_is_killed_while_it_writes_loses_nothing_acknowledged(at: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "run"), str(at)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == -9, done.stderr
    steps, queries, _ = (int(word) for word in done.stdout.split())
    with again(tmp_path / "run") as one:
        assert steps <= one.num_steps <= steps + 3
        assert queries <= one.num_queries <= queries + 3
        like = make(None)
        for call in script(None)[:6]:
            call(like)
        if one.num_steps == steps and len(one.pending) == len(like.pending):
            assert bits(one)[:-1] == bits(like)[:-1]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("num_envs", [None, 2])
def test_what_members_remember_comes_back_with_the_questions_that_wait(num_envs: int | None, tmp_path: Path) -> None:
    """Members with memory, with checkpoints before and after questions are posed."""
    remembering = gaussian(
        lambda gain, memory, x: (-gain * (x + 0.1 * memory), jnp.full(2, -1.5)),
        GAINS,
        [-2.0, -2.0],
        [2.0, 2.0],
        carry=jnp.zeros((3, 2)),
        update=lambda gain, memory, x, action, queried: 0.5 * memory + action,
    )
    settings = Journal(tmp_path / "run", checkpoint_every=2)
    options: dict[str, Any] = {"selection": RULE, "seed": 4, "num_envs": num_envs}
    one = SamplingImitator(remembering, journal=settings, **options)
    two = SamplingImitator(remembering, **options)
    envs = [None] if num_envs is None else [1, 0]
    for t in range(10):
        for env in envs:
            assert told(one.decide(SEEN[t], env)) == told(two.decide(SEEN[t], env))
        crash(one)
        one = SamplingImitator.resume(tmp_path / "run", remembering, selection=RULE)
        assert len(one.pending) == len(two.pending)
        for mine, other in zip(one.pending, two.pending, strict=True):
            answer = expert(SEEN[t])
            assert told(one.answer(mine, answer)) == told(two.answer(other, answer))
        assert bits(one)[:-1] == bits(two)[:-1]
    assert one.num_queries > 3
    assert np.any(np.asarray(jax.tree.leaves(one.state.stream.carry)[0]) != 0)
    one.close()


# --- what cannot be written is not done ---


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_step_that_cannot_be_written_is_not_acted_on(after: bool, tmp_path: Path) -> None:
    """Every call that changes the disk fails in turn, before or after it has done its work."""

    class Told:
        def __init__(self) -> None:
            self.actions: list[Any] = []

        def __call__(self, observation: Any) -> Any:
            return expert(observation)

        def observe(self, action: Any, who: str) -> None:
            self.actions.append(action)

    for at in range(200):
        one = make(tmp_path / str(at), demonstrator=Told())
        given: list[Any] = []
        with faults(at, after=after) as found, suppress(JournalWriteError):
            given.extend(told(one.act(x)) for x in SEEN[:3])
        if not found.struck:
            assert at > 10
            one.close()
            break
        with pytest.raises(JournalWriteError):
            one.act(SEEN[5])
        with pytest.raises(JournalWriteError):
            one.decide(SEEN[5])
        crash(one)
        with again(tmp_path / str(at)) as resumed:
            # What was given out is there; of what was not, one call at most.
            assert len(given) <= resumed.num_steps <= len(given) + 1
            assert examine(tmp_path / str(at) / "journal.sqlite").sound
    else:
        raise AssertionError("there is no end")


def test_a_closed_imitator_takes_no_step(tmp_path: Path) -> None:
    one = make(tmp_path / "run")
    one.close()
    one.close()
    for call in (one.decide, one.act):
        with pytest.raises(JournalError, match=r"closed: go on with its run by SamplingImitator\.resume\("):
            call(SEEN[0])


def test_one_writer(tmp_path: Path) -> None:
    with make(tmp_path / "run"), pytest.raises(LockedError):
        again(tmp_path / "run")
    with pytest.raises(JournalError, match=r"holds a run already: go on with it by SamplingImitator\.resume\("):
        make(tmp_path / "run")


# --- questions ---


def test_a_question_that_waits_is_asked_again_or_answered_from_afar(tmp_path: Path) -> None:
    with make(tmp_path / "run") as one:
        decision = until_query(one)
    with again(tmp_path / "run") as two:
        (waiting,) = two.pending
        assert told(waiting) == told(decision)
        assert waiting.query == decision.query
        with pytest.raises(PendingQueryError):
            make_other_step(two, decide=True)
        closed = two.answer(decision.query, expert([1.5, 1.5]))
        assert closed.action.tobytes() == np.float32(expert([1.5, 1.5])).tobytes()
    with again(tmp_path / "run") as three:
        # What is remembered no more is read from the journal; the same answer again changes nothing.
        assert told(three.answer(decision.query, expert([1.5, 1.5]))) == told(closed)
        with pytest.raises(StaleAnswerError):
            three.answer(decision.query, [0.0, 0.0])
        with pytest.raises(WrongQueryError):
            three.answer(type(decision.query)(three.run, 999, "", None, 0), [0.0, 0.0])


def make_other_step(imitator: SamplingImitator, decide: bool) -> Any:
    return (imitator.decide if decide else imitator.act)(np.zeros(2, np.float32))


def test_act_asks_again_about_the_very_observation_and_another_has_to_wait(tmp_path: Path) -> None:
    x = np.full(2, 1.5, np.float32)
    with make(tmp_path / "run") as one:
        decision = until_query(one)
    with again(tmp_path / "run") as two:
        closed = two.act(x)
        assert closed.query == decision.query
        assert two.num_queries == 1
        waiting = until_query(two)
    with again(tmp_path / "run") as three:
        agreed = np.zeros(2, np.float32)  # of which nobody would ask
        with pytest.raises(PendingQueryError):
            three.act(agreed)
        three.withdraw(waiting)
        other = three.act(agreed)
        assert other.queried
        assert other.query_prob_estimate == 1
        assert other.query.id == waiting.query.id + 1
        with pytest.raises(StaleAnswerError, match="withdrawn"):
            three.answer(waiting.query, [0.0, 0.0])


@pytest.mark.parametrize("num_envs", [None, B])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_after_a_withdrawal_it_asks_also_when_it_is_resumed(
    checkpointed: bool, num_envs: int | None, tmp_path: Path
) -> None:
    env = None if num_envs is None else 1
    one = make(tmp_path / "run", num_envs)
    while not (decision := one.decide(np.full(2, 1.5, np.float32), env)).queried:
        pass
    one.withdraw(decision)
    with pytest.raises(StaleAnswerError):
        one.withdraw(decision.query)
    if checkpointed:
        checkpoint(one)
    crash(one)
    agreed = np.zeros(2, np.float32)
    with again(tmp_path / "run") as two:
        assert two.pending == ()
        with pytest.raises(StaleAnswerError, match="withdrawn"):
            two.answer(decision.query, [0.0, 0.0])
        if env is not None:
            assert not two.decide(agreed, 0).queried  # the others act
        asked = two.decide(agreed, env)
        assert asked.queried
        two.answer(asked, [0.0, 0.0])
        assert not two.decide(agreed, env).queried


def test_a_step_of_which_the_demonstrator_cannot_be_told_is_spent_and_so_it_stays(tmp_path: Path) -> None:
    class Deaf:
        def __call__(self, observation: Any) -> Any:
            return expert(observation)

        def observe(self, action: Any, who: str) -> None:
            raise RuntimeError("deaf")

    one = make(tmp_path / "run", demonstrator=Deaf())
    with pytest.raises(RuntimeError, match="deaf"):
        one.act(np.zeros(2, np.float32))
    crash(one)
    with again(tmp_path / "run") as two:
        assert two.num_steps == 0
        assert two.decide(np.zeros(2, np.float32)).queried


# --- bits of actions ---

ODD = {
    "negative zero": lambda: (jnp.array([-0.0, 0.0, -1.5], jnp.float32), [-0.0, 0.0, 2.5]),
    "no axis": lambda: (jnp.float32(-0.0), -0.0),
    "half": lambda: (jnp.array([[-0.0], [0.1]], jnp.float16), np.array([[-0.0], [0.1]], np.float16)),
    "bfloat16": lambda: (jnp.array([0.1, -0.0], jnp.bfloat16), [0.5, -0.0]),
    "integers": lambda: (jnp.array([-5, 127], jnp.int8), [1, -128]),
    "nested": lambda: (
        {
            "arm": {"angle": jnp.float32(-0.0), "grip": jnp.array([1, 0], jnp.int32)},
            "legs": (jnp.ones((2, 1)), [jnp.uint8(3)]),
        },
        {"arm": {"angle": -0.0, "grip": [0, 1]}, "legs": ([[0.25], [-0.0]], [7])},
    ),
    "nothing in it": lambda: ((jnp.zeros((0, 2)), jnp.float32(1.0)), (np.zeros((0, 2)), -0.0)),
}


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("case", ODD.values(), ids=ODD.keys())
def test_every_bit_of_an_action_is_kept(case: Any, tmp_path: Path) -> None:
    """Members that do the same always, but that one of them objects to half of the proposals."""
    proposed, answered = case()
    ensemble = from_functions(
        sample=lambda own, seen, key: proposed,
        log_prob=lambda own, seen, action: own * (seen - 0.5),
        params=jnp.array([0.0, -1.0]),
    )
    with SamplingImitator(ensemble, lambda seen: answered, selection=TopK(2), seed=0, journal=tmp_path / "run") as one:
        taken = [one.act(np.float32(t % 2)) for t in range(12)]
    assert {decision.queried for decision in taken} == {True, False}
    assert all(np.asarray(leaf).flags.writeable is False for leaf in jax.tree.leaves(taken[0].action))
    with reading(tmp_path / "run") as reader:
        written = [unpack(entry.record.action) for entry in reader.entries() if entry.record.action is not None]
    assert len(written) == 12
    for decision, action in zip(taken, written, strict=True):
        assert jax.tree.structure(decision.action) == jax.tree.structure(action)
        for one_leaf, other in zip(jax.tree.leaves(decision.action), jax.tree.leaves(action), strict=True):
            assert (one_leaf.dtype, one_leaf.shape) == (other.dtype, other.shape)
            assert one_leaf.tobytes() == other.tobytes()
    with SamplingImitator.resume(tmp_path / "run", ensemble, selection=TopK(2)) as two:
        assert bits(two) == bits(one)
        first = next(decision for decision in taken if decision.queried)
        assert told(two.answer(first.query, answered))[0] == told(first)[0]


def test_numbers_of_64_bits_are_kept_where_jax_uses_them(tmp_path: Path) -> None:
    code = """
import sys
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp, numpy as np
from consensus_imitation import TopK
from consensus_imitation.core._packing import unpack
from consensus_imitation.ensembles.any_action import from_functions
from consensus_imitation.imitator import SamplingImitator
from consensus_imitation.journal.reader import reading
from pathlib import Path
members = from_functions(
    sample=lambda own, seen, key: jax.random.normal(key, (2,), jnp.float64) + own,
    log_prob=lambda own, seen, action: -jnp.sum((action - own) ** 2),
    params=jnp.array([0.0, 0.1], jnp.float64),
)
with SamplingImitator(members, lambda seen: [0.1, -0.0], selection=TopK(2), seed=0, journal=sys.argv[1]) as one:
    taken = [one.act(0.0).action for _ in range(20)]
assert {action.dtype for action in taken} == {np.dtype(np.float64)}
assert 0 < one.num_queries < 20
with reading(Path(sys.argv[1])) as reader:
    kept = [unpack(e.record.action) for e in reader.entries() if e.record.action is not None]
assert [a.tobytes() for a in kept] == [a.tobytes() for a in taken]
two = SamplingImitator.resume(sys.argv[1], members, selection=TopK(2))
assert two.num_steps == 20 and (two.weights == one.weights).all()
"""
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_no_number_is_no_answer_and_is_not_written(tmp_path: Path) -> None:
    with make(tmp_path / "run") as one:
        decision = until_query(one)
        before = bits(one)
        payload = np.array([0x7FC01234, 0], np.uint32).view(np.float32)
        for nothing in (payload, [np.inf, 0.0], [np.nan, 0.0]):
            with pytest.raises(InvalidAnswerError):
                one.answer(decision, nothing)
        assert bits(one) == before
    with again(tmp_path / "run") as two:
        assert bits(two) == before


def test_observations_of_any_bits_come_back(tmp_path: Path) -> None:
    """NaN with a payload and -0.0 in what is observed: the members are shown the same again."""
    ensemble = from_functions(
        sample=lambda own, seen, key: own + jax.random.normal(key),
        log_prob=lambda own, seen, action: -((action - own) ** 2) * jnp.nan_to_num(1 + seen["x"][0]),
        params=jnp.array([0.0, 0.3]),
    )
    odd = {"x": np.array([0x80000000, 0x7FC01234], np.uint32).view(np.float32), "n": 3}
    with SamplingImitator(ensemble, lambda seen: 0.1, selection=TopK(2), seed=0, journal=tmp_path / "run") as one:
        buffer = {"x": odd["x"].copy(), "n": 3}
        for _ in range(6):
            one.decide(buffer) if not one.pending else one.answer(one.pending[0], 0.1)
            buffer["x"][...] = 7.0  # the environment writes into its own array
            buffer["x"][...] = odd["x"]
        crashed = bits(one)
    with SamplingImitator.resume(tmp_path / "run", ensemble, selection=TopK(2)) as two:
        assert bits(two) == crashed


# --- several environments ---


def test_environments_go_on_by_themselves_and_answers_come_in_any_order() -> None:
    one = make(None, B)
    asked = {}
    for env in range(B):
        while not (decision := one.decide(np.full(2, 1.5, np.float32), env)).queried:
            pass
        asked[env] = decision
        assert decision.env == decision.query.env == env
    assert [waiting.env for waiting in one.pending] == [0, 1, 2]
    for env in (2, 0):
        closed = one.answer(asked[env].query, expert([1.5, 1.5]))
        assert closed.env == env
        with pytest.raises(PendingQueryError, match="of environment 1"):
            one.decide(SEEN[0], 1)
        one.decide(np.zeros(2, np.float32), env)
    one.answer(asked[1], expert([1.5, 1.5]))
    assert one.num_queries == 3


def test_environments_draw_by_keys_of_their_own_and_share_the_posterior() -> None:
    one = make(None, B)
    keys = (
        np.asarray(jax.random.key_data(one.state.stream.key)),
        np.asarray(jax.random.key_data(one.state.stream.proposals)),
    )
    assert all(len({tuple(key) for key in part.tolist()}) == B for part in keys)
    for x in SEEN[:10]:
        for env in range(B):
            one.act(x, env)
    after = (
        np.asarray(jax.random.key_data(one.state.stream.key)),
        np.asarray(jax.random.key_data(one.state.stream.proposals)),
    )
    for then, now in zip(keys, after, strict=True):
        np.testing.assert_array_equal(then, now)
    assert one.state.stream.step.tolist() == [10] * B
    assert int(one.state.stream.queries.sum()) == one.num_queries > 0
    assert one.query_rate == one.num_queries / (10 * B)


def test_members_are_asked_about_an_answer_with_what_they_were_shown() -> None:
    """Members whose densities depend on the posterior: answers elsewhere in between do not change a question."""
    shown: list[Any] = []

    class Watching(type(ENSEMBLE)):
        def log_prob(self, carry: Any, observation: Any, context: Any, action: Any) -> Any:
            jax.debug.callback(lambda weights: shown.append(np.array(weights)), context.log_weights)
            return super().log_prob(carry, observation, context, action)

    names = {field: getattr(ENSEMBLE, field) for field in ENSEMBLE.__dataclass_fields__}
    one = SamplingImitator(Watching(**names), selection=RULE, seed=4, num_envs=2)
    waiting = []
    for env in range(2):
        while not (decision := one.decide(np.full(2, 1.5, np.float32), env)).queried:
            pass
        waiting.append(decision)
    then = np.asarray(one.state.posterior.log_weights).copy()
    one.answer(waiting[0], expert([1.5, 1.5]))
    now = np.asarray(one.state.posterior.log_weights)
    assert not np.array_equal(then, now)
    jax.effects_barrier()
    shown.clear()
    one.answer(waiting[1], expert([1.5, 1.5]))
    jax.effects_barrier()
    np.testing.assert_array_equal(shown[0], then)


def test_a_demonstrator_for_each_environment() -> None:
    calls: list[int] = []

    def of(env: int) -> Any:
        return lambda seen: calls.append(env) or expert(seen)

    one = make(None, B, [of(env) for env in range(B)])
    while one.num_queries < 5:
        for env in (2, 0):
            one.act(np.full(2, 1.5, np.float32), env)
    assert set(calls) == {0, 2}


# --- what is refused ---


class Pair(NamedTuple):
    """An action of a kind of its own."""

    x: Any
    y: Any


def named_pairs() -> Any:
    return from_functions(
        sample=lambda own, seen, key: Pair(own, own), log_prob=lambda own, seen, action: own, params=jnp.zeros(2)
    )


def test_what_cannot_be_written_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    pairs = SamplingImitator(named_pairs(), selection=TopK(2), seed=0, journal=tmp_path / "pairs")
    with pytest.raises(ConfigurationError, match="a journal keeps"):
        pairs.decide(0.0)
    assert pairs.num_steps == 0
    pairs.close()
    assert SamplingImitator(named_pairs(), selection=TopK(2), seed=0).decide(0.0).action == Pair(0.0, 0.0)
    agreed = from_functions(lambda own, seen, key: own, lambda own, seen, action: own * seen.x, jnp.zeros(2))
    with SamplingImitator(agreed, selection=TopK(2), seed=0, journal=tmp_path / "run") as one:
        before = bits(one)
        with pytest.raises(ObservationError, match="cannot be recorded"):
            one.decide(Pair(np.float32(1), np.float32(2)))
        assert bits(one) == before


REFUSED = {
    "no environment is named": (lambda path: make(None, B).decide(SEEN[0]), "say which of the 3 environments"),
    "act without a name": (lambda path: make(None, B).act(SEEN[0]), "say which of the 3 environments"),
    "there is only one": (lambda path: make(None).decide(SEEN[0], 0), "there is no environment 0"),
    "too many": (lambda path: make(None, B).decide(SEEN[0], B), "there is no environment 3"),
    "none at all": (lambda path: make(None, 0), "num_envs must be at least 1"),
    "half a one": (lambda path: make(None, 1.5), "num_envs must be an integer"),  # type: ignore[arg-type]
    "demonstrators": (lambda path: make(None, B, [expert]), "one demonstrator per environment"),
    "journal": (lambda path: make(5), "journal must be a directory"),
    "rule": (lambda path: again(path, selection=TopK(2)), "of other members or rules"),
    "members": (
        lambda path: again(path, ensemble=gaussian(proportional, GAINS * 2, [-2.0, -2.0], [2.0, 2.0])),
        "of other members or rules: members",
    ),
    "prior": (lambda path: again(path, ensemble=ENSEMBLE.replace(prior=jnp.array([0.5, 0.25, 0.25]))), "prior"),
    "the other shell": (
        lambda path: ConsensusImitator.resume(path, ensembles.tabular(np.full((3, 1, 2), 0.5)), selection=TopK(3)),
        r"holds a run of SamplingImitator: go on with it by SamplingImitator\.resume\(",
    ),
    "of the other shell": (
        lambda path: again(path.with_name("numbered")),
        r"holds a run of ConsensusImitator: go on with it by ConsensusImitator\.resume\(",
    ),
    "another kind of state": (
        lambda path: SamplingImitator.from_state(
            halved(make(None).state), ENSEMBLE, selection=RULE, journal=path.with_name("halved")
        ),
        "other types",
    ),
}


def halved(state: Any) -> Any:
    posterior = state.posterior
    return state.replace(posterior=posterior.replace(residual=posterior.residual.astype(jnp.float16)))


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_go_together_is_refused(name: str, tmp_path: Path) -> None:
    call, match = REFUSED[name]
    with make(tmp_path / "run") as one:
        one.act(SEEN[0])
    numbered = ensembles.tabular(np.full((3, 1, 2), 0.5))
    ConsensusImitator(numbered, selection=TopK(3), seed=0, journal=tmp_path / "numbered").close()
    with pytest.raises(ConfigurationError, match=match):
        call(tmp_path / "run")
    # And nobody holds the directory now.
    again(tmp_path / "run").close()


def test_a_state_goes_on_in_a_journal_of_its_own(tmp_path: Path) -> None:
    one = make(None, B)
    for x in SEEN[:6]:
        for env in range(B):
            one.act(x, env)
    with SamplingImitator.from_state(one.state, ENSEMBLE, expert, selection=RULE, journal=tmp_path / "run") as two:
        for x in SEEN[6:10]:
            for env in range(B):
                assert told(one.act(x, env))[:3] == told(two.act(x, env))[:3]
    with again(tmp_path / "run") as three:
        assert bits(three) == bits(two)


# --- controls ---


def test_members_that_compute_otherwise_are_noticed(tmp_path: Path) -> None:
    """Same arrays, other code: what files cannot tell, the replay does."""
    one = make(tmp_path / "run")
    for x in SEEN[:5]:
        one.act(x)
    crash(one)

    def other(gain: jax.Array, x: jax.Array) -> Any:
        return -gain * x, jnp.full(2, -1.4)

    changed = gaussian(other, GAINS, [-2.0, -2.0], [2.0, 2.0])
    with pytest.raises(ReplayError, match="comes out otherwise now"):
        again(tmp_path / "run", ensemble=changed)


@pytest.mark.parametrize("what", ["action", "answer", "densities", "draw", "decision"])
def test_a_record_that_says_otherwise_is_noticed(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written with checksums that fit: one bit of one record is another."""
    real = store_module.to_values

    def forged(record: Any, shapes: Any) -> Any:
        kind = {"answer": "answer", "action": "act"}.get(what, record.kind)
        if record.step == 2 and record.kind == kind:
            if what in ("action", "answer") and record.action is not None:
                flipped = bytearray(record.action)
                flipped[-1] ^= 1
                record = replace(record, action=bytes(flipped))
            elif what == "densities" and record.log_probs is not None:
                record = replace(record, log_probs=np.nextafter(record.log_probs, np.float32(9)))
            elif what == "draw" and record.draw is not None:
                record = replace(record, draw=record.draw / 2)
            elif what == "decision" and record.kind in ("act", "ask"):
                record = replace(record, packed=record.packed + np.float32(1e-3))
        return real(record, shapes)

    monkeypatch.setattr(store_module, "to_values", forged)
    x = np.full(2, 1.5, np.float32) if what == "answer" else np.zeros(2, np.float32)
    one = make(tmp_path / "run")
    while one.num_steps < 6:
        if what == "answer" and one.num_steps == 2:
            one.withdraw(until_query(one))  # so that this step is a query for certain
        one.act(x)
    crash(one)
    with pytest.raises(ReplayError, match="comes out otherwise now"):
        again(tmp_path / "run")


def test_without_a_forgery_the_same_run_is_resumed(tmp_path: Path) -> None:
    one = make(Journal(tmp_path / "run"))
    for _ in range(6):
        one.act(np.zeros(2, np.float32))
    crash(one)
    again(tmp_path / "run").close()
