"""The picture and the tables of what members know beside what is made of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from consensus_imitation.deception.judgement import ERROR_RATE
from consensus_imitation.experiments.figures import PALETTE, new_figure
from consensus_imitation.experiments.knowledge.expected import CONTESTANTS
from consensus_imitation.experiments.knowledge.roads import FACTS, USES
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TITLES = {"mine": "a road is mined", "short cut": "the path is a short cut"}


def as_expected(rows: Sequence[Row]) -> bool:
    """Return whether the runs of one cell are compatible with what theory expects of their mean regret.

    They are unless Student's interval of the mean, wrong with probability `judgement.ERROR_RATE`, lies outside of it.

    Args:
        rows: of ``runs.csv``, of one contestant in one cell.
    """
    values = np.array([row["regret"] for row in rows], float)
    half = stats.t.ppf(1 - ERROR_RATE / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    # Rewards are sums of float32.
    return bool(rows[0]["low"] - half - 1e-6 <= values.mean() <= rows[0]["high"] + half + 1e-6)


def unexpected(runs: Sequence[Row]) -> list[str]:
    """Return the cells that differ from what theory expects, in words.

    Args:
        runs: of ``runs.csv``.
    """
    return [
        f"{name}, {fact}, {use}: {_mean(own, 'regret'):.4f}, expected {own[0]['low']:.4f} to {own[0]['high']:.4f}"
        for fact in FACTS
        for use in USES
        for name in CONTESTANTS
        if not as_expected(own := _of(runs, fact, use, name))
    ]


def draw(runs: Sequence[Row]) -> "Figure":
    """Draw the regret to the oracle of every contestant; gray bars are what theory expects.

    Args:
        runs: of ``runs.csv``.
    """
    figure = new_figure(11.0, 5.6)
    axes = figure.subplots(1, 2, sharey=True)
    for ax, fact in zip(axes, FACTS, strict=True):
        for i, use in enumerate(USES):
            for place, name in enumerate(CONTESTANTS):
                own = _of(runs, fact, use, name)
                height = place + 0.25 * (i - 1)
                low, high = own[0]["low"], own[0]["high"]
                ax.plot([low, high], [height] * 2, "|-", color="0.7", linewidth=6, markersize=11, zorder=1)
                label = f"{use} uses it" if not place else None
                ax.plot(_mean(own, "regret"), height, "oD^"[i], color=PALETTE[i], markersize=5, label=label, zorder=2)
        ax.set(title=_TITLES[fact], xlabel="regret of a step to an oracle that reads the members", xlim=(-0.01, None))
        ax.set_yticks(range(len(CONTESTANTS)), CONTESTANTS)
        ax.grid(axis="y", color="0.93", zorder=0)
    axes[-1].invert_yaxis()
    figure.axes[0].legend(fontsize=8, loc="upper center")
    return figure


def tables(runs: Sequence[Row]) -> list[Table]:
    """Return a table of each fact: mean regret, what theory expects of it, and questions per run.

    Args:
        runs: of ``runs.csv``.
    """
    columns = ("contestant", *(f"{use} uses it" for use in USES))
    return [
        Table(
            f"{_TITLES[fact]}: mean regret of a step (what theory expects), questions per run",
            columns,
            [(name, *(_cell(_of(runs, fact, use, name)) for use in USES)) for name in CONTESTANTS],
        )
        for fact in FACTS
    ]


def _cell(own: Sequence[Row]) -> str:
    low, high = own[0]["low"], own[0]["high"]
    wanted = f"{low:.3f}" if high - low < 5e-4 else f"{low:.3f} to {high:.3f}"
    mark = "" if as_expected(own) else " !"
    return f"{_mean(own, 'regret'):.3f}{mark} ({wanted}), {_mean(own, 'questions'):.1f}"


def _of(runs: Sequence[Row], fact: str, use: str, name: str) -> list[Row]:
    return [row for row in runs if (row["fact"], row["use"], row["contestant"]) == (fact, use, name)]


def _mean(rows: Sequence[Row], column: str) -> float:
    return float(np.mean([row[column] for row in rows]))
