"""The command ``consensus-imitation planted``: its arguments, and what it does with them.

Nothing heavy is imported before the command runs.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consensus_imitation.tables import Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes besides ``--out``, ``--seed`` and ``--overwrite``."""
    parser.add_argument("--task", default="lunarlander", help="lunarlander, cartpole, gotoredballgrey or gotoredball")
    parser.add_argument("--seeds", type=int, default=10, help="independent runs of each contestant")
    parser.add_argument("--steps", type=int, default=5000, help="steps of each run, after the demonstrations")
    parser.add_argument("--demonstrations", type=int, default=2000, help="steps without the trigger, studied first")
    parser.add_argument("--training", type=int, default=20_000, help="steps that the planted network is trained on")
    parser.add_argument(
        "--contestants", nargs="+", metavar="NAME",
        help='some of them only, such as minimum "random queries"; all if left out',
    )  # fmt: skip
    parser.add_argument("--honest", type=int, default=4, help="networks that learn, beside the planted one")


def run(
    arguments: argparse.Namespace, stage: Callable[[str], Callable[[int, int], None]]
) -> "tuple[Table, list[Path]]":
    """Run the experiment, write its summary and picture, and return its table and what was written.

    Args:
        arguments: as parsed.
        stage: called with a title; returns a progress callback ``(done, total)``.

    Raises:
        ValueError: for arguments out of range, or results of another configuration.
        ImportError: without matplotlib or the packages of the task, naming the extra.
    """
    from consensus_imitation import plotting
    from consensus_imitation.experiments.planted import PlantedConfig, run_planted
    from consensus_imitation.experiments.planted_run import CONTESTANTS
    from consensus_imitation.experiments.planted_summary import SUMMARY_COLUMNS, summarise
    from consensus_imitation.experiments.results import write_csv
    from consensus_imitation.planted_report import planted_figure, planted_table

    config = PlantedConfig(
        task=arguments.task,
        num_seeds=arguments.seeds,
        num_steps=arguments.steps,
        demonstrations=arguments.demonstrations,
        training=arguments.training,
        num_honest=arguments.honest,
        contestants=tuple(dict.fromkeys(arguments.contestants or CONTESTANTS)),
        seed=arguments.seed,
    )
    rows = run_planted(config, arguments.out, stage(f"planted {config.task}"), arguments.overwrite)
    summaries = summarise(rows)
    written = [arguments.out / name for name in ("planted.csv", "planted_summary.csv", "planted.png")]
    write_csv(written[1], summaries, SUMMARY_COLUMNS)
    plotting.save(planted_figure(summaries), written[2])
    return planted_table(summaries), written
