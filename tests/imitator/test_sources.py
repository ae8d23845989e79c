"""Who an answer comes from goes with it through every entrance, to the members and into the journal."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Journal, Learner, Patience, SafeAction, TopK, ensembles
from consensus_imitation.core.members import PureEnsemble
from consensus_imitation.demonstrators import Demonstrator
from consensus_imitation.ensembles import Training
from consensus_imitation.errors import ConfigurationError, DemonstratorTimeoutError, InvalidAnswerError
from consensus_imitation.experiments.results import read_csv
from consensus_imitation.imitator.sampling import SamplingImitator
from consensus_imitation.journal.export import export
from consensus_imitation.journal.reader import reading
from consensus_imitation.journal.record import Record, Shapes, from_row, to_values

BY_SLOT, EVERYBODY = 8, 9


class Book(PureEnsemble):
    """Two members that withhold half, and note of each answer whose it is: learned is int32 [10], counts by owner."""

    num_members, num_actions, learns, reach = 2, 2, True, 1

    @property
    def prior(self) -> Any:
        return jnp.full(2, 0.5)

    def init_learned(self, key: Any) -> Any:
        return jnp.zeros(10, jnp.int32)

    def owners(self, learned: Any, sources: Sequence[Any], trusted: Any = False) -> Any:
        told = [BY_SLOT if source is None else len(str(source)) for source in sources]
        return np.where(trusted, EVERYBODY, told).astype(np.int32)

    def learn(self, learned: Any, carry: Any, observation: Any, answer: Any, log_probs: Any, owner: Any = None) -> Any:
        return learned.at[0 if owner is None else owner].add(1)

    def log_probs(self, carry: Any, observation: Any, context: Any) -> Any:
        return jnp.log(jnp.full((2, 2), 1e-9))


class Person(Demonstrator):
    """Answers 1, and names who did."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def __call__(self, observation: Any) -> int:
        return 1


class Shift(Demonstrator):
    """People that take turns: of each answer another one."""

    def __init__(self) -> None:
        self._turns = 0

    @property
    def source(self) -> Any:
        return "x" * self._turns

    def __call__(self, observation: Any) -> int:
        self._turns += 1
        return 1


def function(observation: Any) -> int:
    return 1


class Policy:
    """As Stable-Baselines3 has them."""

    source = "four"

    def predict(self, observation: Any) -> Any:
        return np.int64(1), None


def imitator(demonstrator: Any = None, **more: Any) -> ConsensusImitator:
    return ConsensusImitator(Book(), demonstrator, selection=TopK(2), seed=0, **more)


def noted(one: ConsensusImitator) -> dict[int, int]:
    """Counts by owner, those that are not zero."""
    counts = np.asarray(one.state.learned)
    return {owner: int(counts[owner]) for owner in np.flatnonzero(counts).tolist()}


def sources_in(path: Path) -> list[Any]:
    with reading(path) as store:
        return [entry.record.source for entry in store.entries() if entry.record.kind in ("answer", "safe", "takeover")]


def test_whoever_answers_in_act_may_name_it() -> None:
    named = lambda observation: 1  # noqa: E731 - a function that has an attribute
    named.source = "three"  # type: ignore[attr-defined]
    for demonstrator, expected in ((Person("ab"), 2), (named, 5), (Policy(), 4), (function, BY_SLOT), (Person(7), 1)):
        one = imitator(demonstrator)
        assert one.act(np.zeros(1)).queried
        assert noted(one) == {expected: 1}


def test_it_is_read_after_each_answer() -> None:
    one = imitator(Shift())
    for _ in range(3):
        one.act(np.zeros(1))
    assert noted(one) == {1: 1, 2: 1, 3: 1}


def test_so_it_is_in_threads_and_in_an_event_loop() -> None:
    one = imitator(Shift(), patience=Patience(timeout=60.0))
    one.act(np.zeros(1))
    assert noted(one) == {1: 1}
    other = imitator(Shift())
    asyncio.run(other.act_async(np.zeros(1)))
    assert noted(other) == {1: 1}


def test_nobody_is_the_source_of_a_safe_action(tmp_path: Path) -> None:
    def silent(observation: Any) -> int:
        raise DemonstratorTimeoutError("away")

    silent.source = "me"  # type: ignore[attr-defined]
    with imitator(silent, patience=Patience(then=SafeAction(0)), journal=tmp_path / "run") as one:
        assert one.act(np.zeros(1)).unanswered
        assert noted(one) == {}
    assert sources_in(tmp_path / "run") == [None]


