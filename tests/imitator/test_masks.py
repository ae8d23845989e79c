"""Action masks at every entrance of an imitator, in a game with illegal moves."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Journal, Patience, SafeAction, TopK, ensembles
from consensus_imitation.demonstrators import Demonstrator
from consensus_imitation.ensembles.any_action import gaussian
from consensus_imitation.errors import (
    ConfigurationError,
    DemonstratorTimeoutError,
    InvalidAnswerError,
    ObservationError,
    ReplayError,
)
from consensus_imitation.imitator import SamplingImitator
from consensus_imitation.journal.reader import reading

from .fingerprints import fingerprint, taken
from .leduc import A, Leduc, dealt, expert

SMALL = ensembles.mlp(
    Leduc.observation_space, A, num_members=3, hidden=(16,), training=ensembles.Training(updates=4, masked=True)
)
#: Three members that disagree: most steps are questions.
TABLES = ensembles.tabular(np.random.default_rng(0).dirichlet(np.ones(A), (3, 2)))
MASK = np.array([True, True, False, True])
GAMES = dealt()


def networks(demonstrator: Any = expert, **more: Any) -> ConsensusImitator:
    return ConsensusImitator(SMALL, demonstrator, selection=TopK(2), seed=0, **more)


def tables(demonstrator: Any = None, **more: Any) -> ConsensusImitator:
    return ConsensusImitator(TABLES, demonstrator, selection=TopK(3), seed=0, **more)


def asked(one: ConsensusImitator, mask: Any = MASK, **where: Any) -> Any:
    """The next decision that is a question."""
    return next(d for _ in range(100) if (d := one.decide(1, action_mask=mask, **where)).queried)


def refused_within(steps: int, one: ConsensusImitator, kind: type[Exception], match: str) -> None:
    """One of the next steps ends in this error."""

    def act() -> None:
        for _ in range(steps):
            one.act(1, action_mask=MASK)

    with pytest.raises(kind, match=match):
        act()


def play(imitator: ConsensusImitator, steps: int, env: Leduc | None = None) -> list[Any]:
    """Decisions of an imitator in the game, which raises if one of them is illegal."""
    env = Leduc() if env is None else env
    observation, info = env.reset(seed=imitator.num_steps)
    done: list[Any] = []
    for _ in range(steps):
        mask = info["action_mask"]
        decision = imitator.act(observation, action_mask=mask)
        assert mask[decision.action]
        assert not decision.min_probs[mask == 0].any()
        np.testing.assert_array_equal(decision.action_mask, mask)
        done.append(taken(decision))
        observation, _, over, _, info = env.step(decision.action)
        if over:
            imitator.begin_episode()
            observation, info = env.reset()
    return done


@pytest.mark.slow
@pytest.mark.parametrize("steps", [300, 5000])
def test_nothing_illegal_is_done_and_a_run_resumes_bit_for_bit(tmp_path: Path, steps: int) -> None:
    """Networks that learn, in a game that raises at an illegal move; cut short twice, once without `close`."""
    whole = networks()
    expected = play(whole, steps) + play(whole, 50) + play(whole, 50)
    cut = networks(journal=Journal(tmp_path / "run", checkpoint_every=1000))
    found = play(cut, steps)
    cut._live.recorder.let_go()  # as if the process had ended
    cut = ConsensusImitator.resume(tmp_path / "run", SMALL, expert, selection=TopK(2))
    found += play(cut, 50)
    cut.close()
    cut = ConsensusImitator.resume(tmp_path / "run", SMALL, expert, selection=TopK(2))
    found += play(cut, 50)
    assert found == expected
    assert 0 < cut.num_queries == whole.num_queries < cut.num_steps
    np.testing.assert_array_equal(cut.weights, whole.weights)
    assert cut.alarms == whole.alarms == ()
    cut.close()
    with reading(tmp_path / "run") as reader:
        kept = [e.record.action_mask for e in reader.entries() if e.record.kind in ("act", "ask")]
    assert len(kept) == steps + 100
    assert all(mask is not None for mask in kept)


def test_networks_learn_the_conditional_law_and_ask_less() -> None:
    imitator = networks()
    play(imitator, 400)
    early = imitator.num_queries
    play(imitator, 400)
    assert imitator.num_queries - early < 0.6 * early
    policy = imitator.policy()
    chosen = [policy.predict(seen, action_masks=legal)[0] for seen, legal in GAMES]
    assert all(legal[action] for action, (_, legal) in zip(chosen, GAMES, strict=True))
    assert np.mean([a == expert(*game) for a, game in zip(chosen, GAMES, strict=True)]) > 0.7


def test_the_replay_keeps_what_was_legal() -> None:
    imitator = networks()
    questions = []
    for seen, legal in GAMES:
        if imitator.act(seen, action_mask=legal).queried:
            questions.append(legal.astype(bool))
    replay = imitator.state.learned.replay
    np.testing.assert_array_equal(replay.inputs.legal[: len(questions)], questions)
    # Without a mask everything is.
    imitator.act(GAMES[0][0])
    assert np.asarray(imitator.state.learned.replay.inputs.legal[len(questions)]).all() or imitator.num_queries == len(
        questions
    )


def test_an_illegal_answer_is_refused_and_the_query_waits() -> None:
    one, twin = tables(), tables()
    query, its = asked(one), asked(twin)
    before = fingerprint(one)
    for reference in (query, query.query):
        with pytest.raises(
            InvalidAnswerError, match="answered 2, which the action mask forbids here: legal are 0, 1, 3"
        ):
            one.answer(reference, 2)
        assert fingerprint(one) == before
    assert one.pending[0].action_mask.tolist() == MASK.tolist()
    assert taken(one.answer(query, 1)) == taken(twin.answer(its, 1))
    assert fingerprint(one) == fingerprint(twin)
    with pytest.raises(InvalidAnswerError, match="forbids"):  # also of one that is closed
        one.answer(query, 2)


@pytest.mark.parametrize("way", ["act", "act_async"])
def test_an_illegal_answer_of_the_demonstrator_is_refused_and_asked_again(way: str) -> None:
    answers = iter([2, 2, 0])
    one = tables(lambda observation: next(answers))

    def act() -> Any:
        if way == "act":
            return one.act(1, action_mask=MASK)
        return asyncio.run(one.act_async(1, action_mask=MASK))

    refused = 0
    for _ in range(100):
        try:
            decision = act()
        except InvalidAnswerError:
            refused += 1
            assert len(one.pending) == 1
            continue
        if decision.queried:
            break
    assert refused == 2
    assert decision.action == 0
    assert one.num_queries == 1


def test_what_waits_is_about_its_mask_too() -> None:
    """The same observation with another mask is another question: the first is withdrawn."""
    one = tables(lambda observation: 2)
    refused_within(100, one, InvalidAnswerError, "forbids")
    first = one.pending[0].query
    with pytest.raises(InvalidAnswerError):
        one.act(1, action_mask=MASK)
    assert one.pending[0].query == first
    assert one.act(1, action_mask=[False, False, True, True]).action == 2
    with pytest.raises(ValueError, match="withdrawn"):
        one.answer(first, 0)


def test_a_safe_action_that_is_illegal_is_not_taken() -> None:
    def silent(observation: Any) -> int:
        raise ConnectionError("nobody")

    patience = Patience(timeout=0.01, then=SafeAction(2))
    one = tables(silent, patience=patience)
    refused_within(100, one, DemonstratorTimeoutError, r"SafeAction\(2\) is not legal here")
    assert len(one.pending) == 1
    assert one.act(1, action_mask=~MASK).action == 2


class Watching(Demonstrator):
    """Takes the first legal action, and remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[Any] = []

    def __call__(self, observation: Any, action_mask: Any = None) -> int:
        self.shown.append(action_mask)
        return 0 if action_mask is None else int(np.argmax(action_mask))


