"""The loop: single and vector environments, autoreset, records, checkpoints, interruptions."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.errors import JournalCorruptedError
from consensus_imitation.experiments import read_csv
from consensus_imitation.experiments.tasks import Rules
from consensus_imitation.experiments.tasks.loop import run_gymnasium
from consensus_imitation.experiments.tasks.records import EPISODE_COLUMNS, STEP_COLUMNS
from consensus_imitation.journal.checkpoint import load_checkpoint, save_checkpoint
from tests.imitator.probe import crash

from .tiny import LENGTH, ROOMS, Rooms, Watching, expert, rooms

RIGHT = np.eye(2)[np.arange(ROOMS) % 2]
MEMBERS = np.stack([0.95 * RIGHT + 0.025, 0.6 * RIGHT + 0.2])


def imitator(demonstrator: Any = expert, num_envs: int | None = None, seed: int = 0) -> ConsensusImitator:
    return ConsensusImitator(ensembles.tabular(MEMBERS), demonstrator, selection=TopK(2), seed=seed, num_envs=num_envs)


def run(env: Any, one: ConsensusImitator, **settings: Any) -> Any:
    return run_gymnasium(env, one, **{"num_steps": 100, "progress": False, **settings})


def vector(size: int, mode: AutoresetMode) -> SyncVectorEnv:
    return SyncVectorEnv([Rooms for _ in range(size)], autoreset_mode=mode)


def test_a_single_environment_is_written_down_step_by_step(tmp_path: Path) -> None:
    watching = Watching()
    one = imitator(watching)
    done = run(Rooms(), one, task=rooms(), out=tmp_path)
    steps, episodes = read_csv(tmp_path / "steps.csv"), read_csv(tmp_path / "episodes.csv")
    assert (done.steps, done.answers, done.interrupted) == (100, one.num_queries, False)
    assert [row["step"] for row in steps] == list(range(100))
    assert tuple(steps[0]) == STEP_COLUMNS
    assert tuple(episodes[0]) == EPISODE_COLUMNS
    assert sum(row["queried"] for row in steps) == len(watching.asked) == done.answers > 0
    assert [row["action"] for row in steps] == [action for action, _ in watching.told]
    assert [row["queried"] for row in steps] == [who == "demonstrator" for _, who in watching.told]
    assert watching.resets == len(episodes) + 1
    for row in episodes:
        own = [step for step in steps if step["episode"] == row["episode"]]
        assert len(own) == row["length"]
        assert sum(step["reward"] for step in own) == row["return"]
        assert sum(step["queried"] for step in own) == row["queries"]
        assert [step["terminated"] or step["truncated"] for step in own] == [False] * (len(own) - 1) + [True]
        assert own[-1]["terminated"] == row["terminated"] == row["harm"]
        assert row["success"] == (row["return"] == LENGTH)
    assert episodes == [dict(row) for row in done.episodes]


def test_a_step_says_that_its_episode_became_unsafe(tmp_path: Path) -> None:
    """Once for each such episode, where it did; and whoever listens hears the rows of the file."""
    heard: list[tuple[Any, Any]] = []
    rules = Rules(solved=lambda episode: True, unsafe_step=lambda reward, terminated: reward == 0)
    wrong_ways = ensembles.tabular(MEMBERS[:, :, ::-1])
    one = ConsensusImitator(wrong_ways, lambda room: 1 - expert(room), selection=TopK(2), seed=0)
    task = rooms(rules=rules)
    run(Rooms(), one, task=task, out=tmp_path, num_steps=60, on_step=lambda *told: heard.append(told))
    steps, episodes = read_csv(tmp_path / "steps.csv"), read_csv(tmp_path / "episodes.csv")
    assert [row for row, _ in heard] == steps
    assert [row["withheld"] for row in steps] == [decision.withheld for _, decision in heard]
    assert sum(row["reward"] == 0 for row in steps) > sum(row["harm"] for row in steps)
    for row in episodes:
        own = [step for step in steps if step["episode"] == row["episode"]]
        wrong = [step["reward"] == 0 for step in own]
        first = wrong.index(True) if any(wrong) else None
        assert [step["harm"] for step in own] == [i == first for i in range(len(own))]
        assert row["harm"] == any(step["harm"] for step in own)


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
def test_lanes_of_a_vector_environment_are_episodes_one_after_another(mode: AutoresetMode, tmp_path: Path) -> None:
    """In every mode: all that is recorded, asked and told are real steps of episodes that start afresh."""
    size, watching = 3, [Watching() for _ in range(3)]
    envs = vector(size, mode)
    done = run(envs, imitator(watching, size), task=rooms(), out=tmp_path, num_steps=60)
    steps, episodes = read_csv(tmp_path / "steps.csv"), read_csv(tmp_path / "episodes.csv")
    per_lane = [[row for row in steps if row["env"] == lane] for lane in range(size)]
    for lane, own in enumerate(per_lane):
        over = sum(row["terminated"] or row["truncated"] for row in own)
        # A reset in the next step takes a step in which nothing counts, unless the run is over.
        idle = 60 - len(own)
        assert idle in ((over, over - 1) if mode is AutoresetMode.NEXT_STEP else (0,))
        assert sum(row["queried"] for row in own) == len(watching[lane].asked)
        begun = {row["episode"] for row in own}
        # The last episode may have begun without a step of its own.
        assert watching[lane].resets - len(begun) in (0, 1)
        for number in begun:
            rewards = [row["reward"] for row in own if row["episode"] == number]
            assert len(rewards) <= LENGTH
    assert sum(row["queried"] for row in steps) == done.answers
    assert all(row["length"] == LENGTH or row["terminated"] for row in episodes)
    assert len({row["episode"] for row in steps}) >= len(episodes) > 10


def test_without_the_mask_reset_steps_would_be_asked_about() -> None:
    """The control: what an unmasked loop would do with the same environment is not what the runner does."""
    size = 3
    one = imitator(expert, size)
    envs = vector(size, AutoresetMode.NEXT_STEP)
    observation, _ = envs.reset(seed=0)
    over, asked_idle = np.zeros(size, bool), 0
    for _ in range(60):
        decision = one.act(observation)
        asked_idle += int(np.sum(decision.queried & over))
        observation, _, terminated, truncated, _ = envs.step(decision.action)
        over = terminated | truncated
    assert asked_idle > 0


@pytest.mark.parametrize("size", [None, 3])
def test_the_budget_of_answers_is_never_exceeded(size: int | None) -> None:
    """Members that never agree, so that all environments ask at once."""
    strangers = ensembles.tabular(np.stack([RIGHT, 1 - RIGHT]))
    for budget in range(18, 22):
        env = Rooms() if size is None else vector(size, AutoresetMode.SAME_STEP)
        one = ConsensusImitator(strangers, expert, selection=TopK(2), seed=0, num_envs=size)
        done = run(env, one, num_steps=500, max_answers=budget)
        assert budget - (size or 1) < done.answers <= budget
        assert done.steps == budget // (size or 1)


def test_evaluations_are_the_same_episodes_each_time(tmp_path: Path) -> None:
    """Members that do not learn: every evaluation must say the same, by task and by an environment of one's own."""
    second = Rooms()
    done = run(Rooms(), imitator(), evaluate=second, evaluate_every=40, evaluation_episodes=5, out=tmp_path)
    assert [row["step"] for row in done.evaluations] == [40, 80, 100]
    assert len({row["mean_return"] for row in done.evaluations}) == 1
    assert second.seeds[:5] == second.seeds[5:10] == second.seeds[10:]
    assert len(set(second.seeds)) == 5
    assert done.evaluations[0]["success"] is None
    assert read_csv(tmp_path / "evaluations.csv") == [dict(row) for row in done.evaluations]
    judged = run(Rooms(), imitator(), task=rooms(), evaluate_every=50, evaluation_episodes=5)
    assert [row["success"] for row in judged.evaluations] == [1.0, 1.0]


