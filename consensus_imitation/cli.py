"""The command ``consensus-imitation``. It reads arguments, calls the experiments, and prints what they return.

Exit codes: 0 success; 1 a check failed (`redteam`: a result differs from what theory says; `bounds`: a bound
is exceeded; `bench`: a target missed; `journal verify`: the journal is damaged);
2 wrong usage; 3 a missing optional dependency; 130 interrupted.
"""

import argparse
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from consensus_imitation.commands import collapse, compare, journal, planted
from consensus_imitation.errors import ConsensusImitationError

if TYPE_CHECKING:
    from consensus_imitation.experiments.results import Row
    from consensus_imitation.tables import Table

EXIT_CHECK_FAILED, EXIT_USAGE, EXIT_MISSING_EXTRA, EXIT_INTERRUPTED = 1, 2, 3, 130

_DESCRIPTION = "Safe imitation learning: act where every plausible model of the demonstrator agrees, ask where not."
_EXIT_CODES = (
    "exit codes: 0 success, 1 a check failed, 2 wrong usage, 3 an optional dependency is missing, 130 interrupted"
)


_STUDIES: Sequence[tuple[str, Any, str]] = (
    ("compare", compare, "ways to imitate on a real task, at equal numbers of answers"),
    ("planted", planted, "a deceptive network among members that learn, on a real task"),
    ("collapse", collapse, "what becomes of the posterior when all members learn"),
)


class _Parser(argparse.ArgumentParser):
    """One clear line, and where to read on."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments without the program's name; None for those of the process.

    Returns:
        The exit code.
    """
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments)
    except (ValueError, OSError) as error:
        print(f"{parser.prog} {arguments.command}: {error}", file=sys.stderr)
        return EXIT_USAGE
    except ConsensusImitationError as error:
        print(f"{parser.prog} {arguments.command}: {error}", file=sys.stderr)
        return EXIT_USAGE
    except ImportError as error:
        print(f"{parser.prog} {arguments.command}: {error}", file=sys.stderr)
        return EXIT_MISSING_EXTRA
    except KeyboardInterrupt:
        print(
            f"\n{parser.prog} {arguments.command}: interrupted; what is finished is saved, the same command goes on",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """The argument parser with all subcommands."""
    parser = _Parser(prog="consensus-imitation", description=_DESCRIPTION, epilog=_EXIT_CODES)
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="command", parser_class=_Parser)

    demo = _command(
        commands, "demo", _demo, "the main job: a short sweep, a short suite, and a page that explains them"
    )
    _add_common(demo, Path("demo"))
    demo.add_argument("--env", default="cliff", help="world (see the command envs)")

    sweep = _command(commands, "sweep", _sweep, "query rate, harm and return against k and alpha")
    _add_common(sweep, Path("out/sweep"))
    sweep.add_argument("--env", default="cliff", help="world (see the command envs)")
    sweep.add_argument("--k", type=int, nargs="*", default=[1, 2, 4, 8], help="values for TopK(k), from 1 to --members")
    sweep.add_argument("--alpha", type=float, nargs="*", default=[], help="values for AlphaThreshold, in (0, 1]")
    sweep.add_argument("--seeds", type=int, default=20, help="independent runs per setting")
    sweep.add_argument("--steps", type=int, default=2000, help="steps per run")
    sweep.add_argument("--members", type=int, default=8, help="size of the ensemble, the deceptive member included")
    sweep.add_argument(
        "--deceptive", action=argparse.BooleanOptionalAction, default=True,
        help="plant a member that copies the demonstrator for a quarter of the run and then seeks harm",
    )  # fmt: skip

    redteam = _command(commands, "redteam", _redteam, "the deceptive-model suite, on the library's own rules")
    _add_common(redteam, Path("out/redteam"))
    redteam.add_argument("--scenarios", nargs="*", default=[], help="names of scenarios; none for all of them")
    redteam.add_argument("--seeds", type=int, default=128, help="independent runs per scenario, rule and side")

    bounds = _command(commands, "bounds", _bounds, "the theorems' bounds beside what is observed")
    _add_common(bounds, Path("out/bounds"))
    bounds.add_argument("--env", default="cliff", help="world (see the command envs)")
    bounds.add_argument("--alpha", type=float, default=0.002, help="of the alpha rule, in (0, 1]")
    bounds.add_argument("--seeds", type=int, default=256, help="independent runs per setting")
    bounds.add_argument("--steps", type=int, default=4000, help="steps per run")

    for name, module, text in _STUDIES:
        study = _command(commands, name, _study(module), text)
        _add_common(study, Path("out") / name)
        module.add_arguments(study)

    journal.add_arguments(_command(commands, "journal", _journal, "what a run wrote down: show, verify, export, mend"))

    bench = _command(commands, "bench", _bench, "speed, as ratios measured in one run")
    bench.add_argument("--cases", nargs="*", default=[], help="names of cases; none for all of them")
    bench.add_argument("--out", type=Path, help="directory for bench.csv; none is written without it")

    _command(commands, "envs", _envs, "list the worlds of the suite")
    _command(commands, "tasks", _tasks, "list the real tasks")
    return parser