class Maskable:
    """A policy of sb3-contrib's kind."""

    def __init__(self) -> None:
        self.shown: list[Any] = []

    def predict(self, observation: Any, state: Any = None, action_masks: Any = None) -> tuple[int, None]:
        self.shown.append(action_masks)
        return int(np.argmax(action_masks)), None


async def slowly(observation: Any, action_mask: Any) -> int:
    await asyncio.sleep(0)
    return int(np.argmax(action_mask))


@pytest.mark.parametrize("make", [Watching, Maskable, lambda: slowly], ids=["object", "policy", "coroutine"])
def test_a_demonstrator_that_takes_masks_is_shown_its_own(make: Callable[[], Any]) -> None:
    demonstrator = make()
    one = tables(demonstrator)
    free = np.array([True, False, True, True])
    decisions = [asyncio.run(one.act_async(1, action_mask=free)) for _ in range(20)]
    assert {int(d.action) for d in decisions if d.queried} == {0}
    for seen in getattr(demonstrator, "shown", ()):
        np.testing.assert_array_equal(seen, free)


@pytest.mark.parametrize(
    "mask", [[False] * A, [True] * 3, np.ones(A), [[True] * A]], ids=["none", "short", "float", "2d"]
)
def test_a_mask_that_is_none_is_refused_and_nothing_happens(mask: Any) -> None:
    one = tables(lambda observation: 0)
    before = fingerprint(one)
    for act in (
        one.act,
        one.decide,
        lambda seen, action_mask: asyncio.run(one.act_async(seen, action_mask=action_mask)),
    ):
        with pytest.raises(ObservationError, match="action_mask"):
            act(1, action_mask=mask)
    with pytest.raises(ObservationError, match="action_mask"):
        one.policy().predict(1, action_masks=mask)
    assert fingerprint(one) == before
    assert one.pending == ()