def test_a_checkpoint_holds_all_that_was_learned(tmp_path: Path) -> None:
    """A run in two parts has the posterior, counts and files of its parts; rows past the checkpoint are redone."""
    one = imitator()
    run(Rooms(), one, out=tmp_path, num_steps=50, checkpoint_every=25)
    steps = (tmp_path / "steps.csv").read_text(encoding="utf-8")
    (tmp_path / "steps.csv").write_text(
        steps + "50,0,99,1,False,0.1,1.0,False,False,0.0,False\n51,0,99", encoding="utf-8"
    )

    other = imitator(seed=7)
    done = run(Rooms(), other, out=tmp_path, num_steps=80, checkpoint_every=25, resume=True)
    assert (done.steps, other.num_steps) == (80, 80)
    assert done.answers == other.num_queries > one.num_queries
    rows = read_csv(tmp_path / "steps.csv")
    assert [row["step"] for row in rows] == list(range(80))
    assert sum(row["queried"] for row in rows) == other.num_queries
    assert (tmp_path / "steps.csv").read_text(encoding="utf-8").startswith(steps)

    again = imitator(seed=9)
    nothing = run(Rooms(), again, out=tmp_path, num_steps=80, resume=True)
    assert nothing.steps == 80
    np.testing.assert_array_equal(again.weights, other.weights)
    np.testing.assert_array_equal(again.decide(3).min_probs, other.decide(3).min_probs)


