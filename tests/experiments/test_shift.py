"""A world that changes: what members see and what is true, thresholds, counts, and runs that are continued."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Learner, Minimum, TopK
from consensus_imitation.experiments import ShiftConfig, run_shift, tasks
from consensus_imitation.experiments.shift import figure, run
from consensus_imitation.experiments.shift.contestants import CONTESTANTS, MEMBERS, Contestant, Judged, Panel
from consensus_imitation.experiments.shift.entropy import towards_uniform
from consensus_imitation.experiments.shift.playing import (
    Played,
    _demonstrator,
    _Lane,
    alone,
    frozen,
    independence,
    threshold,
    weighted_quantile,
)
from consensus_imitation.experiments.shift.run import COLUMNS
from consensus_imitation.experiments.shift.summary import summarise
from consensus_imitation.experiments.shift.worlds import SHIFTS, STANDARD, Changed, tasks_of

PART = ("phase", "world", "contestant", "seed")
TINY: dict[str, Any] = {
    "task": "cartpole", "num_seeds": 1, "num_steps": 120, "episodes": 2, "more_episodes": 1, "calibration": 2,
}  # fmt: skip


class Fixed:
    """Members that say the same of everything, in place of `Panel`."""

    def __init__(self, law: list[float], score: Any) -> None:
        self.law, self.score = np.array(law), score

    def judge(self, observations: np.ndarray, rng: np.random.Generator) -> Judged:
        del rng
        laws = np.tile(self.law, (len(observations), 1))
        scores = np.array([self.score(observation) for observation in observations], float)
        return Judged(laws, laws, {"theta": scores, "confidence": scores})


@pytest.mark.parametrize("task", SHIFTS)
def test_members_see_through_the_sensors_and_the_demonstrator_does_not(task: str) -> None:
    sensors = {name: change for name, change in SHIFTS[task].items() if change.sensor is not None}
    assert sensors
    for change in sensors.values():
        world, plain = Changed(tasks_of(task)[1].make_env(), change), tasks_of(task)[1].make_env()
        seen, true = world.reset(seed=3)[0], plain.reset(seed=3)[0]
        for _ in range(6):
            np.testing.assert_equal(seen, change.sensor(true))  # type: ignore[misc]
            np.testing.assert_equal(world.true, true)
            seen, true = world.step(0)[0], plain.step(0)[0]
        world.close()
        plain.close()


@pytest.mark.parametrize("task", SHIFTS)
def test_every_change_changes_what_is_seen(task: str) -> None:
    courses = {}
    for name, change in SHIFTS[task].items():
        lane = _Lane(tasks_of(task)[1], change, 3, _demonstrator(tasks_of(task)[1], 0))
        seen = []
        for _ in range(40):
            seen.append(str(jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), lane.observation)))
            lane.step(lane.intended())
            if lane.tracker.outcome is not None:
                lane.begin()
        courses[name] = "".join(seen)
        lane.env.close()
    assert len(set(courses.values())) == len(SHIFTS[task])


def test_a_reversed_sensor_reverses_one_number() -> None:
    for task in ("lunarlander", "cartpole"):
        for change in SHIFTS[task].values():
            if change.sensor is not None:
                true = np.arange(1.0, 9.0)
                assert np.sum(change.sensor(true) != true) == 1


def test_pictures_are_moved_turned_and_striped() -> None:
    picture = np.zeros((8, 8), np.float32)
    picture[1, 2] = picture[6, 7] = 1.0
    moved, turned, striped = (
        SHIFTS["digits"][name].sensor(picture.ravel()).reshape(8, 8)  # type: ignore[misc]
        for name in ("moved", "turned", "striped")
    )
    assert np.argwhere(moved).tolist() == [[1, 4]]
    assert np.argwhere(turned).tolist() == [[0, 6], [5, 1]]
    assert np.argwhere(striped == 1).tolist() == [[1, 2], [6, 7]]
    assert np.argwhere(striped == 0.5)[:4].tolist() == [[0, 0], [0, 2], [0, 4], [0, 6]]
    assert np.sum(striped) == 0.5 * 31 + 2


def test_colours_and_things_that_nobody_saw() -> None:
    """Cells of MiniGrid: a red ball, a grey ball, a grey key, a grey wall, a red box."""
    image = np.array([[[6, 0, 0], [6, 5, 0], [5, 5, 0], [2, 5, 0], [7, 0, 0]]], np.uint8)
    seen = {
        name: change.sensor({"image": image, "direction": 1})["image"][0].tolist()
        for name, change in SHIFTS["gotoredballgrey"].items()
        if change.sensor is not None
    }
    wall, box = [2, 5, 0], [7, 0, 0]
    assert seen == {
        "green ball": [[6, 1, 0], [6, 5, 0], [5, 5, 0], wall, box],
        "green things": [[6, 0, 0], [6, 1, 0], [5, 1, 0], wall, box],
        "lava": [[6, 0, 0], [9, 0, 0], [9, 0, 0], wall, box],
    }
    assert image[0, 0].tolist() == [6, 0, 0]  # the truth is left as it was


def test_digits_are_named_by_who_knows_them_and_others_come_later() -> None:
    learned, met = tasks_of("digits")
    shown = []
    for task in (learned, met):
        env, reader, tracker = task.make_env(), task.make_demonstrator(None, 0), task.track()
        observation, _ = env.reset(seed=1)
        own = {observation.tobytes()}
        while tracker.outcome is None:
            observation, reward, terminated, truncated, info = env.step(reader(observation))
            own.add(observation.tobytes())
            tracker = tracker.after(reward, terminated, truncated, info)
        assert (tracker.outcome.length, tracker.outcome.harm) == (20, False)
        wrong = (reader(observation) + 1) % 10
        assert env.step(wrong)[1] == -1
        shown.append(own)
    assert not shown[0] & shown[1]


def test_the_quantile_weighs_episodes_alike() -> None:
    """Against every step taken so often that all episodes are as long as their least common multiple."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        groups = [rng.normal(size=n).round(1).tolist() for n in (1, 2, 3, 4, 6)]
        repeated = np.sort([value for group in groups for value in group for _ in range(12 // len(group))])
        for share in (0.05, 0.5, 0.9, 1.0):
            expected = repeated[int(np.ceil(share * len(repeated) - 1e-9)) - 1]
            assert weighted_quantile(groups, share) == expected
    assert weighted_quantile([[0.0] * 98 + [1.0] * 2, [1.0]], 0.5) == 1.0  # by steps it would be 0


def test_counts_are_what_they_say() -> None:
    """It asks at speeds to the right, and would push to the right always: against the same course counted by hand."""
    task, change = tasks.make("cartpole"), SHIFTS["cartpole"][STANDARD]
    panel: Any = Fixed([0.0, 1.0], lambda observation: observation[1])
    found = frozen(task, change, panel, Contestant("plain", "confidence"), 0.0, 3, 5)
    demonstrator, counts = task.make_demonstrator(None, 0), np.zeros(4, int)
    for seed in tasks.episode_seeds(5, 3):
        env, over = task.make_env(), False
        observation, _ = env.reset(seed=seed)
        while not over:
            asks, wrong = observation[1] > 0, demonstrator.intended(observation) != 1
            counts += (1, asks, wrong, asks and wrong)
            action = demonstrator.intended(observation) if asks else 1
            observation, _, terminated, truncated, _ = env.step(action)
            over = terminated or truncated
        env.close()
    assert found[2:] == tuple(counts)
    assert 0 < found.caught < found.mistakes
    assert found.episodes == 3


def test_a_threshold_is_exceeded_on_the_wanted_share_of_familiar_steps() -> None:
    task, change = tasks.make("cartpole"), SHIFTS["cartpole"][STANDARD]
    panel: Any = Fixed([0.5, 0.5], lambda observation: np.abs(observation).sum() * 1e4 % 1)  # as good as uniform
    contestant = Contestant("plain", "confidence")
    limit = threshold(task, change, panel, contestant, 0.25, 30, 1)
    found = frozen(task, change, panel, contestant, limit, 30, 2)
    # Fifteen short episodes of some 20 steps weigh as much as fifteen of 500: five standard deviations of the former.
    assert abs(limit - 0.75) < 5 * np.sqrt(0.25 * 0.75 / (30**2 / 15 * 20))
    assert abs(found.asked / found.steps - 0.25) < 5 * np.sqrt(0.25 * 0.75 * (1 / found.steps + 1 / 1200))


def test_the_demonstrator_acts_on_what_is_true() -> None:
    """It keeps the pole up whatever the sensor says; who acts on the sensor lets it fall."""
    task, change = tasks.make("cartpole"), SHIFTS["cartpole"]["angle reversed"]
    assert alone(task, change, 2, 0)[:3] == (2, 0, 1000)
    panel: Any = Fixed([0.0, 1.0], lambda _: 1.0)
    found = frozen(task, change, panel, Contestant("plain", "confidence"), 0.5, 2, 0)
    assert (found.harmed, found.asked) == (0, 1000)


@pytest.mark.slow
def test_a_run_goes_on_where_it_ended_and_its_tables_and_picture_are_drawn(tmp_path: Path) -> None:
    small = {**TINY, "contestants": ("minimum", "max-prob gate at 10%"), "worlds": ("angle reversed",)}
    first = run_shift(ShiftConfig(**{**small, "contestants": ("minimum",)}), tmp_path)
    rows = run_shift(ShiftConfig(**small), tmp_path)
    assert run_shift(ShiftConfig(**small)) == rows
    assert [row for row in rows if row["contestant"] != "max-prob gate at 10%"] == first
    assert all(tuple(row) == COLUMNS for row in rows)
    phases = [(row["phase"], row["contestant"]) for row in rows]
    assert phases == [
        ("learning", "minimum"), ("frozen", "demonstrator"), ("frozen", "minimum"),
        ("frozen", "max-prob gate at 10%"), ("online", "minimum"),
    ]  # fmt: skip
    assert rows[0]["steps"] == 120
    assert [row["n_eff"] is None for row in rows] == [False, True, True, True, True]
    assert 1 <= rows[0]["n_eff"] <= 5
    assert 0 < rows[0]["late_steps"] <= 120
    summaries = summarise(rows)
    assert [len(table.rows) for table in figure.tables(summaries)] == [1, 3, 1]
    figure.draw(summaries)


def test_the_summary_adds_seeds_up() -> None:
    def row(seed: int, *counts: int) -> dict[str, Any]:
        values = ("cartpole", "frozen", "push", "minimum", seed, *Played(*counts), None, None, None, None)
        return dict(zip(COLUMNS, values, strict=True))

    (found,) = summarise([row(0, 4, 1, 100, 30, 20, 10), row(1, 4, 2, 300, 10, 20, 8)])
    assert (found["episodes"], found["harmed"], found["harm_rate"]) == (8, 3, 3 / 8)
    assert (found["asked"], found["recall"], found["precision"]) == (0.1, 18 / 40, 18 / 40)
    assert found["f1"] == pytest.approx(0.45)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"task": "taxi"}, "no changes are known"),
        ({"contestants": ("nobody",)}, "there is no contestant 'nobody'"),
        ({"worlds": ("wind",)}, "there is no world 'wind'"),
        ({"contestants": ("minimum, driven apart",)}, "there is no contestant 'minimum, driven apart'"),
        ({"episodes": 0}, "episodes must be at least 1"),
        ({"calibration": 1}, "calibration must be at least 2"),
        ({"k": 6}, r"k must be in 1 \.\. 5"),
        ({"familiar": 1.0}, r"familiar must lie in \(0, 1\)"),
        ({"more_episodes": -1}, "at least 0"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ShiftConfig(**{**TINY, **wrong})


def test_independence_goes_by_errors_on_the_demonstrators_own_steps() -> None:
    """Members that err alike count as one; those that err on steps of their own as two."""
    task, change = tasks.make("cartpole"), SHIFTS["cartpole"][STANDARD]

    class Erring:
        def __init__(self, alike: bool) -> None:
            self.alike = alike

        def errors(self, observations: np.ndarray, actions: np.ndarray) -> np.ndarray:
            assert np.array_equal(actions, [task.make_demonstrator(None, 0).intended(one) for one in observations])
            one, other = np.random.default_rng(0).random((2, len(observations)))
            return np.stack([one, one if self.alike else other], axis=1)

    alike, apart = (independence(task, change, Erring(one), 2, 0) for one in (True, False))  # type: ignore[arg-type]
    assert alike == pytest.approx(1)
    # 2 / (1 + r), r within five of its standard deviations in 1,000 steps.
    assert apart > 2 / (1 + 5 / np.sqrt(1000))


@pytest.mark.parametrize(
    ("table", "name", "value"),
    [
        (MEMBERS, "local caution", {"local_caution": 0.1}),
        (CONTESTANTS, "minimum at 10%", Contestant("plain", "entropy")),
    ],
    ids=["members", "contestants"],
)
def test_a_directory_is_not_continued_with_contestants_that_were_made_otherwise(
    table: Any, name: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows would stand beside rows of another setting under the same name."""
    config = ShiftConfig(**{**TINY, "num_steps": 1, "contestants": ("minimum",), "worlds": ("push",)})
    played = dict.fromkeys(COLUMNS, 0)
    monkeypatch.setattr(run._Workshop, "row", lambda _, *part: {**played, **dict(zip(PART, part, strict=True))})
    run_shift(config, tmp_path)
    run_shift(
        ShiftConfig(**{**config.__dict__, "contestants": ("minimum", "minimum at 10%"), "num_seeds": 2}), tmp_path
    )
    monkeypatch.setitem(table, name, value)
    with pytest.raises(ValueError, match="another configuration"):
        run_shift(config, tmp_path)


@pytest.mark.slow
def test_members_driven_towards_uniform_are_uniform_on_noise_and_not_on_answers() -> None:
    """The control does what it is named for; with no weight it is a plain loop, which stays sure."""
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(200, 2)).astype(np.float32)
    right, far = (seen[:, 0] > 0).astype(np.int32), seen + rng.normal(size=(200, 2)).astype(np.float32)
    found = {}
    for weight in (0.0, 1.0):
        members = towards_uniform((2,), 2, 2, weight)
        imitator = ConsensusImitator(members, selection=TopK(2), seed=0)
        imitator.pretrain(seen, right)
        panel = Panel(Learner(members, TopK(2), Minimum()), jax.tree.map(jnp.asarray, imitator.state), seen)
        found[weight] = [panel.judge(own, rng) for own in (seen, far)]
    (near, away), (answered, foreign) = found.values()
    for judged in (near, answered):
        assert np.mean(judged.minimum.argmax(-1) == right) > 0.9
    # A mean of 200 numbers in 1/2 .. 1 has a standard deviation of at most 0.018.
    assert np.mean(foreign.minimum.max(-1)) < np.mean(away.minimum.max(-1)) - 5 * 0.018


@pytest.mark.slow
def test_members_that_are_compared_are_contestants(tmp_path: Path) -> None:
    small = {**TINY, "contestants": ("minimum, decorrelated",), "worlds": ("angle reversed",), "more_episodes": 0}
    rows = run_shift(ShiftConfig(**small), tmp_path)
    assert [row["contestant"] for row in rows] == ["demonstrator", *["minimum, decorrelated"] * 2]


def test_every_contestant_has_members_and_a_score() -> None:
    assert {one.members for one in CONTESTANTS.values()} == set(MEMBERS)
    scores = {"theta", "confidence", "entropy", "variance", "distance", "random"}
    assert {one.score for one in CONTESTANTS.values()} == scores
