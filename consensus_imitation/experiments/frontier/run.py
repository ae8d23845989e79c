"""Runs of each contestant on the same seeds: what an answer buys, and what it costs in unsafe episodes."""

from pathlib import Path
from typing import Any

from consensus_imitation.experiments import tasks
from consensus_imitation.experiments.compare.one_run import run_method
from consensus_imitation.experiments.compare.run import demonstrated
from consensus_imitation.experiments.compare.summary import Demonstrated
from consensus_imitation.experiments.frontier.config import CONTESTANTS, FrontierConfig
from consensus_imitation.experiments.ledger import Ledger, Progress, identity
from consensus_imitation.experiments.results import Row

#: Of what `compare` measures at each evaluation.
_MEASURED = ("answers", "steps", "episodes", "harms", "success", "harm", "mean_return", "log_loss", "seconds", "final")
COLUMNS = ("task", "contestant", "seed", *_MEASURED)

_DEMONSTRATOR = "demonstrator.json"


def run(
    config: FrontierConfig, out: Path | None = None, progress: Progress | None = None, overwrite: bool = False
) -> tuple[list[Row], Demonstrated]:
    """Let each contestant learn on each seed.

    Args:
        config: what to run.
        out: directory for the results, made if necessary; None to keep them in memory only.
        progress: called as ``progress(done, total)``.
        overwrite: replace results of another configuration in ``out``.

    Returns:
        Rows with `COLUMNS`, one for each evaluation of each run and one at its end (``final``), as `compare` has them:
        ``episodes`` and ``harms`` (unsafe) are those while learning; ``success``, ``harm`` and ``mean_return`` are the
        evaluation's. And how well the demonstrator does alone.

    Raises:
        ImportError: without the packages that the task needs, naming the extra.
        ValueError: for an ``out`` that holds another configuration's results.
    """

    def part_of(row: Row) -> tuple[Any, ...]:
        return row["contestant"], row["seed"]

    task = tasks.make(config.task)
    about = identity("frontier", config, grows=("contestants", "num_seeds"), made=CONTESTANTS)
    ledger = Ledger(out, about, overwrite, {"frontier": COLUMNS}, part_of, [_DEMONSTRATOR])
    own = config.comparison(config.contestants[0])
    demonstrator = Demonstrated(**ledger.once(_DEMONSTRATOR, lambda: demonstrated(task, own)._asdict()))
    # Seed by seed, so that an interrupted run is one of fewer seeds.
    wanted = [(name, seed) for seed in range(config.num_seeds) for name in config.contestants]
    for name, seed in ledger.missing(wanted, progress):
        comparison = config.comparison(name)
        found, _ = run_method(task, comparison, comparison.methods[0], seed)
        about_run = {"task": task.name, "contestant": name, "seed": seed}
        ledger.add([{**about_run, **{column: row[column] for column in _MEASURED}} for row in found])
    (rows,) = ledger.rows(wanted)
    return rows, demonstrator
