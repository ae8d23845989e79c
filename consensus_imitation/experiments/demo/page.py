"""One page that a newcomer understands, made from saved results; self-contained, so that it opens offline."""

import base64
from pathlib import Path
from typing import Any

import numpy as np

from consensus_imitation.deception import contestants
from consensus_imitation.envs import Gridworld
from consensus_imitation.envs.rendering import AGENT, TILE_NAMES, Frame, render_rgb
from consensus_imitation.experiments.demo import figure
from consensus_imitation.experiments.demo.run import DemoResults, load_demo
from consensus_imitation.experiments.figures import as_png, num_seeds
from consensus_imitation.experiments.pages import environment
from consensus_imitation.experiments.redteam import figure as redteam_figure
from consensus_imitation.experiments.sweep import figure as sweep_figure

_STEPS_BEFORE_BETRAYAL, _FRAMES = 6, 40


def write(out: Path) -> Path:
    """Make ``report.html``, ``headline.png`` and ``film.gif`` from what `run` saved under ``out``.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: if there is no complete demo under ``out``.
        ImportError: without matplotlib or Jinja2, naming the extra that brings them.
    """
    results = load_demo(out)
    config = results.config.sweep()
    setting = config.setting()
    betray_at = config.betray_at or 0
    consensus = results.watched[-1]
    film = figure.film(
        lambda state: setting.world.render_rgb(state, tile=36),
        {
            ("one model alone (k=1)" if run.k == 1 else f"minimum of {run.k} models (k={run.k})"): {
                "observation": run.observation,
                "queried": run.queried,
                "harm": run.harm,
            }
            for run in results.watched
        },
        first=max(0, betray_at - _STEPS_BEFORE_BETRAYAL),
        num_frames=_FRAMES,
        betray_at=betray_at,
        tiles=_tiles(setting.world),
    )
    headline = as_png(sweep_figure.draw(results.sweep_rows, results.curve_rows, config.betray_at))
    posterior = figure.posterior(
        consensus.weights,
        consensus.queried,
        setting.member_names,
        betray_at,
        f"{config.env}, k={consensus.k}: who is believed, and when the demonstrator was asked",
    )
    suite = as_png(redteam_figure.draw(results.redteam_rows))
    (out / "headline.png").write_bytes(headline)
    (out / "film.gif").write_bytes(film)
    template = environment().get_template("demo/report.html.jinja")
    pictures = {"film": film, "headline": headline, "posterior": as_png(posterior), "suite": suite}
    page = template.render(
        env=config.env,
        world=setting.world,
        members=config.num_members,
        betray_at=betray_at,
        steps_before=_STEPS_BEFORE_BETRAYAL,
        quorum=contestants.K,
        share=f"{contestants.ALPHA:g}",
        **_numbers(results),
        sweep=sweep_figure.table(results.sweep_rows),
        redteam=redteam_figure.table(results.redteam_rows),
        **{name: base64.b64encode(data).decode("ascii") for name, data in pictures.items()},
    )
    path = out / "report.html"
    path.write_text(page + "\n", encoding="utf-8")
    return path


def _numbers(results: DemoResults) -> dict[str, Any]:
    """Return the values in the text of the page."""
    groups = sweep_figure.group_by_setting(results.sweep_rows)
    first = results.sweep_rows[0]
    return {
        "steps": first["steps"],
        "seeds": num_seeds(results.sweep_rows),
        "alone": f"{100 * first['demonstrator_harm']:.1f}%",
        "settings": [
            {
                "label": label,
                "harmed": f"{100 * sweep_figure.share_harmed(own, 'harms_unasked')[0]:.0f}%",
                "asked": f"{100 * sum(row['query_rate'] for row in own) / len(own):.1f}%",
            }
            for label, own in groups.items()
        ],
        "num_results": len(results.redteam_rows),
        "unexpected": [
            f"{row['scenario']} / {row['contestant']}" for row in redteam_figure.unexpected(results.redteam_rows)
        ],
    }


def _tiles(world: Gridworld) -> list[tuple[str, np.ndarray]]:
    """Return the agent and every kind of tile of a world but the floor, by name, for a legend."""
    seen = set("".join(world.render_text(state) for state in range(len(world.states)))) - {".", AGENT}
    agent = render_rgb(Frame((".",), (0, 0)), tile=14)
    tiles = {tile: render_rgb(Frame((f".{tile}",), (0, 0)), tile=14)[:, 14:] for tile in TILE_NAMES if tile in seen}
    return [("the imitator", agent), *((TILE_NAMES[tile], picture) for tile, picture in tiles.items())]
