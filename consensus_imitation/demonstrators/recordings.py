"""Demonstrations on disk: what somebody did, step by step, as a start for an imitator."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from consensus_imitation.core._actions import check_action, check_recorded
from consensus_imitation.core._observations import given
from consensus_imitation.core.legal import check_legal, check_mask
from consensus_imitation.demonstrators import as_demonstrator
from consensus_imitation.demonstrators._base import sees_mask
from consensus_imitation.ensembles.neural.encoding import num_actions_of
from consensus_imitation.journal._archives import MAX_BYTES, check_name, read_arrays
from consensus_imitation.journal.export_minari import ALGORITHM, check_installed
from consensus_imitation.journal.record import WHO

_FORMAT = "consensus_imitation.demonstrators.recordings/1"
_OBSERVATIONS = "observations"
_NAMES = "names"
_MASKS = "action_masks"


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """T steps of a demonstrator that acted alone, one episode after the other.

    Attributes:
        observations: an array [T, ...], or a (nested) dictionary of such arrays; missions are an array of strings.
            (Those of `from_minari` may be tuples, too, which cannot be saved.)
        actions: int32 [T], the action on each.
        starts: bool [T], whether the step is the first of an episode; the first step always is.
        action_masks: bool [T, A], what was legal, for ``pretrain(..., action_masks=)``; None where nobody said.
    """

    observations: Any
    actions: npt.NDArray[np.int32]
    starts: npt.NDArray[np.bool_]
    action_masks: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """Return T, the number of steps."""
        return len(self.actions)

    def save(self, path: str | Path) -> None:
        """Write a compressed ``.npz`` of plain arrays; the file appears whole or not at all.

        Args:
            path: of the file; an existing one is replaced.

        Raises:
            ValueError: if these are not demonstrations: other shapes or types, or a name of an observation that an
                archive cannot hold, for example with a slash.
        """
        target = Path(path)
        arrays = {"format": np.array(_FORMAT), "actions": self.actions, "starts": self.starts}
        if self.action_masks is not None:
            arrays[_MASKS] = self.action_masks
        arrays |= _flatten(self.observations, _OBSERVATIONS)
        _check(arrays, "these demonstrations")
        arrays[_NAMES] = np.array(sorted(arrays))
        # In the same directory, so that the last step is a rename.
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                np.savez_compressed(file, **cast("Any", arrays))
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)


def load(path: str | Path, max_bytes: int = MAX_BYTES) -> Demonstrations:
    """Read what `Demonstrations.save` wrote. It never executes anything in the file.

    Args:
        path: of the file.
        max_bytes: limit for all arrays together, by default 1 GiB; a small file may claim a thousand times its size, so
            the check comes before any memory is taken.

    Raises:
        OSError: if there is no such file, or it cannot be opened.
        ValueError: if the file is damaged, holds something else, or exceeds the limit.

    Example:
        >>> import numpy as np, tempfile, pathlib
        >>> from consensus_imitation.demonstrators import recordings as demonstrations
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "walk.npz"
        >>> walk = demonstrations.Demonstrations(
        ...     {"at": np.array([4, 5])}, np.array([1, 1], np.int32), np.array([True, False])
        ... )
        >>> walk.save(path)
        >>> demonstrations.load(path).observations["at"].tolist()
        [4, 5]
    """
    arrays = read_arrays(path, max_bytes)
    # An archive has checksums of its contents, but none of their names.
    names = arrays.pop(_NAMES, np.array([]))
    if names.tolist() != sorted(arrays):
        raise ValueError(f"{path} is damaged or holds no demonstrations (its list of names does not match)")
    _check(arrays, str(path))
    return Demonstrations(
        _unflatten({name: array for name, array in arrays.items() if name.split("/")[0] == _OBSERVATIONS}),
        arrays["actions"],
        arrays["starts"],
        arrays.get(_MASKS),
    )


def record(env: Any, demonstrator: Any, num_steps: int, seed: int | None = None) -> Demonstrations:
    """Let a demonstrator act alone, and record what it does.

    Where the environment says in ``info["action_mask"]`` what is legal, that is recorded, too, and shown to a
    demonstrator that takes ``action_mask``.

    Args:
        env: a Gymnasium environment with integer actions from 0 on; it is reset at the beginning and after every
            episode, and stays where the last step led.
        demonstrator: anything that `as_demonstrator` takes.
        num_steps: T, at least 1; it may cut the last episode short.
        seed: of the environment; None keeps the one it has.

    Raises:
        ValueError: if ``num_steps`` is not positive, or an observation cannot be stored as arrays, or the environment
            gives masks on some steps only.
        InvalidAnswerError: if the demonstrator's answer is not an action, or not a legal one.
        ConfigurationError: if the environment's actions are not numbered from 0.

    Example:
        >>> from consensus_imitation.demonstrators import recordings as demonstrations
        >>> from consensus_imitation.experiments import tasks
        >>> task = tasks.make("cliffwalking")
        >>> env = task.make_env()
        >>> walk = demonstrations.record(env, task.make_demonstrator(env), num_steps=20, seed=0)
        >>> walk.actions[:3].tolist(), walk.starts.nonzero()[0].tolist()
        ([0, 1, 1], [0, 13])
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    teacher = as_demonstrator(demonstrator)
    num_actions = num_actions_of(env.action_space)
    observations: list[Any] = []
    actions: list[int] = []
    starts: list[bool] = []
    masks: list[Any] = []
    shows = sees_mask(teacher)
    observation, info = env.reset() if seed is None else env.reset(seed=seed)
    teacher.reset()
    begins = True
    for step in range(num_steps):
        # Before the demonstrator sees it, which gets its own copy.
        observations.append(_copied(observation))
        masks.append(check_mask(info.get("action_mask"), num_actions))
        shown = {"action_mask": given(masks[-1])} if shows else {}
        action = check_legal(check_action(teacher(given(observation), **shown), num_actions), masks[-1])
        teacher.observe(action, "demonstrator")
        actions.append(action)
        starts.append(begins)
        observation, _, terminated, truncated, info = env.step(action)
        begins = bool(terminated or truncated)
        if begins and step + 1 < num_steps:
            observation, info = env.reset()
            teacher.reset()
    done = (_stacked(observations), np.array(actions, np.int32), np.array(starts, np.bool_))
    return Demonstrations(*done, _all_or_none(masks))


