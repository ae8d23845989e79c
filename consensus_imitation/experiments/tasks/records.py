"""The files of a run in a Gymnasium environment: tables that grow row by row, a checkpoint, event files."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from consensus_imitation.experiments.ledger import claim_directory
from consensus_imitation.experiments.results import CsvLog, Row, whole
from consensus_imitation.imitator import ConsensusImitator
from consensus_imitation.imitator._teaching import from_disk, in_rows
from consensus_imitation.journal.checkpoint import load_checkpoint

STEP_COLUMNS = (
    *("step", "env", "episode", "action", "queried", "query_prob", "reward", "terminated", "truncated"),
    *("withheld", "harm"),
)  # fmt: skip
EPISODE_COLUMNS = (
    *("episode", "env", "step", "length", "return", "queries", "terminated", "truncated", "success", "harm"),
)  # fmt: skip
EVALUATION_COLUMNS = ("step", "answers", "episodes", "mean_return", "mean_length", "success", "harm")

#: Where a run in the directory began, for an imitator with a journal.
BEGINNING = "beginning.json"


class Records:
    """The files of a run, or none.

    Attributes:
        step: where the run continues.
        episodes: number of episodes begun before that.
        checkpoint: path of the checkpoint; None without files, and where the imitator's journal holds its state.
        logs: by name; empty without files.
    """

    def __init__(self) -> None:
        self.step = 0
        self.episodes = 0
        self.checkpoint: Path | None = None
        self.logs: dict[str, CsvLog] = {}

    def append(self, name: str, row: Row) -> None:
        """Write a row, if there are files."""
        if self.logs:
            self.logs[name].append(row)

    def flush(self) -> None:
        """Give everything to the operating system."""
        for log in self.logs.values():
            log.flush()


def open_records(
    out: Path | None,
    imitator: ConsensusImitator,
    num_envs: int,
    seed: int,
    resume: bool,
    overwrite: bool,
    stack: ExitStack,
) -> Records:
    """Open the files of a run, and set the imitator to the checkpoint, if the run is to continue.

    An imitator with a journal stays as it is: it was resumed from there. Rows of its last steps may be missing if the
    process was killed. Queries that waited are withdrawn, since their world no longer exists.

    Raises:
        ValueError: if ``out`` holds other results, or a run that is neither to continue nor to be replaced.
    """
    records = Records()
    if out is None:
        return records
    out = Path(out)
    about = {"experiment": "gymnasium", "environments": num_envs, "seed": seed}
    if imitator.run_dir is not None:
        about["run"] = imitator.run
    known = claim_directory(out, about, overwrite, () if resume else ("checkpoint.msgpack", BEGINNING))
    if known and not resume and (out / "steps.csv").exists():
        raise ValueError(f"{out} already holds a run: add resume=True to continue, or overwrite=True to replace it")
    if imitator.run_dir is not None:
        records.step = imitator.num_steps - _beginning(out / BEGINNING, imitator)
        for decision in imitator.pending if resume else ():
            imitator.withdraw(decision)
    else:
        records.checkpoint = out / "checkpoint.msgpack"
    if resume and records.checkpoint is not None and records.checkpoint.exists():
        saved = load_checkpoint(records.checkpoint, like=from_disk(imitator.state))
        imitator.restore(in_rows(saved.state))
        records.step, records.episodes = int(saved.header["step"]), int(saved.header["episodes"])

    def before(row: Row) -> bool:
        return row["step"] < records.step

    def until(row: Row) -> bool:
        return row["step"] <= records.step

    for name, columns, keep in (
        ("steps", STEP_COLUMNS, before),
        ("episodes", EPISODE_COLUMNS, before),
        # An evaluation comes after the step that it is named after.
        ("evaluations", EVALUATION_COLUMNS, until),
    ):
        records.logs[name] = stack.enter_context(CsvLog(out / f"{name}.csv", columns, keep))
    if imitator.run_dir is not None:
        records.episodes = 1 + max((row["episode"] for row in records.logs["steps"].kept), default=-1)
    return records


def _beginning(file: Path, imitator: ConsensusImitator) -> int:
    """Return how many steps an imitator with a journal had taken when the run began; written down then."""
    if not file.exists():
        with whole(file) as part:
            part.write_text(json.dumps({"steps": imitator.num_steps}) + "\n", encoding="utf-8")
    # If steps are written in groups, a crash may lose some of them.
    return min(json.loads(file.read_text(encoding="utf-8"))["steps"], imitator.num_steps)


def open_writer(out: Path, stack: ExitStack) -> Any:
    """Return a writer of event files.

    Raises:
        ImportError: without tensorboardX, naming the extra that brings it.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError('event files need tensorboardX: pip install "consensus_imitation[tensorboard]"') from error
    writer = SummaryWriter(str(Path(out) / "tensorboard"))
    stack.callback(writer.close)
    return writer
