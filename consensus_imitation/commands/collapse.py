"""The command ``consensus-imitation collapse``: its arguments, and what it does with them.

Nothing heavy is imported before the command runs.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consensus_imitation.tables import Table

DEFAULT_VARIANTS = (
    *("default", "top2/bayes", "top3/bayes", "alpha0.01/bayes", "alpha0.01/bayes/caution0", "top2+alpha0.01/bayes"),
    *("top2+alpha0.01/share0.1", "top2+alpha0.01/temper0.1", "top2+alpha0.01/forget0.99"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes besides ``--out``, ``--seed`` and ``--overwrite``."""
    parser.add_argument("--task", required=True, help="name of a task, such as lunarlander, cartpole or frozenlake")
    parser.add_argument(
        "--variants", nargs="+", default=list(DEFAULT_VARIANTS), metavar="VARIANT",
        help="what to run: selection rule, reweighting and caution, such as top2+alpha0.01/share0.1/caution20",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, default=5, help="independent runs of each variant")
    parser.add_argument("--steps", type=int, default=10_000, help="steps of each run")
    parser.add_argument("--members", type=int, default=5, help="size of the ensemble")


def run(
    arguments: argparse.Namespace, stage: Callable[[str], Callable[[int, int], None]]
) -> "tuple[Table, list[Path]]":
    """Run the study, write its picture, and return its table and what was written.

    Args:
        arguments: as parsed.
        stage: called with a title; returns a progress callback ``(done, total)``.

    Raises:
        ValueError: for arguments out of range, or results of another configuration.
        ImportError: without matplotlib or the packages of the task, naming the extra.
    """
    from consensus_imitation import plotting
    from consensus_imitation.collapse_report import collapse_figure, collapse_table
    from consensus_imitation.experiments.collapse import CollapseConfig, run_collapse

    config = CollapseConfig(
        task=arguments.task,
        variants=tuple(dict.fromkeys(arguments.variants)),
        num_seeds=arguments.seeds,
        num_steps=arguments.steps,
        num_members=arguments.members,
        seed=arguments.seed,
    )
    rows, curve = run_collapse(config, arguments.out, stage(f"collapse {config.task}"), arguments.overwrite)
    picture = arguments.out / "collapse.png"
    plotting.save(collapse_figure(curve), picture)
    return collapse_table(rows), [arguments.out / "collapse.csv", arguments.out / "curve.csv", picture]
