"""Nobody changes what others see: no environment, no member, no demonstrator, no holder of a decision.

Every way of taking steps is in `WAYS`, every kind of members on the host in `MEMBERS`. Each life is led twice with the
same draws. In one the environment writes into its arrays again as soon as it can, the demonstrator and a member write
into whatever they are shown; in the other nobody does. Both have to come out the same, with a journal and without, and
when they are taken up from it.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.core._observations import given
from consensus_imitation.demonstrators import Demonstrator, Panel, Patience
from consensus_imitation.journal.reader import reading

from .probe import run_of
from .vandals import GARBAGE, MEMBERS, STEPS, A, B, World, bits, noted, plain, spoil


def by_act(world: World, one: ConsensusImitator) -> Any:
    decision = one.act(world.observation())
    world.overwrite()
    return decision.action


def by_act_async(world: World, one: ConsensusImitator) -> Any:
    return asyncio.run(one.act_async(world.observation())).action


def by_decide_and_answer(world: World, one: ConsensusImitator) -> Any:
    observation = world.observation()
    shown = given(observation)
    decision = one.decide(observation)
    world.overwrite()
    return one.answer(decision, world.answer(shown)).action if decision.queried else decision.action


def by_act_in_lockstep(world: World, one: ConsensusImitator) -> Any:
    return one.act(world.observation()).action.tolist()


def by_act_for_one(world: World, one: ConsensusImitator) -> Any:
    # The first row is the buffer, which is overwritten while the demonstrator answers.
    return [one.act({"place": world.observation()["place"][0]}, env=b).action for b in range(B)]


def by_decide_and_answer_for_one(world: World, one: ConsensusImitator) -> Any:
    """All are asked about first, from one array, and answered afterwards."""
    shown = [world.observation()["place"][0].copy() for _ in range(B)]
    buffer = np.zeros(2, np.float32)
    decisions = []
    for b in range(B):
        buffer = buffer if world.spoils else np.zeros(2, np.float32)
        buffer[...] = shown[b]
        decisions.append(one.decide({"place": buffer}, env=b))
    for b in reversed(range(B)):
        if decisions[b].queried:
            decisions[b] = one.answer(decisions[b], world.answer({"place": shown[b]}))
    return [decision.action for decision in decisions]


WAYS: dict[str, tuple[Callable[[World, ConsensusImitator], Any], bool]] = {
    "act": (by_act, False),
    "act_async": (by_act_async, False),
    "decide and answer": (by_decide_and_answer, False),
    "act in lockstep": (by_act_in_lockstep, True),
    "act for one environment": (by_act_for_one, True),
    "decide and answer for one environment": (by_decide_and_answer_for_one, True),
}


def led(way: str, members: str, spoils: bool, run_dir: Path | None = None) -> tuple[Any, ...]:
    """What came of a life: actions, weights, all that members remember and know, and what was seen by whom."""
    step, batch = WAYS[way]
    world = World(spoils, batch)
    one = ConsensusImitator(
        MEMBERS[members](world), world.answer, selection=TopK(2), seed=4, num_envs=B if batch else None, journal=run_dir
    )
    actions = [step(world, one) for _ in range(STEPS)]
    assert one.num_queries > 3
    end = (one.weights.tobytes(), noted(one.state.learned), noted(one.state.stream.carry))
    one.close()
    if run_dir is not None:
        again = ConsensusImitator.resume(run_dir, MEMBERS[members](world), world.answer, selection=TopK(2))
        assert (again.weights.tobytes(), noted(again.state.learned), noted(again.state.stream.carry)) == end
        # What was asked about is what was kept.
        with reading(run_dir) as journal:
            kept = [entry.record.observation for entry in journal.entries() if entry.record.kind in ("ask", "act")]
        again.close()
        end += (kept,)
    return (actions, *end, world.seen)


LIVES = [
    *((way, "callables", True) for way in WAYS),
    *((way, members, True) for way in ("act", "act in lockstep") for members in MEMBERS if members != "callables"),
    *((way, "callables", False) for way in ("act", "act in lockstep")),
]


@pytest.mark.parametrize(("way", "members", "journal"), LIVES)
def test_nobody_changes_what_others_see(way: str, members: str, journal: bool, tmp_path: Path) -> None:
    quiet, wild = (led(way, members, spoils, tmp_path / str(spoils) if journal else None) for spoils in (False, True))
    assert quiet == wild


def test_the_control_notices_who_writes() -> None:
    """Without the copies the lives would differ: the same vandals, with nothing between them and the others."""
    seen = []
    for spoils in (False, True):
        world = World(spoils, batch=False)
        observation = world.observation()
        world.vandal(observation)
        seen.append(noted(observation))
    assert seen[0] != seen[1]


@pytest.mark.parametrize("num_envs", [None, B])
def test_members_in_jax_learn_what_was_asked_about(num_envs: int | None) -> None:
    ends = []
    for spoils in (False, True):
        world = World(spoils, batch=num_envs is not None)
        one = ConsensusImitator(
            ensembles.mlp((2,), A, num_members=2, hidden=(4,)), world.answer, seed=1, num_envs=num_envs
        )
        for _ in range(4):
            decision = one.decide(world.observation()["place"])
            world.overwrite()
            if np.any(decision.queried):
                one.answer(decision, 1 if num_envs is None else [1] * B)
        ends.append((one.num_queries, bits(one)))
    assert ends[0][0] > 0
    assert ends[0] == ends[1]


def test_an_encoder_of_ones_own_may_use_its_array_again() -> None:
    class Encoder:
        def __init__(self, spoils: bool) -> None:
            self.spoils, self.buffer = spoils, np.zeros(2, np.float32)

        def __call__(self, observation: Any) -> Any:
            if not self.spoils:
                self.buffer = np.zeros(2, np.float32)
            self.buffer[...] = observation["place"]
            spoil(observation)
            return self.buffer

    class Encoded(ensembles.Callables):
        encoder: Any = None

    def life(spoils: bool) -> list[Any]:
        seen: list[Any] = []
        members = Encoded([lambda place: [0.1, 0.1, 0.1]] * 2, A, None)
        members.encoder = Encoder(spoils)
        one = ConsensusImitator(members, lambda shown: seen.append(noted(shown)) or 0, num_envs=B, seed=0)
        decisions = [one.decide({"place": np.float32([b, b])}, env=b) for b in range(B)]
        seen += [noted(step.observation) for step in run_of(one).queries.waiting()]
        seen += [one.answer(decision, 0).action for decision in decisions]
        for _ in range(5):
            one.act({"place": np.float32([5, 5])}, env=0)
        return seen

    quiet, wild = life(False), life(True)
    assert quiet == wild
    assert quiet[:2] == [[0, 0], [1, 1]]
    assert {"place": [5, 5]} in quiet


def test_a_member_that_writes_into_an_array_is_unusable_and_harms_nobody() -> None:
    world = World(spoils=False, batch=False)

    def normalises(seen: Any) -> Any:
        seen["place"] /= 4
        return world.honest(seen)

    one = ConsensusImitator(ensembles.callables([normalises, world.honest], A), world.answer, seed=0)
    observation = world.observation()
    with pytest.warns(UserWarning, match="member 0 gave an unusable prediction"):
        decision = one.act(observation)
    assert decision.queried
    assert decision.invalid.tolist() == [True, False]
    assert [seen["place"] for _, seen in world.seen] == [observation["place"].tolist()] * 2


@pytest.mark.parametrize("ask_async", [False, True])
def test_every_attempt_is_shown_what_is_asked_about(ask_async: bool) -> None:
    seen: list[Any] = []
    place = np.zeros(2)

    def unreachable(observation: Any) -> int:
        seen.append(noted(observation))
        spoil(observation)
        place[...] = GARBAGE
        if len(seen) < 3:
            raise ConnectionError("not yet")
        return 1

    panel = Panel(unreachable, None, Patience(timeout=0.02, retries=5))
    observation = {"place": place}
    answer = asyncio.run(panel.ask_async(observation)) if ask_async else panel.ask(observation)
    assert answer == 1
    assert seen == [{"place": [0, 0]}] * 3


@pytest.mark.parametrize("ask_async", [False, True])
def test_a_panel_of_demonstrators_shows_each_its_own(ask_async: bool) -> None:
    seen: list[Any] = []

    def vandal(observation: Any) -> int:
        seen.append(noted(observation))
        spoil(observation)
        return 1

    place = np.zeros(2)
    panel = Panel([vandal] * B, B)
    for b in range(B):
        assert (asyncio.run(panel.ask_async({"place": place}, b)) if ask_async else panel.ask({"place": place}, b)) == 1
    assert seen == [{"place": [0, 0]}] * B
    assert place.tolist() == [0, 0]


def test_what_a_demonstrator_is_told_is_a_number() -> None:
    told: list[Any] = []

    class Listener(Demonstrator):
        def __call__(self, observation: Any) -> Any:
            return np.array(1)

        def observe(self, action: Any, who: Any) -> None:
            told.append(action)

    world = World(spoils=True, batch=True)
    one = ConsensusImitator(plain(world), [Listener(), Listener()], num_envs=B, seed=0)
    for _ in range(6):
        one.act(world.observation())
    assert {type(action) for action in told} == {int}


def test_isolated_members(tmp_path: Path) -> None:
    file = tmp_path / "member.py"
    file.write_text(
        "import numpy as np\n"
        "def member(seen):\n"
        "    own = 0.4 * (0.02 / 3 + 0.98 * np.eye(3)[int(seen['place'][0] > 0)])\n"
        "    seen['place'][:] = -77\n"
        "    return own\n"
        "def masked(seen):\n"
        "    return np.ma.array([1.0, 0.0, 0.0], mask=[True, False, False])\n"
    )
    ends = []
    with ensembles.isolated([f"{file}:member", f"{file}:member"], A, deadline=60) as members:
        for spoils in (False, True):
            world = World(spoils, batch=False)
            one = ConsensusImitator(members, world.answer, selection=TopK(2), seed=0)
            ends.append(([by_act(world, one) for _ in range(6)], one.weights.tobytes(), world.seen))
    assert ends[0] == ends[1]
    with ensembles.isolated([f"{file}:masked"], A, deadline=60) as members:
        assert np.isnan(np.asarray(members.log_probs((), {"place": np.zeros(2)}, None))).all()  # type: ignore[arg-type]
        assert "masked" in members.failures[0]


def test_a_query_that_is_asked_again_after_a_crash_shows_what_it_was_about(tmp_path: Path) -> None:
    world = World(spoils=True, batch=False)
    one = ConsensusImitator(plain(world), None, selection=TopK(2), seed=4, journal=tmp_path / "run")
    while not one.decide(observation := world.observation()).queried:
        pass
    original = given(observation)
    world.overwrite()
    one.close()
    shown: list[Any] = []

    def demonstrator(seen: Any) -> int:
        shown.append(noted(seen))
        spoil(seen)
        return 1

    again = ConsensusImitator.resume(tmp_path / "run", plain(world), demonstrator, selection=TopK(2))
    again.act(original)
    again.close()
    assert shown == [noted(original)]
    third = ConsensusImitator.resume(tmp_path / "run", plain(world), demonstrator, selection=TopK(2))
    assert third.weights.tobytes() == again.weights.tobytes()
    third.close()