def journalled(path: Path, demonstrator: Any = expert) -> ConsensusImitator:
    return ConsensusImitator(ensembles.tabular(MEMBERS), demonstrator, selection=TopK(2), seed=0, journal=path)


def resumed(path: Path, demonstrator: Any = expert) -> ConsensusImitator:
    return ConsensusImitator.resume(path, ensembles.tabular(MEMBERS), demonstrator, selection=TopK(2))


@pytest.mark.parametrize("before", [0, 7])
def test_a_run_with_a_journal_is_continued_from_where_that_ended(tmp_path: Path, before: int) -> None:
    """Also by an imitator that had acted elsewhere before; the rows are those of one run."""
    one = journalled(tmp_path / "journal")
    for _ in range(before):
        one.act(0)
    answers = one.num_queries
    run(Rooms(), one, out=tmp_path / "out", num_steps=50, checkpoint_every=20)
    crash(one)
    other = resumed(tmp_path / "journal")
    done = run(Rooms(), other, out=tmp_path / "out", num_steps=80, resume=True)
    rows = read_csv(tmp_path / "out" / "steps.csv")
    assert (done.steps, other.num_steps) == (80, before + 80)
    assert [row["step"] for row in rows] == list(range(80))
    assert sum(row["queried"] for row in rows) == other.num_queries - answers
    assert sorted({row["episode"] for row in rows}) == list(range(rows[-1]["episode"] + 1))
    assert not (tmp_path / "out" / "checkpoint.msgpack").exists()
    other.close()


def test_a_query_whose_world_is_gone_is_withdrawn_and_its_environment_asks(tmp_path: Path) -> None:
    def leaves(observation: Any) -> int:
        raise EOFError("the demonstrator left")

    one = journalled(tmp_path / "journal", leaves)
    with pytest.raises(EOFError):
        run(Rooms(), one, out=tmp_path / "out", num_steps=200)
    taken = one.num_steps
    assert len(one.pending) == 1
    crash(one)
    other = resumed(tmp_path / "journal")
    assert len(other.pending) == 1
    run(Rooms(), other, out=tmp_path / "out", num_steps=200, resume=True)
    rows = read_csv(tmp_path / "out" / "steps.csv")
    assert rows[taken]["queried"]
    assert rows[taken]["query_prob"] == 1.0
    assert other.pending == ()
    other.close()


def test_runs_with_and_without_a_journal_are_not_mixed(tmp_path: Path) -> None:
    one = journalled(tmp_path / "journal")
    run(Rooms(), one, out=tmp_path / "out", num_steps=20)
    run(Rooms(), imitator(), out=tmp_path / "plain", num_steps=20, checkpoint_every=20)
    one.close()
    again, stranger = resumed(tmp_path / "journal"), journalled(tmp_path / "another")
    for out, who in (("out", imitator()), ("plain", again), ("out", stranger)):
        with pytest.raises(ValueError, match="another configuration"):
            run(Rooms(), who, out=tmp_path / out, num_steps=40, resume=True)
    with pytest.raises(ValueError, match="resume=True to"):
        run(Rooms(), again, out=tmp_path / "out", num_steps=40)
    again.close()
    stranger.close()


@pytest.mark.slow
def test_a_checkpoint_of_networks_goes_on_exactly(tmp_path: Path) -> None:
    """Parameters, optimiser and replay: the same further answers lead to the same predictions."""

    def make(seed: int) -> ConsensusImitator:
        members = ensembles.mlp(ROOMS, 2, num_members=2, hidden=(4,))
        return ConsensusImitator(members, expert, seed=seed)

    one, other = make(0), make(5)
    run(Rooms(), one, num_steps=60, out=tmp_path, checkpoint_every=60)
    path = tmp_path / "checkpoint.msgpack"
    run(Rooms(), other, num_steps=60, out=tmp_path, resume=True)
    for room in range(ROOMS):
        a, b = one.act(room), other.act(room)
        np.testing.assert_array_equal(a.min_probs, b.min_probs)
        assert (a.action, a.queried) == (b.action, b.queried)
    with pytest.raises(ValueError, match="does not fit"):
        load_checkpoint(path, like=imitator().state)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(JournalCorruptedError, match="is damaged"):
        load_checkpoint(path, like=one.state)
    path.write_bytes(b"")
    with pytest.raises(JournalCorruptedError, match="is no checkpoint"):
        load_checkpoint(path, like=one.state)


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.msgpack"
    one = imitator()
    save_checkpoint(path, one.state, {"step": 1})

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, one.state, {"step": 2})
    assert load_checkpoint(path, like=one.state).header == {"step": 1}