def from_minari(dataset: Any) -> Demonstrations:
    """Take the episodes of a Minari dataset, as `ConsensusImitator.pretrain` studies them.

    Of a dataset that ``consensus-imitation journal export --format minari`` wrote, only the steps count that the
    demonstrator answered: the imitator's own actions are no demonstrations. Where others lie between two of them, the
    second begins an episode, so that no member takes the one for the step before the other.

    Choose no episodes by how they went (``dataset.filter_episodes``): see `ConsensusImitator.pretrain`.

    Args:
        dataset: the name of a dataset in Minari's directory (nothing is downloaded); or the directory that an export
            wrote, as a `Path`; or a ``minari.MinariDataset``.

    Raises:
        ImportError: without Minari, naming the extra.
        FileNotFoundError: if there is no such dataset.
        ConfigurationError: if its actions are not numbered from 0.
        ValueError: if it holds no step of a demonstrator, or an episode's parts do not fit each other.
        InvalidAnswerError: if an action is none.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from consensus_imitation import ConsensusImitator, Journal, ensembles
        >>> from consensus_imitation.demonstrators import recordings as demonstrations
        >>> from consensus_imitation.journal.export import export
        >>> members = ensembles.tabular(np.array([[[0.9, 0.1]], [[0.2, 0.8]]]))
        >>> folder = Path(tempfile.mkdtemp())
        >>> with ConsensusImitator(members, lambda seen: 1, journal=Journal(folder / "run", observations=True)) as one:
        ...     actions = [one.act(0).action for _ in range(20)]
        >>> walk = demonstrations.from_minari(export(folder / "run", folder / "walk-v0", "minari"))
        >>> len(walk) == one.num_queries, set(walk.actions.tolist())
        (True, {1})
    """
    found = _dataset(dataset)
    num_actions = num_actions_of(found.action_space)
    exported = getattr(getattr(found, "storage", None), "metadata", {}).get("algorithm_name") == ALGORITHM
    observations: list[Any] = []
    actions: list[npt.NDArray[np.int32]] = []
    starts: list[npt.NDArray[np.bool_]] = []
    masks: list[Any] = []
    for episode in found.iterate_episodes():
        length = len(episode.actions)
        if _rows(episode.observations) != {length + 1}:
            raise ValueError(f"episode {episode.id} has {length} actions, and not {length + 1} of every observation")
        answered = episode.infos["who"][:length] == WHO.index("demonstrator") if exported else np.ones(length, bool)
        kept = np.flatnonzero(answered)
        if len(kept):
            observations.append(_taken(episode.observations, kept))
            actions.append(check_recorded(np.asarray(episode.actions)[kept], num_actions))
            starts.append(np.diff(kept, prepend=-2) > 1)
            known = np.asarray(episode.infos["action_mask"], bool)[kept] if _has_masks(episode) else [None] * len(kept)
            masks.extend(known)
    if not actions:
        raise ValueError(f"{dataset} holds no step of a demonstrator: there is nothing to study")
    done = (_joined(observations), np.concatenate(actions), np.concatenate(starts))
    return Demonstrations(*done, _all_or_none(masks))


def _all_or_none(masks: list[Any]) -> npt.NDArray[np.bool_] | None:
    missing = sum(mask is None for mask in masks)
    if 0 < missing < len(masks):
        raise ValueError(f"{missing} of {len(masks)} steps have no action_mask, and the others have: give one to each")
    return None if missing else np.array(masks, bool)


