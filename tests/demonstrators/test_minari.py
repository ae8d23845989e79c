"""Episodes of Minari datasets as demonstrations: there and back, and only what a demonstrator did."""

import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from consensus_imitation import ConsensusImitator, Journal, TopK, ensembles
from consensus_imitation.demonstrators import recordings as demonstrations
from consensus_imitation.errors import ConfigurationError, InvalidAnswerError
from consensus_imitation.journal.export import export

A, S = 4, 6
PROBS = np.random.default_rng(0).dirichlet(np.ones(A), (3, S))


def imitator(members: Any = None, demonstrator: Any = None, **more: Any) -> ConsensusImitator:
    members = ensembles.tabular(PROBS) if members is None else members
    return ConsensusImitator(members, demonstrator, **{"selection": TopK(2), "seed": 0, **more})


def exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: Any, observations: list[Any]
) -> ConsensusImitator:
    """A run with a journal, as the dataset ``one-v0``; three episodes."""
    pytest.importorskip("minari")
    expert = np.random.default_rng(1)
    one = imitator(members, lambda seen: int(expert.integers(A)), journal=Journal(tmp_path / "run", observations=True))
    for t, seen in enumerate(observations):
        if t in (len(observations) // 3, len(observations) // 2):
            one.begin_episode()
        one.act(seen)
    one.close()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    export(tmp_path / "run", tmp_path / "datasets" / "one-v0", "minari")
    return one


def test_a_dataset_by_name_teaches_what_the_answers_taught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's own steps taught it nothing: those who study them, too, would end elsewhere."""
    one = exported(tmp_path, monkeypatch, None, [np.int32(t % S) for t in range(60)])
    walk = demonstrations.from_minari("one-v0")
    assert 0 < len(walk) == one.num_queries < 60
    other = imitator()
    other.pretrain(walk.observations, walk.actions, walk.starts)
    np.testing.assert_array_equal(other.weights, one.weights)
    assert abs(one.weights - imitator().weights).max() > 0.1
    again = demonstrations.from_minari(tmp_path / "datasets" / "one-v0")
    np.testing.assert_equal(vars(again), vars(walk))


@pytest.mark.slow
def test_networks_learn_the_same_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = ensembles.mlp((3,), A, num_members=2)
    seen = list(np.random.default_rng(2).normal(size=(30, 3)).astype(np.float32))
    one = exported(tmp_path, monkeypatch, members, seen)
    walk = demonstrations.from_minari("one-v0")
    other = imitator(members)
    other.pretrain(walk.observations, walk.actions, walk.starts)
    np.testing.assert_allclose(other.weights, one.weights, atol=1e-6)
    actions, _ = one.policy().predict(np.stack(seen))
    assert other.policy().predict(np.stack(seen))[0].tolist() == actions.tolist()


# --- what is taken of a dataset ---


class Dataset:
    """What is used of Minari's."""

    def __init__(self, *episodes: Any, actions: Any = None, by: str = "somebody") -> None:
        self.action_space = spaces.Discrete(3) if actions is None else actions
        self.storage = types.SimpleNamespace(metadata={"algorithm_name": by})
        self._episodes = episodes

    def iterate_episodes(self) -> Any:
        return iter(self._episodes)


def episode(observations: Any, actions: Any, who: Any = None) -> Any:
    infos = {} if who is None else {"who": np.array([*who, -1], np.int8)}
    return types.SimpleNamespace(id=7, observations=observations, actions=np.asarray(actions), infos=infos)


def test_all_steps_of_a_demonstrators_own_episodes_count() -> None:
    """Every action with the observation before it; the last observation of an episode has none."""
    walk = demonstrations.from_minari(
        Dataset(episode(np.arange(4), [0, 1, 2]), episode(np.array([9]), []), episode(np.array([7, 8]), [1]))
    )
    assert walk.observations.tolist() == [0, 1, 2, 7]
    assert walk.actions.tolist() == [0, 1, 2, 1]
    assert walk.starts.tolist() == [True, False, False, True]
    assert walk.actions.dtype == np.int32


def test_of_an_export_only_answers_count_and_what_lies_between_breaks_an_episode() -> None:
    first = episode(np.arange(8), [0, 1, 2, 0, 1, 2, 0], [0, 1, 1, 2, 1, 0, 0])
    others = episode(np.array([20, 21]), [1], [0])
    last = episode(np.array([30, 31, 32]), [2, 2], [1, 1])
    walk = demonstrations.from_minari(Dataset(first, others, last, by="consensus_imitation"))
    assert walk.observations.tolist() == [1, 2, 4, 30, 31]
    assert walk.actions.tolist() == [1, 2, 1, 2, 2]
    assert walk.starts.tolist() == [True, False, True, True, False]
    # Of another library's dataset nobody knows what such numbers mean.
    assert len(demonstrations.from_minari(Dataset(first, others, last))) == 10


def test_parts_and_texts_stay_what_they_are(tmp_path: Path) -> None:
    seen = {"at": np.zeros((3, 2)), "mission": ["go", "stop", "stop"], "inner": (np.arange(3), np.arange(3))}
    walk = demonstrations.from_minari(Dataset(episode(seen, [0, 1]), episode(seen, [2, 2])))
    assert walk.observations["mission"].tolist() == ["go", "stop"] * 2
    assert walk.observations["inner"][1].tolist() == [0, 1] * 2
    assert walk.observations["at"].shape == (4, 2)
    with pytest.raises(ValueError, match="is a tuple, which a file of demonstrations does not hold"):
        walk.save(tmp_path / "walk")


@pytest.mark.parametrize(
    ("dataset", "error", "said"),
    [
        (Dataset(), ValueError, "no step of a demonstrator"),
        (Dataset(episode(np.arange(2), [1], [0]), by="consensus_imitation"), ValueError, "no step of a demonstrator"),
        (Dataset(episode(np.arange(3), [1])), ValueError, "episode 7 has 1 actions, and not 2 of every observation"),
        (Dataset(episode({"a": np.arange(2), "b": np.arange(3)}, [1])), ValueError, "not 2 of every observation"),
        (Dataset(episode(np.arange(2), [3])), InvalidAnswerError, "no action"),
        (Dataset(episode(np.arange(2), [0.5])), InvalidAnswerError, "no action"),
        (Dataset(actions=spaces.Box(-1, 1, (2,))), ConfigurationError, "actions must be numbered"),
        (Dataset(actions=spaces.Discrete(3, start=1)), ConfigurationError, "actions must be numbered from 0"),
    ],
)
def test_what_is_no_demonstration_is_refused(dataset: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        demonstrations.from_minari(dataset)


def test_without_minari_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consensus_imitation.journal.export_minari.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"consensus_imitation\[minari\]"):
        demonstrations.from_minari("one-v0")


def test_a_dataset_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="one-v0"):
        demonstrations.from_minari("one-v0")
    with pytest.raises(FileNotFoundError, match="not the directory of a Minari dataset"):
        demonstrations.from_minari(tmp_path)