# --- commands ---


def _demo(arguments: argparse.Namespace) -> int:
    from consensus_imitation import report, tables
    from consensus_imitation.experiments import DemoConfig, demo

    _require_pictures()
    with _progress() as stage:
        results = demo(DemoConfig(arguments.env, arguments.seed), arguments.out, stage, arguments.overwrite)
    page = report.write_demo(arguments.out)
    _print_table(tables.sweep_table(results.sweep_rows))
    _print_table(tables.redteam_matrix(results.redteam_rows))
    print(f"page: {page}\nfilm: {page.with_name('film.gif')}\nnumbers: {arguments.out}/sweep, {arguments.out}/redteam")
    return _exit_code(results.redteam_rows)


def _sweep(arguments: argparse.Namespace) -> int:
    from consensus_imitation import plotting, tables
    from consensus_imitation.experiments import SweepConfig, sweep

    config = SweepConfig(
        env=arguments.env,
        k=tuple(dict.fromkeys(arguments.k)),
        alpha=tuple(dict.fromkeys(arguments.alpha)),
        num_members=arguments.members,
        num_seeds=arguments.seeds,
        num_steps=arguments.steps,
        deceptive=arguments.deceptive,
        seed=arguments.seed,
    )
    _require_pictures()
    with _progress() as stage:
        rows, curve = sweep(config, arguments.out, stage(f"sweep {config.env}"), arguments.overwrite)
    plotting.save(plotting.sweep_figure(rows, curve, config.betray_at), arguments.out / "sweep.png")
    _print_table(tables.sweep_table(rows))
    print(f"written: {arguments.out}/sweep.csv, curve.csv, sweep.png")
    return 0


def _redteam(arguments: argparse.Namespace) -> int:
    from consensus_imitation import plotting, tables
    from consensus_imitation.experiments import RedteamConfig, redteam

    config = RedteamConfig(tuple(arguments.scenarios), arguments.seeds, arguments.seed)
    _require_pictures()
    with _progress() as stage:
        rows = redteam(config, arguments.out, stage("deceptive-model suite"), arguments.overwrite)
    plotting.save(plotting.redteam_figure(rows), arguments.out / "redteam.png")
    _print_table(tables.redteam_matrix(rows))
    print(f"written: {arguments.out}/redteam.csv, redteam.png")
    return _exit_code(rows)


def _bounds(arguments: argparse.Namespace) -> int:
    from consensus_imitation import plotting, tables
    from consensus_imitation.experiments import BoundsConfig, bounds, exceeded

    config = BoundsConfig(
        env=arguments.env,
        alpha=arguments.alpha,
        num_seeds=arguments.seeds,
        num_steps=arguments.steps,
        seed=arguments.seed,
    )
    _require_pictures()
    with _progress() as stage:
        rows = bounds(config, arguments.out, stage("predicted against observed"), arguments.overwrite)
    plotting.save(plotting.bounds_figure(rows), arguments.out / "bounds.png")
    _print_table(tables.bounds_table(rows))
    print(f"written: {arguments.out}/bounds.csv, bounds.png")
    wrong = exceeded(rows, config.num_seeds)
    for row in wrong:
        print(f"bound exceeded: {row}", file=sys.stderr)
    return EXIT_CHECK_FAILED if wrong else 0


