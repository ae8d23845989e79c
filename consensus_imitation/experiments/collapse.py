"""How a posterior over members that all learn collapses onto one of them, and what the remedies change.

A `Variant` says which members have a say, how their weights follow the answers, and how cautious they are while they
know little (and their label smoothing). Everything else is the library's default.
"""

import re
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consensus_imitation import ensembles
from consensus_imitation.ensembles import Training
from consensus_imitation.errors import ConsensusWarning
from consensus_imitation.experiments import tasks
from consensus_imitation.experiments.compare_run import edges
from consensus_imitation.experiments.compare_summary import decay_exponent, late_rate
from consensus_imitation.experiments.results import CsvLog, Row, claim_directory
from consensus_imitation.experiments.tasks import EpisodeOutcome, Task, evaluate
from consensus_imitation.imitator import ConsensusImitator
from consensus_imitation.reweighting import Reweighting
from consensus_imitation.selection import AlphaThreshold, SelectionRule, TopK

Progress = Callable[[int, int], None]

COLUMNS = (
    *("task", "variant", "members", "seed", "steps", "answers", "one_in_charge_at", "effective", "effective_end"),
    *("alone", "alone_late", "last_query", "late_rate", "decay", "episodes", "failures", "harms", "early_harms"),
    *("success", "harm", "mean_return", "seconds"),
)
CURVE_COLUMNS = ("task", "variant", "members", "seed", "step", "answers", "effective", "alone", "episodes", "harms")

#: A member is in charge once it has held this much of the weight.
IN_CHARGE = 0.9
#: Unsafe episodes until so many answers count as early.
EARLY_ANSWERS = 500

_PART = re.compile(r"(top|alpha|temper|forget|share|caution|smooth)([0-9][0-9.e-]*)")


@dataclass(frozen=True)
class Variant:
    """Selection, reweighting and caution.

    Attributes:
        selection: which members have a say; None for the imitator's default.
        reweighting: None for the imitator's default.
        caution: of the members' `Training`; None for its default.
        smoothing: of labels, of the members' `Training`; None for its default.
    """

    selection: SelectionRule | None = None
    reweighting: Reweighting | None = None
    caution: float | None = None
    smoothing: float | None = None

    @classmethod
    def parse(cls, text: str) -> "Variant":
        """From a short name: ``default``, or parts joined by ``/``.

        A part is a selection rule (``top2``, ``alpha0.01``, ``top2+alpha0.01``), a number of the `Reweighting` or
        ``bayes``, the caution, or the label smoothing (``smooth0.02``).

        Raises:
            ValueError: if the text does not say what it means, or a number is out of range.

        Example:
            >>> from consensus_imitation.experiments.collapse import Variant
            >>> variant = Variant.parse("top2+alpha0.01/share0.1/caution20")
            >>> variant.selection.tolerated_members, variant.reweighting.share, variant.caution
            (1, 0.1, 20.0)
        """
        rules: list[SelectionRule] = []
        numbers: dict[str, float] = {}
        bayes = False
        for part in text.split("/"):
            if part in ("default", "bayes"):
                bayes |= part == "bayes"
                continue
            for piece in part.split("+"):
                found = _PART.fullmatch(piece)
                number = _number(found[2]) if found else None
                if found is None or number is None:
                    raise ValueError(
                        f"there is no part {piece!r} in a variant: write, for example, default, "
                        "top2+alpha0.01/share0.01 or top3/temper0.1/caution0"
                    )
                if found[1] in numbers or (found[1] in ("top", "alpha")) != (part.startswith(("top", "alpha"))):
                    raise ValueError(f"{text!r} is ambiguous: one selection rule, and each number once")
                numbers[found[1]] = number
                if found[1] == "top":
                    if number != int(number):
                        raise ValueError(f"k must be an integer, got {found[2]} in {text!r}")
                    rules.append(TopK(int(number)))
                elif found[1] == "alpha":
                    rules.append(AlphaThreshold(number))
        remedies = {name: numbers[name] for name in ("temper", "forget", "share") if name in numbers}
        if bayes and remedies:
            raise ValueError(f"{text!r} is ambiguous: bayes is no remedy")
        reweighting = Reweighting(**remedies) if remedies or bayes else None
        if reweighting is not None:
            reweighting.check()
        selection = rules[0] if len(rules) == 1 else rules[0] | rules[1] if rules else None  # type: ignore[operator]
        return cls(selection, reweighting, numbers.get("caution"), numbers.get("smooth"))


@dataclass(frozen=True)
class CollapseConfig:
    """What to run.

    Attributes:
        task: name of the task, see `tasks.names`.
        variants: names, as `Variant.parse` takes them.
        num_seeds: runs of each variant. Run s of each meets the same environment and demonstrator.
        num_steps: T, steps of environment in each run.
        num_members: N.
        episodes: of the evaluation at the end, the same for all.
        seed: of everything.

    Raises:
        ValueError: for an unknown task, a variant that makes no sense or is named twice, or non-positive sizes.
    """

    task: str
    variants: tuple[str, ...] = ("default",)
    num_seeds: int = 5
    num_steps: int = 10_000
    num_members: int = 5
    episodes: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.variants:
            raise ValueError("nothing to run: name at least one variant")
        for name in self.variants:
            selection = Variant.parse(name).selection
            if selection is not None:
                selection.check(self.num_members)
        if len(set(self.variants)) != len(self.variants):
            raise ValueError(f"each variant can be named once, got {', '.join(self.variants)}")
        for name in ("num_seeds", "num_steps", "num_members", "episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")


