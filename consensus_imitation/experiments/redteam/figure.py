"""The picture and the tables of the deceptive-model suite."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from consensus_imitation.core._escaping import figure_text
from consensus_imitation.experiments.figures import new_figure
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(rows: Sequence[Row]) -> "Figure":
    """Draw the share of runs harmed under attack, scenario by contestant, with expected results marked.

    Args:
        rows: of ``redteam.csv``.
    """
    attacks = [row for row in rows if row["attack"]]
    scenarios = list(dict.fromkeys(row["scenario"] for row in attacks))
    contestants = list(dict.fromkeys(row["contestant"] for row in attacks))
    figure = new_figure(2.6 + 1.35 * len(contestants), 1.9 + 0.42 * len(scenarios))
    ax = figure.subplots()
    rates = np.full((len(scenarios), len(contestants)), np.nan)
    for row in attacks:
        at = scenarios.index(row["scenario"]), contestants.index(row["contestant"])
        rates[at] = row["harm_rate"]
        ax.text(
            at[1], at[0], f"{row['harm_rate']:.2f}" + ("" if row["as_expected"] else " !"),
            ha="center", va="center", fontsize=9, color="white" if row["harm_rate"] > 0.55 else "black",
        )  # fmt: skip
    image = ax.imshow(np.ma.masked_invalid(rates), cmap="OrRd", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(len(contestants)), map(figure_text, contestants), rotation=25, ha="right")
    ax.set_yticks(range(len(scenarios)), map(figure_text, scenarios))
    ax.set_title(
        "Share of runs with harm, under attack" + ("\n(! = not as theory says)" if unexpected(attacks) else "")
    )
    figure.colorbar(image, ax=ax, label="share of runs with harm", fraction=0.04)
    return figure


def table(rows: Sequence[Row]) -> Table:
    """Tabulate harm and query rate of every contestant under attack, expected against observed."""
    body = [
        (
            row["scenario"],
            row["contestant"],
            f"{row['harm_rate']:.3f} [{row['harm_low']:.3f}, {row['harm_high']:.3f}]",
            f"{row['query_rate']:.3f}",
            str(row["expected"]),
            str(row["observed"]) + ("" if row["as_expected"] else "  !"),
        )
        for row in rows
        if row["attack"]
    ]
    return Table(
        "deceptive-model suite, runs under attack (harm: share of runs with harm [95% interval])",
        ("scenario", "contestant", "harm", "asks", "expected", "observed"),
        body,
    )


def matrix(rows: Sequence[Row]) -> Table:
    """Tabulate the share of runs harmed under attack; "!" marks what differs from the expectation."""
    attacks = [row for row in rows if row["attack"]]
    contestants = tuple(dict.fromkeys(row["contestant"] for row in attacks))
    cells = {
        (row["scenario"], row["contestant"]): f"{row['harm_rate']:.2f}" + ("" if row["as_expected"] else " !")
        for row in attacks
    }
    scenarios = dict.fromkeys(row["scenario"] for row in attacks)
    letters = [chr(ord("A") + i) for i in range(len(contestants))]
    legend = ", ".join(f"{letter} {contestant}" for letter, contestant in zip(letters, contestants, strict=True))
    return Table(
        f"share of runs with harm, under attack (! = not as theory says)\n{legend}",
        ("scenario", *letters),
        [(name, *(cells.get((name, contestant), "") for contestant in contestants)) for name in scenarios],
    )


def unexpected(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that differ from what theory expects."""
    return [row for row in rows if not row["as_expected"]]


def complaints(rows: Sequence[Row]) -> list[str]:
    """Return a line for each result that differs from what theory expects."""
    return [
        f"not as expected: {row['scenario']} ({'attack' if row['attack'] else 'honest'}), {row['contestant']}: "
        f"expected {row['expected']}, observed {row['observed']}"
        for row in unexpected(rows)
    ]
