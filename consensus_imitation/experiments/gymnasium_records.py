"""What a run in a Gymnasium environment writes: tables that grow row by row, a checkpoint, event files."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from consensus_imitation.experiments.results import CsvLog, Row, claim_directory
from consensus_imitation.imitator import ConsensusImitator
from consensus_imitation.journal.checkpoint import load_checkpoint

STEP_COLUMNS = (
    *("step", "env", "episode", "action", "queried", "query_prob", "reward", "terminated", "truncated"),
)  # fmt: skip
EPISODE_COLUMNS = (
    *("episode", "env", "step", "length", "return", "queries", "terminated", "truncated", "success", "harm"),
)  # fmt: skip
EVALUATION_COLUMNS = ("step", "answers", "episodes", "mean_return", "mean_length", "success", "harm")


class Records:
    """The files of a run, or none.

    Attributes:
        step: where the run goes on.
        episodes: begun before that.
        checkpoint: path of the checkpoint, None without files.
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
        """Hand everything to the operating system."""
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
    """Open the files of a run, and put the imitator where the checkpoint says, if the run is to go on.

    Raises:
        ValueError: if ``out`` holds other results, or a run that is neither to go on nor to be replaced.
    """
    records = Records()
    if out is None:
        return records
    out = Path(out)
    known = claim_directory(out, {"experiment": "gymnasium", "environments": num_envs, "seed": seed}, overwrite)
    if known and not resume and (out / "steps.csv").exists():
        raise ValueError(f"{out} holds a run already: add resume=True to go on, or overwrite=True to replace it")
    records.checkpoint = out / "checkpoint.msgpack"
    if overwrite and not resume:
        records.checkpoint.unlink(missing_ok=True)
    if resume and records.checkpoint.exists():
        saved = load_checkpoint(records.checkpoint, like=imitator.state)
        imitator.restore(saved.state)
        records.step, records.episodes = int(saved.header["step"]), int(saved.header["episodes"])

    def before(row: Row) -> bool:
        return row["step"] < records.step

    def until(row: Row) -> bool:
        return row["step"] <= records.step

    for name, columns, keep in (
        ("steps", STEP_COLUMNS, before),
        ("episodes", EPISODE_COLUMNS, before),
        # An evaluation is made after the step that it is named after.
        ("evaluations", EVALUATION_COLUMNS, until),
    ):
        records.logs[name] = stack.enter_context(CsvLog(out / f"{name}.csv", columns, keep))
    return records


def open_writer(out: Path, stack: ExitStack) -> Any:
    """A writer of event files.

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
