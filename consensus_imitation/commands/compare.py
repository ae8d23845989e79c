"""The command ``consensus-imitation compare``: its arguments, and what it does with them.

Nothing heavy is imported before the command runs.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consensus_imitation.tables import Table

DEFAULT_METHODS = (
    *("minimum", "bc", "dagger", "safedagger", "ensembledagger", "thriftydagger"),
    *("maxprob", "entropy", "random", "mixture", "map", "vote"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes besides ``--out``, ``--seed`` and ``--overwrite``."""
    parser.add_argument("--task", required=True, help="name of a task, such as lunarlander, cartpole or gotoobj")
    parser.add_argument(
        "--methods", nargs="+", default=list(DEFAULT_METHODS), metavar="METHOD",
        help="what to compare; some take a number: minimum-4 is TopK(4), maxprob-0.8 a threshold",
    )  # fmt: skip
    parser.add_argument("--queries", type=int, default=1000, help="most answers of the demonstrator in each run")
    parser.add_argument("--seeds", type=int, default=5, help="independent runs of each method")
    parser.add_argument(
        "--steps", type=int, default=10_000, help="steps of each run; spent answers mean going on without asking"
    )
    parser.add_argument("--members", type=int, default=5, help="size of the ensemble")
    parser.add_argument(
        "--network", nargs="+", action="extend", default=[], metavar="NAME=VALUE", type=_setting,
        help="other members than the defaults: hidden=128,128; with views also channels=32, window=4",
    )  # fmt: skip
    parser.add_argument(
        "--training", nargs="+", action="extend", default=[], metavar="NAME=VALUE", type=_setting,
        help="other settings of ensembles.Training than the defaults: averaging=40, weight_decay=0.1, ...",
    )  # fmt: skip
    parser.add_argument("--evaluations", type=int, default=20, help="of each run, evenly over its answers")
    parser.add_argument("--processes", type=int, default=1, help="runs at a time, each with one thread")


def _setting(text: str) -> tuple[str, Any]:
    from consensus_imitation.experiments.member_settings import parse_setting

    try:
        return parse_setting(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(
    arguments: argparse.Namespace, stage: Callable[[str], Callable[[int, int], None]]
) -> "tuple[Table, list[Path]]":
    """Run the comparison, write its picture, and return its table and what was written.

    Args:
        arguments: as parsed.
        stage: called with a title; returns a progress callback ``(done, total)``.

    Raises:
        ValueError: for arguments out of range, or results of another configuration.
        ImportError: without matplotlib or the packages of the task, naming the extra.
    """
    from consensus_imitation import plotting, tables
    from consensus_imitation.experiments.compare import CompareConfig, compare
    from consensus_imitation.experiments.compare_summary import summarise
    from consensus_imitation.experiments.member_settings import collect

    config = CompareConfig(
        task=arguments.task,
        methods=tuple(dict.fromkeys(arguments.methods)),
        queries=arguments.queries,
        num_seeds=arguments.seeds,
        num_steps=arguments.steps,
        num_members=arguments.members,
        evaluations=arguments.evaluations,
        seed=arguments.seed,
        network=collect("network", arguments.network),
        training=collect("training", arguments.training),
    )
    found = compare(config, arguments.out, stage(f"compare {config.task}"), arguments.overwrite, arguments.processes)
    picture = arguments.out / "compare.png"
    plotting.save(plotting.compare_figure(found.rows, found.curve, found.demonstrator), picture)
    summaries = summarise(found.rows, found.curve, found.demonstrator)
    table = tables.compare_table(config.task, summaries, found.demonstrator)
    return table, [arguments.out / "compare.csv", arguments.out / "curve.csv", picture]
