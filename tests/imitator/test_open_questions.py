"""A question stays a question: after one that got no answer, its environment asks until it gets one.

The random number that said "ask" is spent. Used once more on another observation it lies in a known region, so that an
action which every member gives .02 is taken each time; and with a fresh number, whoever controls silence could draw
again until the imitator acts.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, InflationBudget, Learner, Patience, SafeAction, TopK, ensembles
from consensus_imitation.errors import DemonstratorTimeoutError, InvalidAnswerError, StaleAnswerError
from tests.imitator import probe

#: At observation 0 they disagree, at 1 not at all.
PROBS = np.array([[[0.9, 0.1], [0.02, 0.98]], [[0.1, 0.9], [0.02, 0.98]]])
MEMBERS = ensembles.tabular(PROBS)
#: At observation 0 they hardly disagree.
FAINT = ensembles.tabular(np.array([[[0.5, 0.5], [0.02, 0.98]], [[0.52, 0.48], [0.02, 0.98]]]))
SEEDS = range(400)


class AwayError(Exception):
    """The demonstrator cannot be reached."""


def raises(observation: Any) -> int:
    raise AwayError


def silent(observation: Any) -> int:
    raise TimeoutError


async def hangs(observation: Any) -> int:
    await asyncio.Event().wait()
    return 1


def make(demonstrator: Any = None, seed: int = 0, members: Any = MEMBERS, **more: Any) -> ConsensusImitator:
    return ConsensusImitator(members, demonstrator, **{"selection": TopK(2), "seed": seed, **more})


def cancelled(imitator: ConsensusImitator, observation: Any, **more: Any) -> bool:
    async def main() -> bool:
        task = asyncio.create_task(imitator.act_async(observation, **more))
        while not task.done() and not imitator.pending:
            await asyncio.sleep(0)
        if task.done():
            return False
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return True

    return asyncio.run(main())


def acted(error: type[BaseException]) -> Callable[..., bool]:
    def act(imitator: ConsensusImitator, observation: Any, **more: Any) -> bool:
        try:
            imitator.act(observation, **more)
        except error:
            return True
        return False

    return act


def interrupted(observation: Any) -> int:
    raise KeyboardInterrupt


#: Ways in which a question gets no answer: the demonstrator; patience; whether a step was a question.
WAYS: dict[str, tuple[Any, Patience | None, Callable[..., bool]]] = {
    "it raises": (raises, None, acted(AwayError)),
    "it gives no action": (lambda observation: 7, None, acted(InvalidAnswerError)),
    "it is silent": (silent, Patience(timeout=60.0), acted(DemonstratorTimeoutError)),
    "there is none": (None, None, acted(Exception)),
    "it is interrupted": (interrupted, None, acted(KeyboardInterrupt)),
    "it is cancelled": (hangs, None, cancelled),
}


def same(imitator: ConsensusImitator) -> ConsensusImitator:
    return imitator


def from_its_state(imitator: ConsensusImitator) -> ConsensusImitator:
    return ConsensusImitator.from_state(imitator.state, MEMBERS, selection=TopK(2))


def restored(imitator: ConsensusImitator) -> ConsensusImitator:
    imitator.restore(imitator.state)
    return imitator


def restored_by_another(imitator: ConsensusImitator) -> ConsensusImitator:
    other = make(num_envs=imitator.num_envs)
    other.restore(imitator.state)
    return other


def gone_back(imitator: ConsensusImitator) -> ConsensusImitator:
    imitator.restore(make(num_envs=imitator.num_envs).state)
    return imitator


def next_episode(imitator: ConsensusImitator) -> ConsensusImitator:
    imitator.begin_episode()
    return imitator


def taught(imitator: ConsensusImitator) -> ConsensusImitator:
    imitator.pretrain([0], [1])
    return imitator


def ruled_anew(imitator: ConsensusImitator) -> ConsensusImitator:
    imitator.aggregation = imitator.aggregation
    return imitator


#: What may be done before the next step.
BETWEEN = [same, from_its_state, restored, restored_by_another, gone_back, next_episode, taught, ruled_anew]


def unanswered(way: str, seed: int = 0, **more: Any) -> ConsensusImitator:
    """An imitator whose question at observation 0 got no answer."""
    demonstrator, patience, goes_unanswered = WAYS[way]
    imitator = make(demonstrator, seed, patience=patience, **more)
    env = {} if imitator.num_envs is None else {"env": 1}
    for _ in range(100):
        if goes_unanswered(imitator, 0, **env):
            return imitator
    raise RuntimeError("nothing was asked")


@pytest.mark.parametrize("between", BETWEEN, ids=lambda between: between.__name__)
@pytest.mark.parametrize("num_envs", [None, 2])
@pytest.mark.parametrize("way", WAYS)
def test_the_next_step_is_a_question(way: str, num_envs: int | None, between: Any) -> None:
    imitator, env = between(unanswered(way, num_envs=num_envs)), None if num_envs is None else 1
    decision = imitator.decide(1, env=env)
    assert decision.queried
    assert decision.query_prob == 1.0
    assert decision.min_probs.tolist() == [0.0, 0.0]
    assert imitator.answer(decision, 1).action == 1
    # The question is answered, so that it acts again.
    assert not imitator.decide(1, env=env).queried


@pytest.mark.parametrize("silences", [1, 3])
def test_silence_brings_no_action_that_is_unlikely_to_every_member(silences: int) -> None:
    """The law: of the steps after an unanswered question none is the imitator's own, so that it draws nothing twice."""
    own, asked = 0, 0
    for seed in SEEDS:
        imitator = make(raises, seed, FAINT)
        try:
            imitator.act(0)
        except AwayError:
            asked += 1
            for _ in range(silences):
                try:
                    own += not imitator.act(1).queried
                except AwayError:
                    continue
    assert asked > 0
    assert own == 0


