"""Ways to imitate, side by side: the same members, the same number of answers, the same evaluation."""

from dataclasses import dataclass
from pathlib import Path

from consensus_imitation.experiments import tasks
from consensus_imitation.experiments.compare.config import CompareConfig
from consensus_imitation.experiments.compare.one_run import COLUMNS, CURVE_COLUMNS
from consensus_imitation.experiments.compare.processes import at_once, in_turn
from consensus_imitation.experiments.compare.summary import Demonstrated
from consensus_imitation.experiments.ledger import Ledger, Progress, identity
from consensus_imitation.experiments.members import members_for
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.tasks import Task, measure_demonstrator

_DEMONSTRATOR = "demonstrator.json"


@dataclass(frozen=True)
class Comparison:
    """The results of a comparison.

    Attributes:
        rows: with `COLUMNS`, at every evaluation.
        curve: with `CURVE_COLUMNS`, answers over time.
        demonstrator: how well the demonstrator does alone.
    """

    rows: list[Row]
    curve: list[Row]
    demonstrator: Demonstrated


def run(
    config: CompareConfig,
    out: Path | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    processes: int = 1,
    task: Task | None = None,
) -> Comparison:
    """Run every method on every seed.

    With ``out``, ``compare.csv`` and ``curve.csv`` grow with every run that ends. An interrupted comparison continues
    with the missing runs, and you can add methods or seeds to a finished one.

    Args:
        config: what to run.
        out: directory for the results, made if necessary; None to keep them in memory only.
        progress: called as ``progress(done, total)``, in steps of environment, of all runs together.
        overwrite: replace results of another configuration in ``out``.
        processes: runs at a time, each in a separate process with one thread.
        task: your own task in place of the one that ``config.task`` names; for one process only.

    Returns:
        The `Comparison`, with only the methods and seeds of ``config``, whatever else ``out`` holds, and in their
            order.

    Raises:
        ValueError: for a bad configuration, or an ``out`` that holds another one's results.
        ImportError: without the packages that the task needs, naming the extra.

    Example:
        >>> from consensus_imitation.experiments import CompareConfig, run_compare
        >>> config = CompareConfig("frozenlake", ("minimum", "random"), queries=20, num_seeds=1, num_steps=60,
        ...     num_members=2, evaluations=1, episodes=2, demonstrator_episodes=5)
        >>> found = run_compare(config)
        >>> [(row["method"], row["answers"] <= 20) for row in found.rows if row["final"]]
        [('minimum', True), ('random', True)]
    """
    if processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}")
    if task is not None and processes > 1:
        raise ValueError("your own task runs in one process: leave processes at 1")
    played = tasks.make(config.task) if task is None else task
    _check_members(played, config)
    # You can add runs of other methods and more seeds.
    about = identity("compare", config, grows=("methods", "num_seeds"))
    tables = {"curve": CURVE_COLUMNS, "compare": COLUMNS}
    ledger = Ledger(out, about, overwrite, tables, _part, [_DEMONSTRATOR])
    demonstrator = Demonstrated(**ledger.once(_DEMONSTRATOR, lambda: demonstrated(played, config)._asdict()))
    wanted = [(method, seed) for seed in range(config.num_seeds) for method in config.methods]
    missing = list(ledger.missing(wanted))
    total = len(wanted) * config.num_steps
    done = total - len(missing) * config.num_steps

    def advance(steps: int) -> None:
        nonlocal done
        done += steps
        if progress is not None:
            progress(done, total)

    advance(0)
    alone = in_turn(played, config, missing, advance)
    for rows, curve in alone if processes == 1 else at_once(config, missing, processes, advance):
        ledger.add(curve, rows)
    # Several processes end their runs in any order, which must not change the order of tables and colours.
    curve, rows = ledger.rows(wanted)
    return Comparison(rows, curve, demonstrator)


def _part(row: Row) -> tuple[str, int]:
    """Return which run a row belongs to."""
    return row["method"], row["seed"]


def _check_members(task: Task, config: CompareConfig) -> None:
    """Check, before anything is written or measured, that such members are possible for this task's actions."""
    env = task.make_env()
    try:
        members_for(task, env, config.num_members, config.network, config.training)(None)
    finally:
        env.close()


def demonstrated(task: Task, config: CompareConfig) -> Demonstrated:
    """Measure how well the demonstrator does alone.

    Args:
        task: what it does.
        config: for the number of its episodes, and the seed.
    """
    measured = measure_demonstrator(task, config.demonstrator_episodes, config.seed)
    score = measured.mean_return[0] if task.threshold == "return" else measured.success[0]
    return Demonstrated(
        measure=task.threshold,
        score=score,
        success=measured.success[0],
        harm=measured.harm[0],
        mean_return=measured.mean_return[0],
        episodes=config.demonstrator_episodes,
    )