def _study(module: Any) -> Callable[[argparse.Namespace], int]:
    def run(arguments: argparse.Namespace) -> int:
        _require_pictures()
        with _progress() as stage:
            table, written = module.run(arguments, stage)
        _print_table(table)
        print("written:", *written)
        return 0

    return run


def _bench(arguments: argparse.Namespace) -> int:
    from consensus_imitation import benchmarks, tables
    from consensus_imitation.experiments import write_csv

    with _progress() as stage:
        results = benchmarks.run(tuple(arguments.cases) or None, progress=stage("benchmarks"))
    rows = [result.as_row() for result in results]
    _print_table(tables.bench_table(rows))
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_csv(arguments.out / "bench.csv", rows, list(rows[0]))
        print(f"written: {arguments.out}/bench.csv")
    return 0 if all(row["met"] is not False for row in rows) else EXIT_CHECK_FAILED


def _journal(arguments: argparse.Namespace) -> int:
    outcome = journal.run(arguments)
    for table in outcome.tables:
        _print_table(table)
    for line in outcome.lines:
        print(line)
    return 0 if outcome.sound else EXIT_CHECK_FAILED


def _envs(arguments: argparse.Namespace) -> int:
    del arguments
    from consensus_imitation import envs

    for name in envs.names():
        world = envs.make(name)
        print(f"{name:<24} {world.description}\n{'':<24} harm: {world.harm_description}")
    return 0


def _tasks(arguments: argparse.Namespace) -> int:
    del arguments
    from consensus_imitation.experiments import tasks

    for name in tasks.names():
        task = tasks.make(name)
        print(f"{name:<24} {task.env_id}\n{'':<24} success: {task.success_means}\n{'':<24} harm: {task.harm_means}")
    return 0


# --- details ---


def _command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=_EXIT_CODES,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _add_common(parser: argparse.ArgumentParser, out: Path) -> None:
    parser.add_argument("--out", type=Path, default=out, help="directory for the results")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--overwrite", action="store_true", help="replace results of another configuration in --out")


def _version() -> str:
    from importlib.metadata import version

    return f"%(prog)s {version('consensus_imitation')}"


def _require_pictures() -> None:
    """Say what is missing before the work, not after it."""
    if find_spec("matplotlib") is None:
        raise ImportError('pictures need matplotlib: pip install "consensus_imitation[plot]"')


def _exit_code(rows: "Sequence[Row]") -> int:
    unexpected = [row for row in rows if not row["as_expected"]]
    for row in unexpected:
        side = "attack" if row["attack"] else "honest"
        print(
            f"not as expected: {row['scenario']} ({side}), {row['contestant']}: "
            f"expected {row['expected']}, observed {row['observed']}",
            file=sys.stderr,
        )
    return EXIT_CHECK_FAILED if unexpected else 0


@contextmanager
def _progress() -> Generator[Callable[[str], Callable[[int, int], None]], None, None]:
    """How far each stage is, on standard error, so that standard output holds results only."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_interactive:
        yield _lines
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bars = Progress(*columns, console=console)

    def stage(title: str) -> Callable[[int, int], None]:
        task = None

        def update(done: int, total: int) -> None:
            # Nothing is drawn before there is something to show: a mistake should get its one line only.
            nonlocal task
            if task is None:
                bars.start()
                task = bars.add_task(title)
            bars.update(task, completed=done, total=total)

        return update

    try:
        yield stage
    finally:
        # Stopping bars that never started would print an empty line.
        if bars.tasks:
            bars.stop()


def _lines(title: str) -> Callable[[int, int], None]:
    """A line for every tenth, where nothing can be drawn over: in a file, in a pipe."""
    began, tenths = time.monotonic(), -1

    def update(done: int, total: int) -> None:
        nonlocal tenths
        if total and 10 * done // total > tenths:
            tenths = 10 * done // total
            elapsed = timedelta(seconds=int(time.monotonic() - began))
            print(f"{title}: {done}/{total} after {elapsed}", file=sys.stderr, flush=True)

    return update


def _print_table(table: "Table") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable

    drawn = RichTable(title=table.title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in table.columns:
        drawn.add_column(column, overflow="fold")
    for row in table.rows:
        drawn.add_row(*row)
    Console().print(drawn)
