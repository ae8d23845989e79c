"""What environments say is legal, in the loops of the library: nothing else is done there."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.demonstrators import recordings
from consensus_imitation.errors import ConfigurationError, InvalidAnswerError, ObservationError
from consensus_imitation.experiments import run_gymnasium
from consensus_imitation.experiments.tasks import Rules, Task, evaluate
from consensus_imitation.experiments.tasks.masks import MaskInInfo, split_mask
from consensus_imitation.experiments.tasks.wrapper import ConsensusWrapper
from tests.imitator.leduc import A, Leduc, expert

MEMBERS = ensembles.mlp(Leduc.observation_space, A, num_members=2, hidden=(8,), training=ensembles.Training(updates=2))


class Silent(Leduc):
    """Says what is legal by sb3-contrib's convention only."""

    def _info(self) -> dict[str, Any]:
        return {}


class Forgetful(Leduc):
    """Says it after a reset only."""

    def step(self, action: int) -> Any:
        *outcome, _ = super().step(action)
        return (*outcome, {})


class Petting(gymnasium.Env[Any, int]):
    """Says it in the observation, as PettingZoo's environments do."""

    observation_space = gymnasium.spaces.Dict(
        observation=Leduc.observation_space, action_mask=gymnasium.spaces.MultiBinary(A)
    )
    action_space = Leduc.action_space

    def __init__(self) -> None:
        self._game = Leduc()

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        seen, info = self._game.reset(seed=seed)
        return {"observation": seen, **info}, {}

    def step(self, action: int) -> Any:
        seen, *outcome, info = self._game.step(action)
        return ({"observation": seen, **info}, *outcome, {})


def imitator(demonstrator: Any = expert, **more: Any) -> ConsensusImitator:
    return ConsensusImitator(MEMBERS, demonstrator, selection=TopK(2), seed=0, **more)


def by_function(env: Any) -> Any:
    return env.unwrapped.action_masks()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env", "function"),
    [(Leduc(), None), (Silent(), by_function), (MaskInInfo(Petting()), None)],
    ids=["info", "function", "observation"],
)
def test_a_run_does_nothing_illegal(env: Any, function: Any) -> None:
    """The game raises at an illegal move; all three ways of saying what is legal give the same run."""
    one = imitator()
    run = run_gymnasium(
        env, one, num_steps=150, progress=False, action_mask=function,
        evaluate=type(env)(Petting()) if isinstance(env, MaskInInfo) else type(env)(), evaluate_every=150,
        evaluation_episodes=5,
    )  # fmt: skip
    other = imitator()
    same = run_gymnasium(Leduc(), other, num_steps=150, progress=False)
    assert run.answers == same.answers > 0
    assert [row["return"] for row in run.episodes] == [row["return"] for row in same.episodes]
    assert run.evaluations[0]["episodes"] == 5


def test_without_a_mask_the_game_ends_the_run() -> None:
    with pytest.raises(AssertionError, match="is illegal"):
        run_gymnasium(Silent(), imitator(lambda seen: 0), num_steps=150, progress=False)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
def test_a_vector_of_games(mode: AutoresetMode) -> None:
    env = SyncVectorEnv([Leduc] * 3, autoreset_mode=mode)
    one = imitator(num_envs=3)
    run = run_gymnasium(env, one, num_steps=80, progress=False)
    assert len(run.episodes) > 20
    by_hand = SyncVectorEnv([Silent] * 3, autoreset_mode=mode)
    other = imitator(num_envs=3)
    again = run_gymnasium(
        by_hand, other, num_steps=80, progress=False, action_mask=lambda envs: np.stack(envs.call("action_masks"))
    )
    assert again.answers == run.answers


def test_a_mask_that_is_missing_is_no_mask_of_everything() -> None:
    with pytest.raises(ObservationError, match="does not say it now"):
        run_gymnasium(Forgetful(), imitator(), num_steps=150, progress=False)
    with pytest.raises(ObservationError, match="does not say it now"):
        run_gymnasium(SyncVectorEnv([Leduc, Silent]), imitator(num_envs=2), num_steps=50, progress=False)


@pytest.mark.parametrize("function", [None, by_function])
def test_the_wrapper(function: Any) -> None:
    env = ConsensusWrapper(Silent() if function else Leduc(), imitator(None), action_mask=function)
    seen, info = env.reset(seed=0)
    refused = 0
    for _ in range(100):
        mask = np.asarray(info["action_mask"], bool)
        if info["asked"] and not mask.all():
            with pytest.raises(InvalidAnswerError, match="the action mask forbids here"):
                env.step(int(np.argmin(mask)))
            refused += 1
        seen, _, over, _, info = env.step(expert(seen, mask))
        if over:
            seen, info = env.reset()
    assert refused > 20
    assert env.imitator.num_queries >= refused


def test_members_see_what_is_beside_the_mask() -> None:
    env = MaskInInfo(Petting())
    assert env.observation_space == Leduc.observation_space
    seen, info = env.reset(seed=0)
    assert seen.shape == (12,)
    assert info["action_mask"].shape == (A,)
    with pytest.raises(ConfigurationError, match="MaskInInfo"):
        MaskInInfo(Leduc())
    for other in (seen, {"observation": seen}, {"observation": seen, "action_mask": 1, "more": 2}):
        with pytest.raises(ObservationError, match="expected an observation"):
            split_mask(other)


def test_recordings_keep_masks_and_refuse_what_they_forbid(tmp_path: Any) -> None:
    walk = recordings.record(Leduc(), expert, num_steps=40, seed=0)
    assert walk.action_masks is not None
    walk.save(tmp_path / "walk.npz")
    back = recordings.load(tmp_path / "walk.npz")
    np.testing.assert_array_equal(back.action_masks, walk.action_masks)
    one = imitator()
    one.pretrain(back.observations, back.actions, back.starts, back.action_masks)
    with pytest.raises(InvalidAnswerError, match="the action mask forbids here"):
        recordings.record(Leduc(), lambda seen: 0, num_steps=40, seed=0)
    with pytest.raises(ValueError, match="have no action_mask"):
        recordings.record(Forgetful(), lambda seen: 1, num_steps=2, seed=0)
    wrong = recordings.Demonstrations(walk.observations, walk.actions, walk.starts, ~walk.action_masks)
    with pytest.raises(ValueError, match="allow every action"):
        wrong.save(tmp_path / "wrong.npz")
    plain = recordings.Demonstrations(walk.observations, walk.actions, walk.starts)
    plain.save(tmp_path / "plain.npz")
    assert recordings.load(tmp_path / "plain.npz").action_masks is None


def test_an_evaluation_shows_masks_and_refuses_what_they_forbid() -> None:
    task = Task(
        name="leduc", env_id="Leduc", success_means="any game", harm_means="none", threshold="return",
        max_episode_steps=20, members="mlp", rules=Rules(solved=lambda episode: True), build_env=lambda mode: Leduc(),
        build_demonstrator=lambda *_: expert,
    )  # fmt: skip

    def predict(seen: Any, action_masks: Any) -> Any:
        assert action_masks.shape == (3, A)
        return action_masks.argmax(-1)

    assert len(evaluate(task, predict, episodes=3)) == 3
    with pytest.raises(InvalidAnswerError, match="predict gave"):
        evaluate(task, lambda seen, action_masks: action_masks.argmin(-1), episodes=3)
