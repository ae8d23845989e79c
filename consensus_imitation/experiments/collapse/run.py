"""How a posterior over members that all learn collapses onto one of them, and what the remedies change.

A `variant.Variant` sets which members have a say, how their weights follow the answers, and how cautious they are while
they know little (and their label smoothing). Everything else is the library's default.
"""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from consensus_imitation.experiments import tasks
from consensus_imitation.experiments.collapse.config import CollapseConfig
from consensus_imitation.experiments.collapse.variant import Variant
from consensus_imitation.experiments.curves import decay_exponent, edges, late_rate
from consensus_imitation.experiments.ledger import Ledger, Progress, identity
from consensus_imitation.experiments.members import knowingly, members_for
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.tasks import EpisodeOutcome, Task, evaluate
from consensus_imitation.imitator import ConsensusImitator

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


def run(
    config: CollapseConfig,
    out: Path | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    task: Task | None = None,
) -> tuple[list[Row], list[Row]]:
    """Let imitators of every variant and seed act and learn, and record their weights.

    With ``out``, ``collapse.csv`` and ``curve.csv`` grow with every run that ends. An interrupted study continues with
    the missing runs, and you can add variants or seeds.

    Args:
        config: what to run.
        out: directory for the results, made if necessary; None to keep them in memory only.
        progress: called as ``progress(done, total)``, in runs.
        overwrite: replace results of another configuration in ``out``.
        task: your own task in place of the one that ``config.task`` names.

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
        >>> from consensus_imitation.experiments import CollapseConfig, run_collapse
        >>> config = CollapseConfig("frozenlake", ("top2", "alpha0.1"), num_seeds=1, num_steps=60, num_members=2,
        ...     episodes=2)
        >>> rows, curve = run_collapse(config)
        >>> [row["variant"] for row in rows]
        ['top2', 'alpha0.1']
    """
    played = tasks.make(config.task) if task is None else task
    # You can add runs of other variants and more seeds.
    about = identity("collapse", config, grows=("variants", "num_seeds"))
    tables = {"curve": CURVE_COLUMNS, "collapse": COLUMNS}
    ledger = Ledger(out, about, overwrite, tables, _part)
    wanted = [(name, seed) for seed in range(config.num_seeds) for name in config.variants]
    for name, seed in ledger.missing(wanted, progress):
        row, curve = run_variant(played, config, name, seed)
        ledger.add(curve, [row])
    curves, rows = ledger.rows(wanted)
    return rows, curves


def run_variant(task: Task, config: CollapseConfig, name: str, seed: int) -> tuple[Row, list[Row]]:
    """Return one run: its row with `COLUMNS`, and its curve."""
    variant = Variant.parse(name)
    # The same for every variant, so that run s of all of them can be compared.
    words = np.random.SeedSequence((config.seed, seed)).generate_state(3)
    env_seed, demonstrator_seed, own_seed = (int(word) for word in words)
    env = task.make_env()
    try:
        imitator = ConsensusImitator(
            members_for(task, env, config.num_members, training=_training(variant))(None),
            task.make_demonstrator(env, demonstrator_seed),
            selection=variant.selection,
            reweighting=variant.reweighting,
            seed=own_seed,
        )
        label = {"task": task.name, "variant": name, "members": config.num_members, "seed": seed}
        with knowingly():
            return _watch(task, env, imitator, config, env_seed, label)
    finally:
        env.close()


def _training(variant: Variant) -> dict[str, Any]:
    """Return the variant's settings of the members' training; everything else is the library's default."""
    said = {"caution": variant.caution, "label_smoothing": variant.smoothing}
    return {name: value for name, value in said.items() if value is not None}


def effective_by_weight(weights: np.ndarray) -> Any:
    """Return the effective number of members by weight, ``1 / sum(w^2)``, over the last axis: from 1 to N.

    Example:
        >>> import numpy as np
        >>> effective_by_weight(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])).tolist()
        [2.0, 1.0]
    """
    return 1.0 / np.sum(np.square(weights), axis=-1)


def measures(queried: np.ndarray, alone: np.ndarray, weights: np.ndarray, curve: Sequence[Row]) -> dict[str, Any]:
    """Return what one run shows about collapse and asking: the columns of those names.

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
        observation, reward, terminated, truncated, info = env.step(decision.action)
        tracker = tracker.after(float(reward), terminated, truncated, info)
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
    # Not the run's own episodes; the same for all variants and runs.
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


def groups(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the rows of each variant, in the order in which the variants first appear."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["variant"], []).append(row)
    return found


def _part(row: Row) -> tuple[str, int]:
    """Return which run a row belongs to."""
    return row["variant"], row["seed"]
