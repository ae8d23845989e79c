"""The sweep in any environment, with any demonstrator and any members: run by run, as `run_gymnasium` plays it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from consensus_imitation.core.members import Ensemble
from consensus_imitation.core.selection import AlphaThreshold, Intersection, SelectionRule, TopK, Union
from consensus_imitation.experiments import places
from consensus_imitation.experiments.ledger import Ledger, Progress
from consensus_imitation.experiments.places import Harm, Place, Success
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.runs import Seeds, Tally, demonstrator_is_harmed, play
from consensus_imitation.experiments.sweep.columns import COLUMNS, CURVE_COLUMNS, bin_edges, setting_label

#: A run reports its progress after so many steps.
STEPS_UNTOLD = 100

_DEMONSTRATOR = "demonstrator.json"


def sweep_environment(
    make_env: Callable[[], Any],
    make_demonstrator: Callable[[Any, int], Any],
    make_ensemble: Callable[[Any], Ensemble] | None = None,
    *,
    rules: Sequence[SelectionRule] | None = None,
    num_seeds: int = 5,
    num_steps: int = 2000,
    harm: Harm | None = None,
    success: Success | None = None,
    num_members: int = 5,
    name: str = "own",
    seed: int = 0,
    out: Path | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> tuple[list[Row], list[Row]]:
    """Measure query rate and harm against k, or under any rules, in your own environment.

    Run s has the same environment, demonstrator and draws under every rule. ``sweep.figure`` draws and tabulates the
    rows.

    Args:
        make_env: makes a Gymnasium environment, once for each run.
        make_demonstrator: ``(env, seed)`` -> the demonstrator for that environment: ``observation -> action``, or
            anything else that `ConsensusImitator` takes.
        make_ensemble: ``env`` -> the members; None for ``num_members`` networks that learn.
        rules: which members have a say, such as ``[TopK(1), TopK(2), AlphaThreshold(0.01)]``; None for every k.
        num_seeds: runs under each rule.
        num_steps: T, steps of each run.
        harm: ``(reward, terminated, info) -> bool``, whether a step did harm; None if nobody can tell.
        success: ``(episode, info) -> bool``, whether an episode (`tasks.Episode`) succeeded; ``info`` is its last
            step's. None if nobody can tell.
        num_members: of the networks; ignored with ``make_ensemble``.
        name: for the tables.
        seed: of everything random.
        out: directory for ``sweep.csv`` and ``curve.csv``; None to keep the rows in memory only. An interrupted sweep
            continues there with the missing runs; it knows your functions by the ``name`` only.
        progress: called as ``progress(done, total)``, in steps, those of the demonstrator's own runs included.
        overwrite: replace results of another configuration in ``out``.

    Returns:
        Rows of runs and of the curve, as `run_sweep` returns them.

    Raises:
        ValueError: for sizes below 1, a rule that does not fit the members, or an ``out`` that holds other results.

    Example:
        >>> import gymnasium
        >>> from consensus_imitation import TopK, experiments
        >>> rows, curve = experiments.sweep_environment(
        ...     lambda: gymnasium.make("CartPole-v1"),
        ...     lambda env, seed: lambda observation: int(observation[2] + observation[3] > 0),
        ...     rules=[TopK(1), TopK(2)], num_members=2, num_seeds=1, num_steps=30,
        ...     harm=lambda reward, terminated, info: terminated,
        ... )
        >>> [(row["k"], row["queries"] > 0, row["withheld_rate"] > 0) for row in rows]
        [(1, True, True), (2, True, True)]
    """
    place = places.of_functions(
        make_env, make_demonstrator, make_ensemble, harm=harm, success=success, name=name, num_members=num_members
    )
    return sweep(
        place,
        rules,
        num_seeds=num_seeds,
        num_steps=num_steps,
        seed=seed,
        about={"num_members": None if make_ensemble else num_members},
        out=out,
        progress=progress,
        overwrite=overwrite,
    )


def sweep(
    place: Place,
    rules: Sequence[SelectionRule] | None,
    *,
    num_seeds: int,
    num_steps: int,
    seed: int,
    about: dict[str, Any],
    out: Path | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> tuple[list[Row], list[Row]]:
    """Run every rule on every seed at a place; the arguments are those of `sweep_environment`.

    Args:
        place: where.
        rules: which members have a say; None for every k.
        num_seeds: runs under each rule.
        num_steps: T.
        seed: of everything random.
        about: what else the results depend on.
        out: directory for the results.
        progress: called in steps.
        overwrite: replace other results.
    """
    for what, size in (("num_seeds", num_seeds), ("num_steps", num_steps)):
        if size < 1:
            raise ValueError(f"{what} must be at least 1, got {size}")
    chosen = _checked(place, rules)
    labels = {tuple(label(rule).values()): rule for rule in chosen}
    sizes = {"num_seeds": num_seeds, "num_steps": num_steps, "seed": seed}
    config = {"experiment": "sweep", "env": place.name, "rules": [repr(rule) for rule in chosen], **sizes, **about}
    tables = {"curve": CURVE_COLUMNS, "sweep": COLUMNS}
    ledger = Ledger(out, config, overwrite, tables, _part, [_DEMONSTRATOR])
    parts = [(*key, number) for key in labels for number in range(num_seeds)]
    missing = list(ledger.missing(parts))
    # The demonstrator's own runs come first, and count as well.
    runs_alone = num_seeds if place.knows_harm else 0
    done, total = (len(parts) - len(missing)) * num_steps, (len(parts) + runs_alone) * num_steps
    after_alone = done + runs_alone * num_steps

    def advance(steps: int) -> None:
        nonlocal done
        done += steps
        if progress is not None:
            progress(done, total)

    def harm_alone() -> dict[str, float | None]:
        return {"harm": _demonstrators_harm(place, num_seeds, num_steps, seed, advance)}

    advance(0)
    alone = ledger.once(_DEMONSTRATOR, harm_alone)
    advance(after_alone - done)
    for *key, number in missing:
        rows, curve = _measure(place, labels[tuple(key)], number, num_steps, seed, advance)
        ledger.add(curve, [{**row, "demonstrator_harm": alone["harm"]} for row in rows])
    curve, rows = ledger.rows(parts)
    return rows, curve


def label(rule: SelectionRule) -> dict[str, Any]:
    """Return the columns that name a rule.

    Example:
        >>> from consensus_imitation import AlphaThreshold, TopK
        >>> from consensus_imitation.experiments.sweep.anywhere import label
        >>> label(TopK(2)), label(TopK(2) | AlphaThreshold(0.5))["rule"]
        ({'rule': 'topk', 'k': 2, 'alpha': None}, 'k=2 | alpha=0.5')
    """
    if type(rule) is TopK:
        return {"rule": "topk", "k": int(np.asarray(rule.k)), "alpha": None}
    if type(rule) is AlphaThreshold:
        return {"rule": "alpha", "k": None, "alpha": float(np.asarray(rule.alpha))}
    return {"rule": said(rule), "k": None, "alpha": None}


def said(rule: SelectionRule) -> str:
    """Return a rule in a few words, such as "k=2 | alpha=0.01"."""
    if isinstance(rule, Union | Intersection):
        return (" | " if isinstance(rule, Union) else " & ").join(said(part) for part in rule.rules)
    known = label(rule) if type(rule) in (TopK, AlphaThreshold) else None
    return repr(rule) if known is None else setting_label(known)


def _part(row: Row) -> tuple[Any, ...]:
    """Return which run a row belongs to."""
    return row["rule"], row["k"], row["alpha"], row["seed"]


def _checked(place: Place, rules: Sequence[SelectionRule] | None) -> list[SelectionRule]:
    """Return the rules, checked against the members before anything is written or measured."""
    opened = place.open(0)
    opened.env.close()
    num_members = opened.ensemble.num_members
    every: Sequence[SelectionRule] = [TopK(k) for k in range(1, num_members + 1)]
    chosen = list(every if rules is None else rules)
    if not chosen:
        raise ValueError("nothing to sweep: give at least one rule")
    for rule in chosen:
        rule.check(num_members)
    if len({tuple(label(rule).values()) for rule in chosen}) < len(chosen):
        raise ValueError(f"each rule can be given once, got {chosen}")
    return chosen


def _demonstrators_harm(
    place: Place, num_seeds: int, num_steps: int, seed: int, advance: Callable[[int], None]
) -> float | None:
    if not place.knows_harm:
        return None
    harmed = 0
    for number in range(num_seeds):
        harmed += demonstrator_is_harmed(place, Seeds.of_run(seed, number), num_steps)
        advance(num_steps)
    return harmed / num_seeds


def _measure(
    place: Place, rule: SelectionRule, number: int, num_steps: int, seed: int, advance: Callable[[int], None]
) -> tuple[list[Row], list[Row]]:
    tally = Tally(bin_edges(num_steps))
    told = 0

    def watch(row: Row, *_: Any) -> None:
        nonlocal told
        tally.add(row)
        if tally.steps - told >= STEPS_UNTOLD or tally.steps == num_steps:
            advance(tally.steps - told)
            told = tally.steps

    run = play(place, Seeds.of_run(seed, number), num_steps, selection=rule, watch=watch).run
    harmed, over = place.knows_harm, len(run.episodes)
    head = {"env": place.name, **label(rule), "seed": number}
    row: Row = {
        **head,
        "steps": num_steps,
        "queries": tally.queries,
        "query_rate": tally.queries / num_steps,
        "withheld_rate": tally.withheld / num_steps,
        "disagreement_rate": (tally.theta - tally.withheld) / num_steps,
        "harms": tally.harms if harmed else None,
        "harms_unasked": tally.harms_unasked if harmed else None,
        "harm_rate": tally.harms / num_steps if harmed else None,
        "episodes": over,
        "successes": None if place.success is None else sum(bool(one["success"]) for one in run.episodes),
        # Half an episode is no episode; but where none ends, the rewards so far are all that there is.
        "mean_return": float(np.mean([one["return"] for one in run.episodes])) if over else tally.reward,
        "planted_weight": None,
    }
    curve: list[Row] = [
        {**head, "step": step, "query_rate": rate, "withheld_rate": withheld} for step, rate, withheld in tally.curve()
    ]
    return [row], curve
