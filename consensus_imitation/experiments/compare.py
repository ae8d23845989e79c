"""Ways to imitate, side by side: the same members, the same number of answers, the same evaluation."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from consensus_imitation.experiments import compare_run, runs, tasks
from consensus_imitation.experiments.compare_run import COLUMNS, CURVE_COLUMNS, RunConfig
from consensus_imitation.experiments.compare_summary import Demonstrated
from consensus_imitation.experiments.member_settings import Settings, normalised
from consensus_imitation.experiments.methods import check_method
from consensus_imitation.experiments.results import CsvLog, Row, claim_directory
from consensus_imitation.experiments.tasks import Task, measure_demonstrator

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CompareConfig:
    """What a comparison runs.

    Attributes:
        task: name of the task, see `tasks.names`.
        methods: names, see `methods.names`; some take a number, as in ``"minimum-4"``.
        queries: most answers of the demonstrator in each run.
        num_seeds: runs of each method. Run s of each method meets the same environment and demonstrator.
        num_steps: T, steps of environment in each run. When the answers are spent, a method goes on by its own policy.
        num_members: N of the ensemble.
        evaluations: how many times a method is evaluated while it spends its answers, evenly.
        episodes: of each evaluation, the same for all.
        demonstrator_episodes: by which the demonstrator's own score is measured.
        seed: of everything.
        network: what differs from the library's defaults: arguments of `ensembles.cnn` where the task's observations
            are views, of `ensembles.mlp` otherwise, such as ``{"hidden": [128, 128]}``.
        training: likewise, of `ensembles.Training`.

    Raises:
        ValueError: for an unknown task or method, a method named twice, non-positive sizes, or a setting that is no
            number, word, true, false or list of numbers.
    """

    task: str
    methods: tuple[str, ...]
    queries: int
    num_seeds: int = 5
    num_steps: int = 10_000
    num_members: int = 5
    evaluations: int = 20
    episodes: int = 20
    demonstrator_episodes: int = 100
    seed: int = 0
    network: Settings = field(default_factory=Settings)
    training: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        for name in ("network", "training"):
            object.__setattr__(self, name, normalised(name, getattr(self, name)))
        if not self.methods:
            raise ValueError("nothing to compare: name at least one method")
        for name in self.methods:
            check_method(name)
        if len(set(self.methods)) != len(self.methods):
            raise ValueError(f"each method can be named once, got {', '.join(self.methods)}")
        sizes = ("queries", "num_seeds", "num_steps", "num_members", "evaluations", "episodes", "demonstrator_episodes")
        for name in sizes:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")

    def run(self, method: str, seed: int) -> RunConfig:
        """One run of it."""
        return RunConfig(
            method=method,
            queries=self.queries,
            num_steps=self.num_steps,
            num_members=self.num_members,
            evaluations=self.evaluations,
            episodes=self.episodes,
            run=seed,
            seed=self.seed,
            network=self.network,
            training=self.training,
        )


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        rows: with `COLUMNS`, at every evaluation.
        curve: with `CURVE_COLUMNS`, answers over time.
        demonstrator: how well the demonstrator does alone.
    """

    rows: list[Row]
    curve: list[Row]
    demonstrator: Demonstrated