def test_a_name_that_is_none_leaves_the_question_open() -> None:
    one = imitator(Person(1.5))
    with pytest.raises(ConfigurationError, match="a source must be a name"):
        one.act(np.zeros(1))
    assert len(one.pending) == 1
    assert noted(one) == {}


def test_answers_from_outside_name_it() -> None:
    one = imitator(Person("not asked"))
    decision = one.decide(np.zeros(1))
    one.answer(decision, 1, source="abc")
    # A repeat changes nothing, whoever it says it is from.
    one.answer(decision, 1, source="z")
    again = one.decide(np.zeros(1))
    one.answer(again.query, 0)
    assert noted(one) == {3: 1, BY_SLOT: 1}


def test_whoever_takes_over_names_it_or_is_the_demonstrator() -> None:
    one = imitator(Person("ab"))
    one.take_over(np.zeros(1), 1, learn=True)
    one.take_over(np.zeros(1), 1, learn=True, source="abcd")
    one.take_over(np.zeros(1), 1, source="abc")
    assert noted(one) == {2: 1, 4: 1}


def test_several_environments_have_a_source_each() -> None:
    one = imitator([Person("a"), Person("bb"), function], num_envs=3)
    one.act(np.zeros((3, 1)))
    one.act(np.zeros(1), env=1)
    assert noted(one) == {1: 1, 2: 2, BY_SLOT: 1}
    one.take_over(np.zeros(1), 1, env=0, learn=True)
    assert noted(one) == {1: 2, 2: 2, BY_SLOT: 1}
    decision = one.decide(np.zeros((3, 1)), active=np.array([True, False, True]))
    with pytest.raises(ConfigurationError, match="3 answers and 2 sources"):
        one.answer(decision, [1, 1, 1], source=["abc", "abc"])
    one.answer(decision, [1, 1, 1], source=["abc", "abcd", None])
    assert noted(one) == {1: 2, 2: 2, 3: 1, BY_SLOT: 2}
    one.answer(one.decide(np.zeros((3, 1))), [1, 1, 1], source="abcdef")
    assert noted(one)[6] == 3


def test_who_answered_before_somebody_failed_keeps_the_source() -> None:
    class Late(Person):
        failed = False

        def __call__(self, observation: Any) -> Any:
            if not self.failed:
                self.failed = True
                return 7
            return 1

    first = Shift()
    one = imitator([first, Late("abcd")], num_envs=2)
    with pytest.raises(InvalidAnswerError):
        one.act(np.zeros((2, 1)))
    one.act(np.zeros((2, 1)))
    assert noted(one) == {1: 1, 4: 1}


def test_recordings_name_one_or_many() -> None:
    for sources, trusted, expected in (
        (None, False, {BY_SLOT: 3}),
        ("abc", False, {3: 3}),
        (["a", None, 22], False, {1: 1, BY_SLOT: 1, 2: 1}),
        (np.array([5, 50, 500]), [False, True, False], {1: 1, EVERYBODY: 1, 3: 1}),
        ("abc", True, {EVERYBODY: 3}),
    ):
        one = imitator()
        one.pretrain(np.zeros((3, 1)), [0, 1, 1], sources=sources, trusted=trusted)
        assert noted(one) == expected


def test_the_core_takes_owners() -> None:
    learner = Learner(Book(), TopK(2))
    state = learner.init(jax.random.key(0), num_streams=2)
    seen = jnp.zeros((2, 1))

    @jax.jit
    def counts(owners: Any) -> Any:
        decisions = learner.decide_batch(state, seen)
        return learner.observe_batch(state, seen, decisions, jnp.array([1, 0]), owners=owners)[0].learned

    assert counts(jnp.array([3, 4]))[jnp.array([3, 4])].tolist() == [1, 1]
    assert int(counts(None)[0]) == 2


def story(one: ConsensusImitator) -> None:
    """Something at every entrance."""
    one.act(np.zeros(1))
    one.answer(one.decide(np.zeros(1)), 0, source='B "ü')
    one.take_over(np.zeros(1), 1, learn=True, source=12)
    one.act(np.zeros(1))