def run_collapse(
    config: CollapseConfig,
    out: Path | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    task: Task | None = None,
) -> tuple[list[Row], list[Row]]:
    """Let imitators of every variant and seed act and learn, and watch their weights.

    With ``out``, ``collapse.csv`` and ``curve.csv`` grow with every run that ends; what was interrupted goes on with
    the runs that are missing, and variants or seeds can be added.

    Args:
        config: what to run.
        out: directory for the results, made if need be; None to keep them in memory only.
        progress: called as ``progress(done, total)``, in runs.
        overwrite: replace results of another configuration in ``out``.
        task: a task of your own in place of the one that ``config.task`` names.

    Returns:
        Rows with `COLUMNS`, one for each run, and rows with `CURVE_COLUMNS`, over its steps. ``one_in_charge_at`` is
        the number of answers at which a member first held 90% of the weight (None: never); ``effective`` the effective
        number of members by weight, averaged over the answers; ``alone`` the share of steps on which a single member
        had a say, ``alone_late`` that of the later half; ``last_query`` a step; ``early_harms`` the unsafe episodes
        begun before 500 answers; ``success``, ``harm`` and ``mean_return`` those of the evaluation at the end.

    Raises:
        ValueError: for a bad configuration, or an ``out`` that holds another one's results.
        ImportError: without the packages that the task needs, naming the extra.

    Example:
        >>> from consensus_imitation.experiments.collapse import CollapseConfig, run_collapse
        >>> config = CollapseConfig("frozenlake", ("top2", "alpha0.1"), num_seeds=1, num_steps=60, num_members=2,
        ...     episodes=2)
        >>> rows, curve = run_collapse(config)
        >>> [row["variant"] for row in rows]
        ['top2', 'alpha0.1']
    """
    played = tasks.make(config.task) if task is None else task
    wanted = [(name, seed) for seed in range(config.num_seeds) for name in config.variants]
    rows: dict[tuple[str, int], Row] = {}
    curves: dict[tuple[str, int], list[Row]] = {}
    with ExitStack() as stack:
        logs: list[CsvLog] = []
        if out is not None:
            logs = _open_logs(config, out, overwrite, stack)
            rows = {_of(row): row for row in logs[1].kept}
            for row in logs[0].kept:
                curves.setdefault(_of(row), []).append(row)
        missing = [run for run in wanted if run not in rows]
        for done, (name, seed) in enumerate(missing, len(wanted) - len(missing)):
            if progress is not None:
                progress(done, len(wanted))
            rows[name, seed], curves[name, seed] = run_variant(played, config, name, seed)
            # The curve first: a run counts as done once its row is there.
            for log, new in zip(logs, (curves[name, seed], [rows[name, seed]]), strict=False):
                for row in new:
                    log.append(row)
                log.flush()
    if progress is not None:
        progress(len(wanted), len(wanted))
    return [rows[run] for run in wanted], [row for run in wanted for row in curves[run]]


def run_variant(task: Task, config: CollapseConfig, name: str, seed: int) -> tuple[Row, list[Row]]:
    """One run: its row with `COLUMNS`, and its curve."""
    variant = Variant.parse(name)
    # The same for every variant, so that run s of all of them can be compared.
    words = np.random.SeedSequence((config.seed, seed)).generate_state(3)
    env_seed, demonstrator_seed, own_seed = (int(word) for word in words)
    env = task.make_env()
    try:
        imitator = ConsensusImitator(
            make_members(task, env, config.num_members, variant),
            task.make_demonstrator(env, demonstrator_seed),
            selection=variant.selection,
            reweighting=variant.reweighting,
            seed=own_seed,
        )
        label = {"task": task.name, "variant": name, "members": config.num_members, "seed": seed}
        with warnings.catch_warnings():
            # That a member is alone is what is measured here.
            warnings.simplefilter("ignore", ConsensusWarning)
            return _watch(task, env, imitator, config, env_seed, label)
    finally:
        env.close()


def make_members(task: Task, env: Any, num_members: int, variant: Variant) -> Any:
    """The kind of members that fits the task, with the library's settings but for what the variant says."""
    named: dict[str, Any] = {"caution": variant.caution, "label_smoothing": variant.smoothing}
    training = Training(**{name: value for name, value in named.items() if value is not None})
    family = ensembles.cnn if task.members == "grid" else ensembles.mlp
    return family(env.observation_space, env.action_space, num_members=num_members, training=training)