def test_a_fresh_number_would_be_a_second_try() -> None:
    """The control: what a step that is asked about would draw, if the number that said "ask" were used again."""
    learner = Learner(FAINT, TopK(2))
    drawn: list[int] = []
    for seed in SEEDS:
        imitator = make(raises, seed, FAINT)
        try:
            imitator.act(0)
        except AwayError:
            state = imitator.state
            forgetful = state.replace(stream=state.stream.replace(asking=np.zeros((), bool)))
            drawn.append(int(learner.decide(forgetful, 1).action))
    # .02 of the steps at most are asked about; all of them would take the action that each member gives .02.
    assert len(drawn) >= 1
    assert drawn == [0] * len(drawn)


@pytest.mark.parametrize("crash", [False, True])
def test_a_journal_keeps_that(tmp_path: Path, crash: bool) -> None:
    def over(imitator: ConsensusImitator) -> None:
        (probe.crash if crash else ConsensusImitator.close)(imitator)

    path = tmp_path / "run"
    imitator = unanswered("it raises", journal=path)
    # Withdrawn for another question, which waits when the process ends; then for a third.
    with pytest.raises(AwayError):
        imitator.act(1)
    state = imitator.state
    over(imitator)
    imitator = ConsensusImitator.resume(path, MEMBERS, raises, selection=TopK(2))
    assert bool(imitator.state.stream.asking)
    assert float(imitator.state.stream.ledger) == float(state.stream.ledger)
    with pytest.raises(AwayError):
        imitator.act(1)
    with pytest.raises(AwayError):
        imitator.act(0)
    over(imitator)
    imitator = ConsensusImitator.resume(path, MEMBERS, lambda observation: 1, selection=TopK(2))
    (waits,) = imitator.pending
    assert waits.query_prob == 1.0
    assert imitator.act(0).query == waits.query
    assert not bool(imitator.state.stream.asking)
    imitator.close()


def test_the_safe_action_closes_the_step() -> None:
    patience = Patience(timeout=60.0, then=SafeAction(1))
    imitator = unanswered("it raises")
    imitator = ConsensusImitator.from_state(imitator.state, MEMBERS, silent, selection=TopK(2), patience=patience)
    decision = imitator.act(1)
    assert decision.unanswered
    assert not bool(imitator.state.stream.asking)
    assert not imitator.decide(1).queried


def test_the_inflation_of_a_withdrawn_step_is_spent() -> None:
    """It could have acted there, so the budget counts it: once, however the step ends."""
    for seed in range(100):
        imitator = make(raises, seed, inflation_budget=InflationBudget(100.0))
        before = float(imitator.ledger)
        try:
            imitator.act(0)
        except AwayError:
            break
    theta = imitator.pending[0].query_prob
    spent = float(imitator.ledger)
    assert spent == pytest.approx(before + np.log1p(theta), rel=1e-5)
    with pytest.raises(AwayError):
        imitator.act(1)
    assert float(imitator.ledger) == spent
    closed = imitator.answer(imitator.pending[0], 1)
    assert closed.ledger == float(imitator.ledger) == spent