def test_the_journal_keeps_it_and_a_run_done_again_learns_the_same(tmp_path: Path) -> None:
    one = imitator(Shift(), journal=Journal(tmp_path / "run"))
    story(one)
    learned = noted(one)
    one._live.recorder.let_go()  # ends without a checkpoint
    assert sources_in(tmp_path / "run") == ["x", 'B "ü', 12, "xx"]
    with ConsensusImitator.resume(tmp_path / "run", Book(), function, selection=TopK(2)) as again:
        assert noted(again) == learned == {1: 1, 2: 2, 4: 1}


@pytest.mark.parametrize("format", ["csv", "npz", "parquet"])
def test_exports_say_it(tmp_path: Path, format: str) -> None:  # noqa: A002
    with imitator(Shift(), journal=Journal(tmp_path / "run")) as one:
        story(one)
    export(tmp_path / "run", out := tmp_path / f"out.{format}", format)
    if format == "csv":
        found = [row["source"] for row in read_csv(out) if row["kind"] in ("answer", "takeover")]
    elif format == "npz":
        with np.load(out) as arrays:
            found = arrays["source"][np.isin(arrays["kind"], ["answer", "takeover"])].tolist()
    else:
        table = pytest.importorskip("pyarrow.parquet").read_table(out).to_pylist()
        found = [row["source"] for row in table if row["kind"] in ("answer", "takeover")]
    assert [str(source) for source in found] == ["x", 'B "ü', "12", "xx"]


@pytest.mark.slow
def test_networks_go_on_to_the_bit_from_journal_file_and_state(tmp_path: Path) -> None:
    training = Training(bootstrap="partition", batch_size=2, updates=1, every=2, temperature=True)
    members = ensembles.mlp((1,), 2, num_members=2, hidden=(3,), training=training)
    rules: dict[str, Any] = {"selection": TopK(2)}

    def go_on(one: ConsensusImitator) -> list[bytes]:
        for i in range(4):
            one.take_over([0.2 * i], i % 2, learn=True, source=(None, "b", 3, "d")[i])
        learned = one.state.learned
        kept = [np.asarray(leaf) for replay in learned.replay for leaf in (replay.inputs, replay.answers)]
        leaves = jax.tree.leaves((learned.params, learned.optimizer, learned.temperature, learned.shares))
        return [np.asarray(leaf).tobytes() for leaf in [*leaves, *kept]]

    one = ConsensusImitator(members, Person("a"), seed=3, journal=tmp_path / "run", **rules)
    one.pretrain([[0.1], [0.7], [0.3]], [0, 1, 0], sources=["u", None, 1], trusted=[False, False, True])
    for i in range(6):
        one.take_over([0.1 * i], i % 2, learn=True, source=("a", "b", None)[i % 3])
    state = one.state
    one.save(tmp_path / "file")
    one._live.recorder.let_go()
    expected = go_on(ConsensusImitator.from_state(state, members, **rules))
    assert go_on(ConsensusImitator.load(tmp_path / "file", members, **rules)) == expected
    with ConsensusImitator.resume(tmp_path / "run", members, **rules) as resumed:
        assert go_on(resumed) == expected
    other = ensembles.mlp((1,), 2, num_members=2, hidden=(3,), training=Training(batch_size=2, updates=1, every=2))
    with pytest.raises(ConfigurationError, match="other members"):
        ConsensusImitator.resume(tmp_path / "run", other, **rules)


@pytest.mark.parametrize("mask", [None, np.array([True, False])], ids=["no mask", "mask"])
@pytest.mark.parametrize("source", [None, 0, 7, "a", "two words", 'mask:"source:', "ü%20"])
def test_a_record_is_read_as_it_was_written(source: Any, mask: Any) -> None:
    for note in ("", "lockstep", "learned"):
        shapes = Shapes(2, 2)
        record = Record(kind="answer", source=source, note=note, action_mask=mask, action=1)
        read = from_row((1, 1, 1, "", *to_values(record, shapes), b""), shapes).record
        assert (read.source, read.note) == (source, note)
        assert np.array_equal(read.action_mask, mask) if mask is not None else read.action_mask is None
    with pytest.raises(ConfigurationError, match="cannot begin with"):
        to_values(Record(kind="answer", note="source:1"), Shapes(2, 2))


def test_members_that_divide_are_not_for_actions_without_numbers() -> None:
    networks = ensembles.mlp((1,), 2, num_members=2, training=Training(bootstrap="partition"))
    with pytest.raises(ConfigurationError, match="are for ConsensusImitator"):
        SamplingImitator(networks, selection=TopK(2))
