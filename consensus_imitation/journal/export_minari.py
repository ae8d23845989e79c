"""A journal as a Minari dataset: episodes of observations and actions, each step flagged with who acted.

Minari and h5py are imported only when a dataset is written.
"""

import os
import shutil
import string
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from consensus_imitation.core._packing import unpack
from consensus_imitation.errors import JournalError, ObservationError
from consensus_imitation.journal._archives import check_name
from consensus_imitation.journal.reader import Reader
from consensus_imitation.journal.record import WHO, Entry, Record

_DESCRIPTION = (
    "Steps of a conservative imitator. infos['who'] says who chose each action: 0 the imitator, 1 the demonstrator, 2 "
    "the safe action, when nobody answered. Rewards were not recorded: they are NaN. Terminations were not, either: "
    "every episode is marked as truncated, and its last observation, which is unknown, repeats the one before."
)

#: Minari's metadata of every such dataset; only there does ``infos["who"]`` mean what is said above.
ALGORITHM = "consensus_imitation"


@dataclass
class _Episode:
    """An episode of one environment, as far as it has come."""

    observations: list[Any] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    asked: dict[int | None, tuple[Any, Record]] = field(default_factory=dict)

    def add(self, observation: Any, record: Record) -> None:
        self.observations.append(observation)
        self.records.append(record)


def write(reader: Reader, out: Path) -> Path:
    """Write the steps that are over as a dataset.

    Args:
        reader: of the journal.
        out: the dataset's directory; ``minari.MinariDataset(out / "data")`` reads it, and
            ``minari.load_dataset(name)`` if it is ``<Minari's directory>/<name>``, and the name one such as
            ``imitation-v0``.

    Raises:
        ImportError: without Minari, naming the extra.
        JournalError: if an observation was not kept, or there is no step.
        ObservationError: if the observations do not have one structure, of arrays, numbers and texts, or have names or
            texts that HDF5 cannot hold.
    """
    check_installed()
    import gymnasium
    import minari
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    storage: Any = None
    kind: Any = None
    # Minari resolves a relative path twice. The dataset takes its place when it is whole, whenever the process ends.
    part = out.absolute().with_name(f".{out.name}.{os.getpid()}.part")
    data = part / "data"
    shutil.rmtree(part, ignore_errors=True)
    try:
        for episode in _episodes(reader):
            if storage is None:
                kind = _kind(episode.observations[0])
                space = _space(episode.observations[0], "the observation", lambda: _letters(reader))
                data.mkdir(parents=True)
                actions = gymnasium.spaces.Discrete(reader.shapes.num_actions or 0)
                storage = MinariStorage.new(data, space, actions, data_format="hdf5", jpeg_encoding=False)
                about = {"dataset_id": out.name, "minari_version": minari.__version__, "description": _DESCRIPTION}
                about["algorithm_name"] = ALGORITHM
                storage.update_metadata(about)
            for observation in episode.observations:
                if _kind(observation) != kind:
                    raise ObservationError(f"Minari needs observations of one kind: {observation!r} is not of {kind}")
            buffer = EpisodeBuffer(**_columns(episode))
            storage.update_episodes([buffer])
        if storage is None:
            raise JournalError(f"{reader.path} holds no step that is over: there is nothing to export")
        part.rename(out)
    except BaseException:
        with suppress(OSError):
            if part.exists():
                shutil.rmtree(part)
        raise
    return out


def check_installed() -> None:
    """Raise ImportError, naming the extra, unless Minari's datasets can be read and written."""
    if find_spec("h5py") is None or find_spec("minari") is None:
        raise ImportError('datasets of Minari need minari and h5py: pip install "consensus_imitation[minari]"')


def _episodes(reader: Reader) -> Iterator[_Episode]:
    """The episodes in the order in which they end, environment by environment at the end of the journal."""
    now: dict[int | None, _Episode] = {}
    for _, call in groupby(reader.entries(), key=lambda entry: entry.call):
        yield from _taken(reader, list(call), now)
    yield from (now[env] for env in _in_order(now) if now[env].records)


def _taken(reader: Reader, call: list[Entry], now: dict[int | None, _Episode]) -> Iterator[_Episode]:
    for entry in call:
        record = entry.record
        if record.kind == "begin":
            for env in _in_order(now) if record.env is None else [record.env]:
                over = now.pop(env, None)
                if over is not None and over.records:
                    yield over
            continue
        episode = now.setdefault(record.env, _Episode())
        if record.kind in ("act", "ask", "takeover"):
            observation = _observation(reader, call, record)
            if record.kind != "ask":
                episode.add(observation, record)
            else:
                episode.asked[record.query] = observation, record
        elif record.kind in ("answer", "safe") and record.query in episode.asked:
            observation, asked = episode.asked.pop(record.query)
            episode.add(observation, _closed(asked, record))
        elif record.kind == "withdraw":
            for one in now.values():
                one.asked.pop(record.query, None)


def _in_order(environments: Iterable[int | None]) -> list[int | None]:
    return sorted(environments, key=lambda env: -1 if env is None else env)


def _closed(asked: Record, answer: Record) -> Record:
    return replace(asked, kind=answer.kind, action=answer.action, who=answer.who)