def effective_by_weight(weights: np.ndarray) -> Any:
    """Effective number of members by weight, ``1 / sum(w^2)`` over the last axis: from 1 (one holds it all) to N.

    Example:
        >>> import numpy as np
        >>> effective_by_weight(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])).tolist()
        [2.0, 1.0]
    """
    return 1.0 / np.sum(np.square(weights), axis=-1)


def measures(queried: np.ndarray, alone: np.ndarray, weights: np.ndarray, curve: Sequence[Row]) -> dict[str, Any]:
    """What the course of one run says of collapse and asking: the columns of those names.

    Args:
        queried: bool [T].
        alone: bool [T], a single member was selected.
        weights: [Q, N], after each answer.
        curve: points ``step`` and ``answers``, ascending, the last of them after T steps.
    """
    steps = len(queried)
    in_charge = np.flatnonzero(weights.max(axis=-1) >= IN_CHARGE) if len(weights) else np.empty(0, int)
    effective = effective_by_weight(weights)
    open_ended = [{**row, "spent": False} for row in curve]
    return {
        "steps": steps,
        "answers": int(queried.sum()),
        "one_in_charge_at": int(in_charge[0]) + 1 if len(in_charge) else None,
        "effective": float(effective.mean()) if len(weights) else None,
        "effective_end": float(effective[-1]) if len(weights) else None,
        "alone": float(alone.mean()),
        "alone_late": float(alone[steps // 2 :].mean()),
        "last_query": int(np.flatnonzero(queried)[-1]) if queried.any() else None,
        "late_rate": late_rate(open_ended),
        "decay": decay_exponent(open_ended),
    }


def _watch(
    task: Task, env: Any, imitator: ConsensusImitator, config: CollapseConfig, env_seed: int, label: Row
) -> tuple[Row, list[Row]]:
    began = time.perf_counter()
    points = edges(config.num_steps)
    queried, alone = np.zeros(config.num_steps, bool), np.zeros(config.num_steps, bool)
    weights: list[np.ndarray] = []
    curve: list[Row] = []
    episodes: list[EpisodeOutcome] = []
    early_harms, early = 0, True
    observation, _ = env.reset(seed=env_seed)
    imitator.begin_episode()
    tracker = task.track()
    for t in range(config.num_steps):
        decision = imitator.act(observation)
        queried[t], alone[t] = decision.queried, decision.selected.sum() == 1
        if decision.queried:
            weights.append(imitator.weights)
        observation, reward, terminated, truncated, _ = env.step(decision.action)
        tracker = tracker.after(float(reward), terminated, truncated)
        if tracker.outcome is not None:
            episodes.append(tracker.outcome)
            early_harms += early and tracker.outcome.harm
            early = imitator.num_queries < EARLY_ANSWERS
            observation, _ = env.reset()
            imitator.begin_episode()
            tracker = task.track()
        if t + 1 == points[0]:
            points.pop(0)
            curve.append(
                {
                    **label,
                    "step": t + 1,
                    "answers": imitator.num_queries,
                    "effective": float(effective_by_weight(imitator.weights)),
                    "alone": int(alone.sum()),
                    "episodes": len(episodes),
                    "harms": sum(outcome.harm for outcome in episodes),
                }
            )
    seconds = time.perf_counter() - began
    policy = imitator.policy(num_envs=config.episodes)
    # Not a run's own episodes; the same for all variants and runs.
    certain = task.deterministic
    ends = evaluate(
        task,
        lambda seen: policy.predict(seen, deterministic=certain)[0],
        config.episodes,
        config.seed + 1_000_003,
    )
    row = {
        **label,
        **measures(queried, alone, np.array(weights).reshape(len(weights), -1), curve),
        "episodes": len(episodes),
        "failures": sum(not outcome.success for outcome in episodes),
        "harms": sum(outcome.harm for outcome in episodes),
        "early_harms": early_harms,
        "success": float(np.mean([outcome.success for outcome in ends])),
        "harm": float(np.mean([outcome.harm for outcome in ends])),
        "mean_return": float(np.mean([outcome.episode_return for outcome in ends])),
        "seconds": seconds,
    }
    return row, curve


def _open_logs(config: CollapseConfig, out: Path, overwrite: bool, stack: ExitStack) -> list[CsvLog]:
    # Not the variants and the number of seeds: runs of either can be added.
    same = {name: value for name, value in asdict(config).items() if name not in ("variants", "num_seeds")}
    keep = claim_directory(out, {"experiment": "collapse", **same}, overwrite)
    finished: set[tuple[str, int]] = set()
    path = out / "collapse.csv"
    if keep and path.exists():
        with CsvLog(path, COLUMNS, lambda row: True) as log:  # noqa: ARG005
            finished = {_of(row) for row in log.kept}
    logs = [
        CsvLog(out / f"{name}.csv", columns, lambda row: _of(row) in finished)
        for name, columns in (("curve", CURVE_COLUMNS), ("collapse", COLUMNS))
    ]
    for log in logs:
        stack.callback(log.close)
    return logs


def groups(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows of each variant, in the order in which the variants first appear."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["variant"], []).append(row)
    return found


def _of(row: Row) -> tuple[str, int]:
    return str(row["variant"]), int(row["seed"])


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
