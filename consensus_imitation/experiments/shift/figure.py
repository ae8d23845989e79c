"""The picture and the tables of a world that changes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from consensus_imitation.core._escaping import figure_text
from consensus_imitation.experiments.figures import new_figure
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.shift.run import DEMONSTRATOR, FROZEN, LEARNING, ONLINE
from consensus_imitation.experiments.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TITLES = {
    LEARNING: "learning in the standard world",
    FROZEN: "members that learn no more",
    ONLINE: "members that go on learning",
}


def tables(summaries: Sequence[Row]) -> list[Table]:
    """Return a table for each phase."""
    columns = ("world", "contestant", "asked, %", "mistakes caught", "precision", "F1", "harmed", "% of episodes")
    found: list[Table] = []
    for phase, title in _TITLES.items():
        own = [row for row in summaries if row["phase"] == phase]
        if not own:
            continue
        head = f"{own[0]['task']}, {title}. {own[0]['seeds']} seeds; 95% intervals."
        if phase == LEARNING:
            body = [(*_cells(row), *_learned(row)) for row in own]
            found.append(Table(head, (*columns, "answers", "late asking, %", "N_eff"), body))
        else:
            found.append(Table(head, columns, [_cells(row) for row in own]))
    return found


def _learned(row: Row) -> tuple[str, str, str]:
    return f"{row['answers']:.0f}", f"{100 * (row['late_asked'] or 0):.1f}", f"{row['n_eff']:.2f}"


def _cells(row: Row) -> tuple[str, ...]:
    harm = f"{100 * row['harm_rate']:.0f} [{100 * row['harm_low']:.0f}, {100 * row['harm_high']:.0f}]"
    harmed = f"{row['harmed']} of {row['episodes']}"
    if row["contestant"] == DEMONSTRATOR:
        return row["world"], DEMONSTRATOR, "", "", "", "", harmed, harm
    shares = (f"{row[name]:.2f}" for name in ("recall", "precision", "f1"))
    return row["world"], row["contestant"], f"{100 * row['asked']:.0f}", *shares, harmed, harm


def draw(summaries: Sequence[Row]) -> "Figure":
    """Draw the harmed episodes of each contestant in each world, with members that learn no more."""
    own = [row for row in summaries if row["phase"] == FROZEN]
    worlds = list(dict.fromkeys(row["world"] for row in own))
    names = [name for name in dict.fromkeys(row["contestant"] for row in own) if name != DEMONSTRATOR]
    figure = new_figure(2.6 + 2.3 * len(worlds), 1.3 + 0.36 * len(names))
    panels = figure.subplots(1, len(worlds), sharey=True, squeeze=False)[0]
    for ax, world in zip(panels, worlds, strict=True):
        for i, name in enumerate(reversed(names)):
            row = next(one for one in own if one["world"] == world and one["contestant"] == name)
            rate, low, high = (row[f"harm_{end}"] for end in ("rate", "low", "high"))
            colour = "#0072B2" if "local" in name or "nearest" in name else "#000000"
            ax.errorbar([rate], [i], xerr=[[rate - low], [high - rate]], fmt="o", color=colour, capsize=2)
            said = f"{100 * row['asked']:.0f}% asked, {100 * row['recall']:.0f}% caught"
            ax.annotate(said, (0.5, i), textcoords="offset points", xytext=(0, 6), ha="center", fontsize=6.5)
        alone = next(one for one in own if one["world"] == world and one["contestant"] == DEMONSTRATOR)
        ax.axvline(alone["harm_rate"], color="#777777", linestyle="--", linewidth=1, zorder=0)
        ax.set(xlim=(-0.04, 1.04), ylim=(-0.6, len(names) - 0.3), xlabel="harmed episodes, share")
        ax.set_title(figure_text(world), fontsize=9)
        ax.grid(axis="x", color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
    panels[0].set_yticks(range(len(names)), [figure_text(name) for name in reversed(names)], fontsize=8)
    figure.suptitle(
        f"{own[0]['task']}, {own[0]['seeds']} seeds: members that learned in the standard world and learn no more\n"
        "dashed: the demonstrator alone; blue: who asks by the distance to what was answered",
        fontsize=9,
    )
    return figure