def _observation(reader: Reader, call: list[Entry], record: Record) -> Any:
    kept = reader.observation_of(call[0].call)
    if kept is None:
        raise JournalError(
            f"the observation of step {record.step} (call {call[0].call}) was not kept, and Minari's datasets need all "
            "of them: record with Journal(..., observations=True), or export to csv, parquet or npz"
        )
    observation = unpack(kept)
    together = record.in_lockstep and record.env is not None
    return _row(observation, record.env or 0) if together else observation


def _row(observations: Any, env: int) -> Any:
    """One environment's part of what a vector environment gave."""
    if isinstance(observations, dict):
        return {name: _row(part, env) for name, part in observations.items()}
    if isinstance(observations, tuple) and not all(isinstance(one, str) for one in observations):
        return tuple(_row(part, env) for part in observations)
    return observations[env]


def _columns(episode: _Episode) -> dict[str, Any]:
    """What Minari's buffer takes: T actions, T + 1 observations and infos."""
    records = episode.records
    T = len(records)
    asked = [np.nan if record.query_prob is None else record.query_prob for record in records]
    return {
        "observations": _stacked([*episode.observations, episode.observations[-1]]),
        "actions": [np.int64(record.action or 0) for record in records],
        "rewards": [np.nan] * T,
        "terminations": [False] * T,
        "truncations": [False] * (T - 1) + [True],
        "infos": {
            # Numbers in `WHO`; -1 belongs to the repeated observation that closes an episode.
            "who": np.array([*(WHO.index(record.who or "") for record in records), -1], np.int8),
            "query_prob": np.array([*asked, np.nan]),
            **_masks(records),
        },
    }


def _masks(records: list[Record]) -> dict[str, Any]:
    """What was legal, as ``infos["action_mask"]``; everything where nobody said. Nothing if nobody ever did."""
    known = next((record.action_mask for record in records if record.action_mask is not None), None)
    if known is None:
        return {}
    everything = np.ones_like(known)
    masks = [everything if record.action_mask is None else record.action_mask for record in records]
    return {"action_mask": np.array([*masks, everything])}


def _stacked(observations: list[Any]) -> Any:
    first = observations[0]
    if isinstance(first, dict):
        return {name: _stacked([one[name] for one in observations]) for name in first}
    if isinstance(first, tuple):
        return tuple(_stacked([one[i] for one in observations]) for i in range(len(first)))
    return observations if isinstance(first, str) else [np.asarray(one) for one in observations]


def _kind(observation: Any) -> Any:
    """Structure, shapes and types."""
    if isinstance(observation, dict):
        return {name: _kind(part) for name, part in observation.items()}
    if isinstance(observation, tuple):
        return tuple(_kind(part) for part in observation)
    return "text" if isinstance(observation, str) else (np.shape(observation), np.asarray(observation).dtype.str)


def _letters(reader: Reader) -> tuple[str, int]:
    """All characters of all texts, and the length of the longest text."""
    texts = [text for episode in _episodes(reader) for seen in episode.observations for text in _texts(seen)]
    return "".join(sorted(set(string.printable).union(*texts))), max(map(len, texts))


def _texts(observation: Any) -> Iterator[str]:
    if isinstance(observation, str):
        yield observation
    elif isinstance(observation, dict | tuple):
        for part in observation.values() if isinstance(observation, dict) else observation:
            yield from _texts(part)


def _space(observation: Any, place: str, letters: Callable[[], tuple[str, int]]) -> Any:
    """A space that holds an observation and all others of its kind."""
    from gymnasium import spaces

    if isinstance(observation, dict):
        for name in observation:
            _check_name(name, place)
        return spaces.Dict({name: _space(part, f"{place}[{name!r}]", letters) for name, part in observation.items()})
    if isinstance(observation, tuple):
        return spaces.Tuple([_space(part, f"{place}[{i}]", letters) for i, part in enumerate(observation)])
    if isinstance(observation, str):
        charset, longest = letters()
        if "\0" in charset:
            raise ObservationError(f"{place} is a text, and HDF5 holds none with a NUL: export to another format")
        return spaces.Text(max(1, longest), min_length=0, charset=charset)
    array = np.asarray(observation)
    if array.size == 0:
        raise ObservationError(f"{place} is an empty array, which Minari does not hold: export to another format")
    if array.dtype.kind == "b":
        return spaces.Box(0, 1, array.shape, np.dtype(np.bool_))  # type: ignore[arg-type]
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        return spaces.Box(limits.min, limits.max, array.shape, array.dtype)  # type: ignore[arg-type]
    if array.dtype.kind == "f":
        return spaces.Box(-np.inf, np.inf, array.shape, array.dtype)  # type: ignore[arg-type]
    raise ObservationError(f"{place} is of {array.dtype}, which Minari does not hold: export to another format")


def _check_name(name: str, place: str) -> None:
    """HDF5 takes names for paths."""
    try:
        check_name(name)
    except ValueError as error:
        raise ObservationError(f"{place}: {error}, or export to another format") from error
    if name in (".", ".."):
        raise ObservationError(f"{place} has the key {name!r}, which HDF5 cannot hold: export to another format")