def _dataset(dataset: Any) -> Any:
    if callable(getattr(dataset, "iterate_episodes", None)):
        return dataset
    check_installed()
    import minari

    if isinstance(dataset, Path):
        data = dataset.absolute() / "data"
        if not data.is_dir():
            raise FileNotFoundError(f"{dataset} is not the directory of a Minari dataset: it holds no data/")
        return minari.MinariDataset(data)
    return minari.load_dataset(dataset)


def _has_masks(episode: Any) -> bool:
    return isinstance(episode.infos, Mapping) and "action_mask" in episode.infos


def _rows(observations: Any) -> set[int]:
    """Return the numbers of rows of all parts."""
    if isinstance(observations, Mapping | tuple):
        parts = observations.values() if isinstance(observations, Mapping) else observations
        return set[int]().union(*map(_rows, parts))
    return {len(observations)}


def _taken(observations: Any, rows: npt.NDArray[np.intp]) -> Any:
    if isinstance(observations, Mapping):
        return {name: _taken(part, rows) for name, part in observations.items()}
    if isinstance(observations, tuple):
        return tuple(_taken(part, rows) for part in observations)
    # Texts come as a list.
    return np.asarray(observations)[rows]


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], dict):
        return {name: _joined([part[name] for part in parts]) for name in parts[0]}
    if isinstance(parts[0], tuple):
        return tuple(_joined([part[i] for part in parts]) for i in range(len(parts[0])))
    return np.concatenate(parts)


def _copied(observation: Any) -> Any:
    """Copy an observation: an environment may write its next one into the same array."""
    if isinstance(observation, Mapping):
        return {key: _copied(part) for key, part in observation.items()}
    return np.array(observation)


def _stacked(rows: list[Any]) -> Any:
    if isinstance(rows[0], dict):
        return {key: _stacked([row[key] for row in rows]) for key in rows[0]}
    stacked = np.stack(rows)
    if stacked.dtype.hasobject:
        raise ValueError("observations must be arrays, numbers, strings or dictionaries of these")
    return stacked


def _flatten(observations: Any, name: str) -> dict[str, npt.NDArray[Any]]:
    if isinstance(observations, tuple):
        raise ValueError(f"{name} is a tuple, which a file of demonstrations does not hold: use a dictionary")
    if not isinstance(observations, Mapping):
        return {name: np.asarray(observations)}
    if not observations and name != _OBSERVATIONS:
        raise ValueError(f"{name} is an empty dictionary, which would not come back: leave it out")
    flat: dict[str, npt.NDArray[Any]] = {}
    for key, part in observations.items():
        if not isinstance(key, str):
            raise ValueError(f"observations must be named by texts, got {key!r}")
        check_name(key)
        flat |= _flatten(part, f"{name}/{key}")
    return flat


def _unflatten(flat: Mapping[str, npt.NDArray[Any]]) -> Any:
    if _OBSERVATIONS in flat:
        return flat[_OBSERVATIONS]
    nested: dict[str, Any] = {}
    for name, array in flat.items():
        *path, last = name.split("/")[1:]
        at = nested
        for key in path:
            at = at.setdefault(key, {})
        at[last] = array
    return nested


def _check(arrays: Mapping[str, npt.NDArray[Any]], what: str) -> None:
    """Raise ValueError unless these arrays are demonstrations."""
    if "format" not in arrays or str(arrays["format"]) != _FORMAT:
        raise ValueError(f"{what}: no demonstrations, which are marked {_FORMAT!r}")
    observations = {name: array for name, array in arrays.items() if name.split("/")[0] == _OBSERVATIONS}
    missing = [name for name in ("actions", "starts") if name not in arrays] + ([] if observations else [_OBSERVATIONS])
    if missing:
        raise ValueError(f"{what}: {', '.join(missing)} missing")
    if any(other.startswith(f"{name}/") for name in observations for other in observations):
        raise ValueError(f"{what}: an observation is either an array or a dictionary, not both")
    actions, starts = arrays["actions"], arrays["starts"]
    if actions.dtype != np.int32 or actions.ndim != 1 or len(actions) == 0 or actions.min() < 0:
        raise ValueError(f"{what}: actions must be int32 [T], non-negative, T at least 1")
    if starts.dtype != np.bool_ or starts.shape != actions.shape or not starts[0]:
        raise ValueError(f"{what}: starts must be bool [T], and the first step starts an episode")
    if _MASKS in arrays:
        masks = arrays[_MASKS]
        fits = masks.dtype == np.bool_ and masks.ndim == 2 and len(masks) == len(actions)
        if not fits or actions.max() >= masks.shape[1] or not masks[np.arange(len(actions)), actions].all():
            raise ValueError(f"{what}: action_masks must be bool [T, A], and allow every action that was taken")
    for name, array in observations.items():
        if array.dtype.hasobject or array.ndim < 1 or len(array) != len(actions):
            raise ValueError(f"{what}: {name} must be an array of {len(actions)} rows, of numbers or strings")