def test_a_batch_in_lockstep_and_row_by_row(tmp_path: Path) -> None:
    B = 3
    rng = np.random.default_rng(2)
    shown: list[Any] = []

    def first(observation: Any, action_mask: np.ndarray) -> int:
        shown.append(action_mask)
        return int(np.argmax(action_mask))

    one = tables(first, num_envs=B, journal=tmp_path / "run")
    for t in range(60):
        masks = rng.random((B, A)) < 0.4
        masks[:, 3] |= ~masks.any(-1)
        active = np.array([True, t % 3 != 0, True])
        masks[1] &= bool(active[1])  # nothing is legal where nothing is done
        decision = one.act(rng.integers(0, 2, B), active, action_mask=masks)
        for b in np.flatnonzero(active):
            assert masks[b, decision.action[b]]
        assert decision.action_mask[~active].all()
    assert one.num_queries == len(shown)
    with pytest.raises(InvalidAnswerError, match="forbids"):
        one.answer(asked_in_lockstep(one, MASK), np.full(B, 2))
    for decision in one.pending:
        one.answer(decision, np.full(B, 3))
    query = asked(one, np.array([False, False, True, True]), env=1)
    with pytest.raises(InvalidAnswerError, match=r"legal are 2, 3$"):
        one.answer(query, 1)
    state = fingerprint(one)
    one._live.recorder.let_go()
    again = ConsensusImitator.resume(tmp_path / "run", TABLES, first, selection=TopK(3))
    assert fingerprint(again) == state
    with pytest.raises(InvalidAnswerError, match=r"legal are 2, 3$"):
        again.answer(query.query, 1)
    assert again.answer(query.query, 2).action == 2
    again.close()


def asked_in_lockstep(one: ConsensusImitator, mask: np.ndarray) -> Any:
    return next(
        d for _ in range(99) if (d := one.decide(np.ones(3, int), action_mask=np.stack([mask] * 3))).queried.any()
    )


@pytest.mark.parametrize("keep", ["everything", "digests"])
def test_a_query_that_waits_knows_its_mask_after_resume(tmp_path: Path, keep: Any) -> None:
    """From the record alone (a checkpoint is taken after it), and done again."""
    journal = Journal(tmp_path / "run", keep=keep, checkpoint_every=1)
    one = tables(journal=journal)
    query = asked(one)
    one.close()
    again = ConsensusImitator.resume(tmp_path / "run", TABLES, lambda observation: 2, selection=TopK(3))
    np.testing.assert_array_equal(again.pending[0].action_mask, MASK)
    with pytest.raises(InvalidAnswerError, match="forbids"):
        again.act(1, action_mask=MASK)  # the same question: asked again
    assert again.pending[0].query == query.query
    closed = again.answer(query.query, 3)
    np.testing.assert_array_equal(closed.action_mask, MASK)
    again.close()
    # How it was closed is read from the journal.
    last = ConsensusImitator.resume(tmp_path / "run", TABLES, selection=TopK(3))
    np.testing.assert_array_equal(last.answer(query.query, 3).action_mask, MASK)
    last.close()


def test_members_on_the_host_are_masked_and_resumed(tmp_path: Path) -> None:
    def says(observation: Any) -> list[float]:
        return [0.1, 0.2, 0.3, 0.4]

    def other(observation: Any) -> list[float]:
        return [0.4, 0.3, 0.2, 0.1]

    members = ensembles.callables([says, other], num_actions=A)
    one = ConsensusImitator(members, expert_of_masks, selection=TopK(2), seed=0, journal=tmp_path / "run")
    decisions = [one.act(0, action_mask=MASK) for _ in range(40)]
    assert {d.action for d in decisions} <= {0, 1, 3}
    assert 0 < one.num_queries < 40
    np.testing.assert_allclose(np.exp(decisions[0].log_probs)[0], np.array([0.1, 0.2, 0, 0.4]) / 0.7, rtol=1e-5)
    before = fingerprint(one)
    one._live.recorder.let_go()
    again = ConsensusImitator.resume(tmp_path / "run", members, expert_of_masks, selection=TopK(2))
    assert fingerprint(again) == before
    again.close()


def expert_of_masks(observation: Any, action_mask: Any = None) -> int:
    return int(np.argmax(action_mask))


