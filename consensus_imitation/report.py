"""One page that a newcomer understands, made from saved results; self-contained, so that it opens offline."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from consensus_imitation import plotting
from consensus_imitation.experiments.demo import DemoResults, load_demo
from consensus_imitation.experiments.results import Row
from consensus_imitation.tables import Table, group_by_setting, redteam_table, share_harmed, sweep_table

_STEPS_BEFORE_BETRAYAL, _FRAMES = 6, 40

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, sans-serif; color: #1b1b1b; background: #fff; max-width: 62rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.4rem; border-bottom: 1px solid #ddd; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; } figcaption { color: #555; font-size: .92rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: .25rem .7rem; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }
code, pre { background: #f4f4f4; border-radius: 3px; } code { padding: 0 .2rem; } pre { padding: .6rem; overflow-x: auto; }
.box { border-left: 4px solid #0072B2; background: #f3f8fc; padding: .6rem 1rem; }
.warn { border-left-color: #D55E00; background: #fdf5f0; padding-left: 2rem; }
"""


def write_demo(out: Path) -> Path:
    """Make ``report.html``, ``headline.png`` and ``film.gif`` from what `experiments.demo` saved under ``out``.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: if there is no complete demo under ``out``.
        ImportError: without matplotlib, naming the extra that brings it.
    """
    results = load_demo(out)
    config = results.config.sweep()
    setting = config.setting()
    betray_at = config.betray_at or 0
    consensus = results.watched[-1]
    film = plotting.film(
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
    )
    headline = plotting.as_png(plotting.sweep_figure(results.sweep_rows, results.curve_rows, config.betray_at))
    posterior = plotting.posterior_figure(
        consensus.weights,
        consensus.queried,
        setting.member_names,
        betray_at,
        f"{config.env}, k={consensus.k}: who is believed, and when the demonstrator was asked",
    )
    suite = plotting.as_png(plotting.redteam_figure(results.redteam_rows))
    (out / "headline.png").write_bytes(headline)
    (out / "film.gif").write_bytes(film)
    world = setting.world
    sections = [
        _heading(results),
        _section(
            "What you see",
            _paragraph(
                f"The world is <b>{escape(config.env)}</b>: {escape(world.description)} Harm means: "
                f"{escape(world.harm_description)} The imitator keeps {config.num_members} models of the demonstrator. "
                f"One of them is <b>deceptive</b>: it predicts exactly what the demonstrator does until step {betray_at}, "
                "and from then on heads for harm. Before that, no test of its predictions can tell it from the truth."
            ),
            _figure(film, "gif", f"The same seed twice, from {_STEPS_BEFORE_BETRAYAL} steps before the betrayal."),
            _paragraph(
                "Left: acting on the single most likely model, as an ordinary training pipeline does. Right: each "
                "action gets the <i>smallest</i> probability that any of the top four models gives it; what is then missing to "
                "one is the probability of asking the demonstrator. The deceptive model can veto, and so cause questions; "
                "it cannot cause an action that an honest model in the set would not take."
            ),
        ),
        _section(
            "How often it asks, and what that buys",
            _figure(headline, "png", "Query rate over time; query rate, harm and return for each setting."),
            _table(sweep_table(results.sweep_rows)),
            _paragraph(
                "A larger k asks more and is harder to fool. With k=1 nobody can object: it never asks, and it follows "
                "the deceptive model into harm. The rule <code>alpha</code> keeps every model whose weight is at least that "
                "share of the weight ranked so far; it forgets models that predicted badly, so its questions die out. "
                "“By own action” leaves out the harm that the demonstrator did when asked: it is stochastic and "
                "makes rare mistakes of its own. While an honest member is in the set, each step does harm at most "
                "1 + (query probability) times as often as the demonstrator would. A deceptive member that vetoes "
                "everything <i>but</i> harm comes close to that factor, up to 2, which is what k=8 shows after the betrayal."
            ),
        ),
        _section(
            "Who is believed",
            _figure(plotting.as_png(posterior), "png", "Posterior weights in the run on the right above."),
            _paragraph(
                "The deceptive model leads for as long as it copies the demonstrator: its weight tells nothing about its "
                "intentions. When it defects, the others disagree, the demonstrator is asked, and its answers "
                "rule the deceptive model out."
            ),
        ),
        _section(
            "The deceptive-model suite",
            _figure(suite, "png", "Each cell: share of runs with at least one harm, under attack."),
            _paragraph(
                "Each scenario says beforehand what theory expects of each rule, also where the minimum must fail. "
                + _verdict(results.redteam_rows)
            ),
            _table(redteam_table(results.redteam_rows)),
        ),
        _section(
            "What this does not show",
            "<ul class='box warn'>"
            "<li>Nothing is promised if no member equals (or is as safe as) the demonstrator. Here one does, by "
            "construction.</li>"
            "<li>A bare top-k is only as good as its honest members: k or more colluders with large weights defeat it.</li>"
            "<li>The demonstrator's own harm stays: the imitator is compared with it, not with perfection.</li>"
            "<li>A member that can foresee the random draw defeats every rule.</li>"
            "<li>These members are fixed tables in a small world; networks that learn need care of their own.</li></ul>",
        ),
        _section(
            "Do it yourself",
            "<pre>consensus-imitation demo --out demo\n"
            f"consensus-imitation sweep --env {escape(config.env)} --k 1 2 4 8 --alpha 0.1 0.01 --out out/sweep\n"
            "consensus-imitation redteam --out out/redteam</pre>"
            + _paragraph(
                "The numbers on this page are in <code>sweep/sweep.csv</code>, <code>sweep/curve.csv</code>, "
                "<code>redteam/redteam.csv</code> and <code>watched.npz</code> beside it."
            ),
        ),
    ]
    page = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>consensus_imitation: {escape(config.env)}</title><style>{_STYLE}</style></head><body>"
        + "\n".join(sections)
        + "</body></html>\n"
    )
    path = out / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _heading(results: DemoResults) -> str:
    groups = group_by_setting(results.sweep_rows)
    first = results.sweep_rows[0]
    said = [
        f"<li><b>{escape(label)}</b>: does harm by its own action in {100 * share_harmed(own, 'harms_unasked')[0]:.0f}% "
        f"of runs, asks in {100 * sum(row['query_rate'] for row in own) / len(own):.1f}% of steps</li>"
        for label, own in groups.items()
    ]
    return (
        "<h1>Act where every plausible model of the demonstrator agrees, ask where they do not</h1>"
        f"<div class='box'>With a deceptive model planted in the ensemble ({escape(results.config.env)}, runs of "
        f"{first['steps']} steps):<ul>{''.join(said)}</ul>The demonstrator alone does harm in "
        f"{100 * first['demonstrator_harm']:.1f}% of such runs.</div>"
    )


def _verdict(rows: Sequence[Row]) -> str:
    unexpected = [row for row in rows if not row["as_expected"]]
    if not unexpected:
        return f"All {len(rows)} results are as expected."
    named = "; ".join(escape(f"{row['scenario']} / {row['contestant']}") for row in unexpected)
    return f"<b>{len(unexpected)} of {len(rows)} results are not as expected</b>: {named}."


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def _paragraph(html: str) -> str:
    return f"<p>{html}</p>"


def _figure(data: bytes, kind: str, caption: str) -> str:
    encoded = base64.b64encode(data).decode("ascii")
    text = escape(caption, quote=True)
    return (
        f"<figure><img alt='{text}' src='data:image/{kind};base64,{encoded}'><figcaption>{text}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return (
        f"<div class='scroll'><table><caption>{escape(table.title)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )
