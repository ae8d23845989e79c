"""What an imitator of either shell has learned, in a single file: written whole or not at all, checked when it is read.

It is a checkpoint as a journal has them (`journal.checkpoint`), whose header says that it was saved by itself.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from consensus_imitation.core.sampling_learner import SamplingState
from consensus_imitation.core.state import LearnerState
from consensus_imitation.errors import ConfigurationError, JournalCorruptedError
from consensus_imitation.imitator._description import versions
from consensus_imitation.imitator._live import Kind
from consensus_imitation.journal._files import put
from consensus_imitation.journal.checkpoint import load_checkpoint, load_header, save_checkpoint

#: Of what the header says; another one is refused.
FORMAT = 1


def save_state(path: str | Path, state: LearnerState | SamplingState, shell: str, overwrite: bool) -> None:
    """Write a state to a file of its own; it is on the disk when this returns.

    Args:
        path: of the file; its directory has to be there.
        state: of an imitator, as a checkpoint holds it.
        shell: what loads it again.
        overwrite: whether a file that is there may be replaced.

    Raises:
        ConfigurationError: if the file is there and may not be replaced.
        OSError: if it cannot be written; what was there before is whole.
    """
    path = Path(path)
    taken = f"{path} is there already: choose another path, or pass overwrite=True"
    if not overwrite and path.exists():
        raise ConfigurationError(taken)
    steps = state.stream.step
    saved = {
        "format": FORMAT,
        "by": shell,
        "num_envs": steps.shape[0] if steps.ndim else None,
        "num_members": state.posterior.log_weights.shape[0],
        "versions": versions(),
    }
    # Its own name, so that nobody who saves at the same time writes to it.
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        save_checkpoint(part, state, {"saved": saved})
        put(part, path, overwrite)
    except FileExistsError as error:
        raise ConfigurationError(taken) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def load_state(path: str | Path, kind: Kind, num_members: int, setup_of: Callable[[int | None], Any]) -> Any:
    """Read what `save_state` wrote.

    Args:
        path: of the file.
        kind: of the shell that is to go on from it.
        num_members: N, of the ensemble that is to go on.
        setup_of: members and rules that are to go on, given the number of environments or None.

    Raises:
        FileNotFoundError: if there is no such file.
        JournalCorruptedError: if it is no file of this library, or not what was written.
        ConfigurationError: if it does not fit, is the other shell's, of a newer version, or a checkpoint of a run.
    """
    path, shell = Path(path), kind.notation.SHELL
    saved = load_header(path).get("saved")
    if saved is None:
        raise ConfigurationError(
            f"{path} is a checkpoint of a run, and not what save() writes: go on with the run by {shell}.resume(...), "
            "or by run_gymnasium(..., resume=True)"
        )
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        raise ConfigurationError(
            f"{path} was saved by another version of this library, in a format that this one does not read (it reads "
            f"format {FORMAT}): {saved!r:.200}"
        )
    by, num_envs, members = (saved.get(name) for name in ("by", "num_envs", "num_members"))
    if by != shell:
        raise ConfigurationError(f"{path} was saved by a {by}: load it by {by}.load(...)")
    if num_envs is not None and (type(num_envs) is not int or num_envs < 1):
        raise JournalCorruptedError(f"{path} claims to be of {num_envs!r} environments")
    if members != num_members:
        raise ConfigurationError(
            f"the state in {path} does not fit: it holds {members} weights, the ensemble has {num_members} members"
        )
    return load_checkpoint(path, kind.again.like(setup_of(num_envs))).state