def compare(
    config: CompareConfig,
    out: Path | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    processes: int = 1,
    task: Task | None = None,
) -> Comparison:
    """Run every method on every seed.

    With ``out``, ``compare.csv`` and ``curve.csv`` grow with every run that ends; a comparison that was interrupted
    goes on with the runs that are missing, and methods or seeds can be added to one that is finished.

    Args:
        config: what to run.
        out: directory for the results, made if need be; None to keep them in memory only.
        progress: called as ``progress(done, total)``, in steps of environment, of all runs together.
        overwrite: replace results of another configuration in ``out``.
        processes: runs at a time, each in a process of its own with one thread.
        task: a task of your own in place of the one that ``config.task`` names; for one process only.

    Returns:
        The `Comparison`; of the methods and seeds of ``config`` only, whatever else ``out`` holds, and in their order.

    Raises:
        ValueError: for a bad configuration, or an ``out`` that holds another one's results.
        ImportError: without the packages that the task needs, naming the extra.

    Example:
        >>> from consensus_imitation.experiments import CompareConfig, compare
        >>> config = CompareConfig("frozenlake", ("minimum", "random"), queries=20, num_seeds=1, num_steps=60,
        ...     num_members=2, evaluations=1, episodes=2, demonstrator_episodes=5)
        >>> found = compare(config)
        >>> [(row["method"], row["answers"] <= 20) for row in found.rows if row["final"]]
        [('minimum', True), ('random', True)]
    """
    if processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}")
    if task is not None and processes > 1:
        raise ValueError("a task of your own runs in one process: leave processes at 1")
    played = tasks.make(config.task) if task is None else task
    _check_members(played, config)
    kept = _Kept(config, out, overwrite)
    with kept:
        demonstrator = kept.demonstrator(lambda: _demonstrated(played, config))
        missing = [
            config.run(method, seed)
            for seed in range(config.num_seeds)
            for method in config.methods
            if (method, seed) not in kept.done
        ]
        total = config.num_seeds * len(config.methods) * config.num_steps
        done = total - len(missing) * config.num_steps

        def advance(steps: int) -> None:
            nonlocal done
            done += steps
            if progress is not None:
                progress(done, total)

        advance(0)
        if processes == 1:
            results = runs.in_turn(played, missing, advance)
        else:
            results = runs.at_once(config.task, missing, processes, advance)
        for rows, curve in results:
            kept.add(rows, curve)
    # Several processes end their runs in any order, which must not decide that of tables and colours.
    place = {method: i for i, method in enumerate(config.methods)}
    rows, curve = (
        sorted(found, key=lambda row: (row["seed"], place[row["method"]])) for found in (kept.rows, kept.curve)
    )
    return Comparison(rows, curve, demonstrator)


class _Kept:
    """The results so far, on disk if there is a directory."""

    def __init__(self, config: CompareConfig, out: Path | None, overwrite: bool) -> None:
        self.rows: list[Row] = []
        self.curve: list[Row] = []
        self.done: set[tuple[str, int]] = set()
        self._logs: list[CsvLog] = []
        self._wanted = {(method, seed) for method in config.methods for seed in range(config.num_seeds)}
        self._demonstrator: Path | None = None
        if out is None:
            return
        # Not the methods and the number of seeds: runs of either can be added.
        left_out = ("methods", "num_seeds")
        same = {name: value for name, value in asdict(config).items() if name not in left_out and value != {}}
        keep = claim_directory(out, {"experiment": "compare", **same}, overwrite)
        self._demonstrator = out / "demonstrator.json"
        if not keep:
            self._demonstrator.unlink(missing_ok=True)
        finished: set[tuple[str, int]] = set()

        def final(row: Row) -> bool:
            if row["final"] is True:
                finished.add((row["method"], row["seed"]))
            return True

        def of_finished(row: Row) -> bool:
            return keep and (row["method"], row["seed"]) in finished

        if keep and (out / "compare.csv").exists():
            CsvLog(out / "compare.csv", COLUMNS, final).close()
        # The curve is written first: a run counts as done once its last row in compare.csv is there.
        for name, columns in (("curve", CURVE_COLUMNS), ("compare", COLUMNS)):
            self._logs.append(CsvLog(out / f"{name}.csv", columns, of_finished))
        self.done = finished & self._wanted
        self.curve, self.rows = ([row for row in log.kept if self._is_wanted(row)] for log in self._logs)

    def __enter__(self) -> "_Kept":
        return self

    def __exit__(self, *_: object) -> None:
        for log in self._logs:
            log.close()

    def _is_wanted(self, row: Row) -> bool:
        return (row["method"], row["seed"]) in self._wanted

    def demonstrator(self, measure: Callable[[], Demonstrated]) -> Demonstrated:
        """Read it back, or measure it."""
        file = self._demonstrator
        if file is not None and file.exists():
            return Demonstrated(**json.loads(file.read_text(encoding="utf-8")))
        found = measure()
        if file is not None:
            file.write_text(json.dumps(found._asdict(), indent=2) + "\n", encoding="utf-8")
        return found

    def add(self, rows: list[Row], curve: list[Row]) -> None:
        """A run that has ended."""
        self.rows += rows
        self.curve += curve
        for log, new in zip(self._logs, (curve, rows), strict=False):
            for row in new:
                log.append(row)
            log.flush()


def _check_members(task: Task, config: CompareConfig) -> None:
    """Before anything is written or measured: whether members can be made so."""
    if not config.network and not config.training:
        return
    env = task.make_env()
    try:
        compare_run.members_for(task, env, config.num_members, config.network, config.training)(None)
    finally:
        env.close()


def _demonstrated(task: Task, config: CompareConfig) -> Demonstrated:
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