def test_where_one_action_is_legal_nothing_is_asked_but_what_is_withheld() -> None:
    one = tables()
    assert not any(one.decide(1, action_mask=~MASK).queried for _ in range(50))
    fresh = networks()  # without any answer they withhold nearly everything, whatever is legal
    assert fresh.decide(GAMES[0][0], action_mask=~MASK).query_prob > 0.9


def test_a_mask_in_the_journal_that_is_another_comes_out_otherwise(tmp_path: Path) -> None:
    """What was legal is part of what is done again: without it the decision is another."""
    from consensus_imitation.imitator import _again

    one = tables(expert_of_masks, journal=tmp_path / "run")
    for _ in range(5):
        one.act(1, action_mask=MASK)
    one._live.recorder.let_go()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_again, "mask_of", lambda *_: None)
        with pytest.raises(ReplayError, match="predictions"):
            ConsensusImitator.resume(tmp_path / "run", TABLES, expert_of_masks, selection=TopK(3))


@pytest.mark.slow
def test_recordings_with_masks() -> None:
    observations, masks = (np.stack(part) for part in zip(*GAMES, strict=True))
    actions = np.array([expert(*game) for game in GAMES])
    with_masks, without = networks(), networks()
    with_masks.pretrain(observations, actions, action_masks=masks)
    without.pretrain(observations, actions)
    assert not np.array_equal(with_masks.weights, without.weights)
    forbidden = masks.copy()
    forbidden[7, actions[7]] = 0
    forbidden[7, (actions[7] + 1) % A] = 1
    fresh = networks()
    before = fingerprint(fresh)
    with pytest.raises(InvalidAnswerError, match=rf"did at step 7 {actions[7]}, which the action mask forbids"):
        fresh.pretrain(observations, actions, action_masks=forbidden)
    for bad in (masks[:-1], masks[:, :-1], masks[0], masks.astype(float)):
        with pytest.raises(ObservationError, match="action_mask"):
            fresh.pretrain(observations, actions, action_masks=bad)
    assert fingerprint(fresh) == before


def test_a_recording_teaches_as_answers_would() -> None:
    """Prequentially: the same posterior, to the bit, as from questions about the same steps under the same masks."""
    tabular = ensembles.tabular(np.random.default_rng(4).dirichlet(np.ones(A), (3, 2)))
    steps = [(int(b), m) for b, m in zip([0, 1, 1, 0, 1], [MASK, MASK, ~MASK, np.ones(A, bool), MASK], strict=True)]
    one = ConsensusImitator(tabular, selection=TopK(3), seed=0)
    one.pretrain(
        np.array([s for s, _ in steps]), [int(np.argmax(m)) for _, m in steps], action_masks=[m for _, m in steps]
    )
    table = np.random.default_rng(4).dirichlet(np.ones(A), (3, 2))
    weights = np.ones(3)
    for s, m in steps:
        weights *= table[:, s, int(np.argmax(m))] / (table[:, s] * m).sum(-1)
    np.testing.assert_allclose(one.weights, weights / weights.sum(), rtol=1e-4)


def test_policy_takes_nothing_illegal_drawn_or_likeliest_alone_or_in_batches() -> None:
    one = tables()
    rng = np.random.default_rng(5)
    masks = rng.random((200, A)) < 0.4
    masks[:, 1] |= ~masks.any(-1)
    for deterministic in (True, False):
        policy = one.policy()
        actions = policy.predict(np.ones(200, int), action_masks=masks, deterministic=deterministic)[0]
        assert masks[np.arange(200), actions].all()
    broken = ConsensusImitator(ensembles.tabular(np.eye(A)[[0, 0]][:, None]), seed=0)
    assert broken.policy().predict(0, action_masks=[False, True, False, True])[0] == 1  # no member is of any use


def test_actions_that_cannot_be_listed_have_no_mask() -> None:
    gains = jnp.array([[1.0], [1.1]])
    members = gaussian(lambda gain, x: (-gain * x, jnp.array([-2.0])), gains, low=-10.0, high=10.0)
    one = SamplingImitator(members, lambda x: -x, selection=TopK(2), seed=0)
    for call in (one.act, one.decide, lambda x, action_mask: asyncio.run(one.act_async(x, action_mask=action_mask))):
        with pytest.raises(ConfigurationError, match="action masks are for actions that can be listed"):
            call(jnp.array([1.0]), action_mask=[True])
    assert one.num_steps == 0
    assert one.pending == ()


def test_no_mask_is_a_mask_of_everything_but_for_rounding() -> None:
    free, full = tables(lambda observation: 0), tables(lambda observation: 0)
    for _ in range(50):
        one, other = free.act(1), full.act(1, action_mask=np.ones(A, bool))
        assert (one.action, one.queried, one.action_mask) == (other.action, other.queried, None)
        np.testing.assert_allclose(one.min_probs, other.min_probs, atol=1e-6)