def test_an_interruption_leaves_whole_files_and_returns_what_there_is(tmp_path: Path) -> None:
    class Interrupted(Rooms):
        def step(self, action: int) -> Any:
            if self.starts == 5:
                raise KeyboardInterrupt
            return super().step(action)

    done = run(Interrupted(), imitator(), out=tmp_path, checkpoint_every=1000, num_steps=1000)
    assert done.interrupted
    assert len(done.episodes) == 4
    assert len(read_csv(tmp_path / "steps.csv")) == done.steps == sum(row["length"] for row in done.episodes)
    one = imitator(seed=3)
    done = run(Rooms(), one, out=tmp_path, num_steps=60, resume=True)
    assert done.steps == 60
    assert [row["step"] for row in read_csv(tmp_path / "steps.csv")] == list(range(60))


def test_event_files_and_the_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboardX")
    run(Rooms(), imitator(), out=tmp_path, tensorboard=True, progress=True)
    (events,) = (tmp_path / "tensorboard").glob("events.*")
    assert b"episode/query_rate" in events.read_bytes()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "100/100" in captured.err
    assert "last return" in captured.err


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["gymnasium"] = sys.modules["tensorboardX"] = None
from contextlib import ExitStack
from pathlib import Path
import numpy as np
from consensus_imitation import ConsensusImitator, ensembles
from consensus_imitation.experiments.tasks import loop, records
one = ConsensusImitator(ensembles.tabular(np.full((1, 1, 2), 0.5)))
for extra, call in (
    ("gym", lambda: loop.run_gymnasium(None, one, num_steps=1)),
    ("tensorboard", lambda: records.open_writer(Path({str(tmp_path)!r}), ExitStack())),
):
    try:
        call()
    except ImportError as error:
        assert "consensus_imitation[" + extra + "]" in str(error), error
    else:
        raise SystemExit("nothing was missed")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_steps": 0}, "num_steps must be at least 1"),
        ({"max_answers": 0}, "max_answers must be at least 1"),
        ({"evaluate_every": 10}, "pass evaluate= or task="),
        ({"checkpoint_every": 10}, "checkpoints need out="),
        ({"resume": True}, "need out="),
        ({"tensorboard": True}, "need out="),
        ({"seed": -1}, "seed must not be negative"),
        ({"num_steps": 10.5}, "num_steps must be an integer"),
        ({"evaluate": vector(2, AutoresetMode.SAME_STEP), "evaluate_every": 5}, "not a vector"),
        ({"out": Path("nowhere"), "resume": True, "overwrite": True}, "choose one"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run(Rooms(), imitator(), **settings)


def test_the_environment_of_the_run_is_not_evaluated_in() -> None:
    env = Rooms()
    with pytest.raises(ValueError, match="a separate environment"):
        run(env, imitator(), evaluate=env, evaluate_every=5)


def test_what_was_evaluated_is_not_evaluated_again_when_a_run_goes_on(tmp_path: Path) -> None:
    """The last evaluation is of the run's last step: neither left out nor made twice."""
    settings: dict[str, Any] = {"out": tmp_path, "evaluate": Rooms(), "evaluation_episodes": 2, "checkpoint_every": 25}
    for num_steps, evaluated in ((50, [40, 50]), (50, [40, 50]), (80, [40, 50, 80])):
        done = run(Rooms(), imitator(), num_steps=num_steps, evaluate_every=40, resume=True, **settings)
        assert [row["step"] for row in done.evaluations] == evaluated
        assert [row["step"] for row in read_csv(tmp_path / "evaluations.csv")] == evaluated


def test_environment_and_imitator_have_to_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_envs=2"):
        run(vector(2, AutoresetMode.SAME_STEP), imitator())
    run(Rooms(), imitator(), out=tmp_path, num_steps=5)
    with pytest.raises(ValueError, match="resume=True to continue"):
        run(Rooms(), imitator(), out=tmp_path, num_steps=5)
    with pytest.raises(ValueError, match="another configuration"):
        run(Rooms(), imitator(), out=tmp_path, num_steps=5, seed=3)
    assert run(Rooms(), imitator(), out=tmp_path, num_steps=5, overwrite=True).steps == 5


def test_gymnasiums_own_environments_need_no_wrapper() -> None:
    env = gymnasium.make("CartPole-v1")
    members = ensembles.mlp(env.observation_space, env.action_space, num_members=2, hidden=(4,))
    one = ConsensusImitator(members, lambda observation: int(observation[2] > 0), seed=0)
    assert run(env, one, num_steps=30).steps == 30
    env.close()