# --- in lockstep ---


class Counting:
    """Answers with 1; fails in the environments ``failing``; counts how often it is asked."""

    def __init__(self) -> None:
        self.failing = False
        self.asked = 0

    def __call__(self, observation: Any) -> Any:
        self.asked += 1
        return 0.5 if self.failing else 1


def lockstep(failing: int, seed: int) -> tuple[ConsensusImitator, list[Counting], Any]:
    """B=4, a step in which some rows ask, ``failing`` among them, and at least one acts."""
    rows = np.array([0, 1, 0, 0])
    for seed_ in range(seed, seed + 200):
        counting = [Counting() for _ in range(4)]
        imitator = ConsensusImitator(MEMBERS, counting, selection=TopK(2), seed=seed_, num_envs=4)
        counting[failing].failing = True
        twin = ConsensusImitator(MEMBERS, selection=TopK(2), seed=seed_, num_envs=4)
        asked = np.asarray(twin.decide(rows).queried)
        if asked[failing] and asked.sum() >= 3 and not asked.all():
            return imitator, counting, rows
    raise RuntimeError("no such seed")


@pytest.mark.parametrize("in_loop", [False, True])
def test_who_has_answered_is_not_asked_again(in_loop: bool) -> None:
    def act(imitator: ConsensusImitator, rows: Any) -> Any:
        return asyncio.run(imitator.act_async(rows)) if in_loop else imitator.act(rows)

    imitator, counting, rows = lockstep(failing=3, seed=0)
    with pytest.raises(InvalidAnswerError):
        act(imitator, rows)
    (waits,) = imitator.pending
    asked = np.asarray(waits.queried).astype(int).tolist()
    assert [one.asked for one in counting] == asked
    counting[3].failing = False
    closed = act(imitator, rows)
    assert closed.query == waits.query
    asked[3] += 1
    assert [one.asked for one in counting] == asked
    assert closed.action[waits.queried].tolist() == [1] * int(waits.queried.sum())
    assert imitator.num_queries == int(waits.queried.sum())


def test_rows_that_acted_ask_too_when_the_step_is_withdrawn() -> None:
    """Their numbers are spent as well: what they drew was seen, and was not taken."""
    imitator, _, rows = lockstep(failing=3, seed=0)
    with pytest.raises(InvalidAnswerError):
        imitator.act(rows)
    (withdrawn,) = imitator.pending
    decision = imitator.decide(np.array([1, 1, 1, 1]), np.array([True, True, True, False]))
    assert decision.queried.tolist() == [True, True, True, False]
    with pytest.raises(StaleAnswerError, match="withdrawn"):
        imitator.answer(withdrawn, [1, 1, 1, 1])
    imitator.answer(decision, [1, 1, 1, 1])
    # The row that was set aside still has to ask.
    assert np.asarray(imitator.state.stream.asking).tolist() == [False, False, False, True]
    assert imitator.decide(np.array([1, 1, 1, 1])).queried.tolist() == [False, False, False, True]


def test_the_pure_learner_enters_a_posed_step_once_however_often_it_is_posed() -> None:
    """`pose` enters the step's inflation; posing it again, and `observe`, do not."""
    learner = Learner(MEMBERS, TopK(2), budget=InflationBudget(100.0))
    state = learner.init(jax.random.key(0))
    decision = learner.decide(state, jnp.int32(0))._replace(queried=jnp.bool_(True), action=jnp.int32(-1))
    assert float(decision.log_inflation) > 0
    posed = state.replace(stream=learner.pose(state.stream, decision))
    spent = float(posed.stream.ledger)
    assert spent == pytest.approx(float(decision.log_inflation), rel=1e-6)
    assert float(learner.pose(posed.stream, decision).ledger) == spent
    after, _ = learner.observe(posed, jnp.int32(0), decision, jnp.int32(1))
    assert float(after.stream.ledger) == spent
    unposed, _ = learner.observe(state, jnp.int32(0), decision, jnp.int32(1))
    assert float(unposed.stream.ledger) == pytest.approx(spent, rel=1e-6)
