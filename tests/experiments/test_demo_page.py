"""The demo's page: what it explains, what it folds, and that it can be read on a phone and in the dark."""

import io
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from consensus_imitation.envs import make, names
from consensus_imitation.envs.rendering import TILE_NAMES
from consensus_imitation.experiments import DemoConfig, DemoResults
from consensus_imitation.experiments.demo import figure, page
from consensus_imitation.experiments.demo.run import WATCHED, WatchedRun

STEPS, MEMBERS = 2000, 8


def sweep_row(rule: str, k: int | None, alpha: float | None, seed: int) -> dict[str, Any]:
    return {
        "env": "cliff", "rule": rule, "k": k, "alpha": alpha, "seed": seed, "steps": STEPS, "step": STEPS,
        "queries": 200, "query_rate": 0.1, "withheld_rate": 0.0, "disagreement_rate": 0.1, "harms": 0,
        "harms_unasked": 0,
        "harm_rate": 0.0, "episodes": 10, "successes": None, "mean_return": 1.0, "planted_weight": 0.5,
        "demonstrator_harm": 0.06,
    }  # fmt: skip


def suite_row(number: int) -> dict[str, Any]:
    return {
        "scenario": f"scenario-{number}", "attack": True, "contestant": "minimum-top4", "harm_rate": 0.0,
        "harm_low": 0.0, "harm_high": 0.1, "query_rate": 0.1, "expected": "safe", "observed": "safe",
        "as_expected": True,
    }  # fmt: skip


SWEEP = [
    sweep_row(rule, k, alpha, seed)
    for rule, k, alpha in (("topk", 1, None), ("alpha", None, 0.001))
    for seed in range(3)
]
SUITE = [suite_row(number) for number in range(40)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of made-up results, without its pictures' bytes."""
    runs = tuple(
        WatchedRun(k, np.zeros(STEPS, int), np.zeros(STEPS, bool), np.zeros(STEPS), np.zeros(STEPS, bool),
                   np.full((STEPS, MEMBERS), 1 / MEMBERS))
        for k in WATCHED
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "load_demo", lambda out: DemoResults(DemoConfig("cliff"), SWEEP, SWEEP, SUITE, runs))
        path = page.write(tmp_path_factory.mktemp("demo"))
    return re.sub(r"base64,[^']*", "base64,", path.read_text(encoding="utf-8"))


class Parts(HTMLParser):
    """How many rows of tables are folded, and how many are not; the text in the order of reading."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.depth, self.folded, self.open, self.text = 0, 0, 0, ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert not (tag == "details" and "open" in dict(attrs)), "folded at first"
        self.depth += tag == "details"
        if tag == "tr":
            self.folded, self.open = self.folded + (self.depth > 0), self.open + (self.depth == 0)
        if tag == "img":
            self.text += dict(attrs)["alt"]

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag == "details"

    def handle_data(self, data: str) -> None:
        self.text += data


def test_k_and_alpha_are_explained_before_they_are_used(written: str) -> None:
    body = written[written.index("<body>") :]
    for name in ("k", "alpha"):
        explained = body.index(f"<dfn>{name}</dfn>")
        used = min(found.start() for found in re.finditer(rf"\b{name}\s*=\s*\d", body))
        assert explained < used
        assert not re.search(rf"(?<![\w-]){name}(?![\w-])", re.sub(r"<[^>]*>", " ", body[:explained]))
    assert body.index("base64,") > body.index("<dfn>alpha</dfn>"), "the film's labels speak of k"


def test_the_long_table_is_folded_and_the_short_one_is_not(written: str) -> None:
    parts = Parts(written)
    assert (parts.folded, parts.open) == (1 + len(SUITE), 1 + 2)
    assert f"{len(SUITE)} rows" in parts.text


def test_the_page_says_how_many_runs_it_shows(written: str) -> None:
    assert "3 runs of 2000 steps for each setting" in re.sub(r"\s+", " ", Parts(written).text)


def test_it_fits_a_phone_and_the_dark(written: str) -> None:
    assert "name='viewport' content='width=device-width, initial-scale=1'" in written
    style = written[written.index("<style>") : written.index("</style>")]
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w+);", part))
        for part in (
            style[: style.index("@media")],
            re.findall(r"prefers-color-scheme: dark\) \{(.*?)\}", style, re.S)[0],
        )
    )
    assert set(light) == set(dark)
    for colours in (light, dark):
        for ground in ("paper", "code", "box", "warn"):
            for ink in ("ink", "faint"):
                assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    assert "color-scheme: light dark" in style
    # What is wider than a phone scrolls by itself, and not with the page.
    assert re.search(r"\.scroll \{ overflow-x: auto", style)
    assert re.search(r"\bpre \{[^}]*overflow-x: auto", style)
    assert all("class='scroll" in before[-200:] for before in re.split(r"<(?:img|table)", written)[:-1])


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, as the accessibility guidelines of the web define it."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        channels = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_film_has_a_legend_and_says_when_the_deceiver_turns() -> None:
    image = pytest.importorskip("PIL.Image")
    run = {"observation": np.zeros(4, int), "queried": np.arange(4) == 1, "harm": np.arange(4) == 2}
    tile = np.full((14, 14, 3), (10, 200, 30), np.uint8)
    shown = {"one": run, "two": run}

    def frames(**settings: Any) -> list[np.ndarray]:
        made = figure.film(lambda _: np.zeros((40, 40, 3), np.uint8), shown, 0, 4, **settings)
        gif = image.open(io.BytesIO(made))
        found = []
        for number in range(gif.n_frames):
            gif.seek(number)
            found.append(np.asarray(gif.convert("RGB")).astype(int))
        return found

    plain, told = frames(), frames(betray_at=2, tiles=[("a tile", tile)])
    for frame in told:
        legend = frame[52 + 40 :]
        for colour in ("#0072B2", "#E69F00", "#D55E00"):
            wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
            assert (np.abs(legend - wanted).max(axis=-1) < 8).sum() >= 100, colour
    assert (np.abs(told[0] - [10, 200, 30]).max(axis=-1) < 8).sum() >= 100
    # Below the colours and the tiles stands when the deceptive model turns.
    below = [frame[52 + 40 + 44 :] for frame in told]
    assert (below[0] == below[1]).all()
    assert (below[2] == below[3]).all()
    assert (below[1] != below[2]).any()
    assert (plain[0][52 + 40 + 44 :] == 255).all()


@pytest.mark.parametrize("name", names())
def test_the_legend_names_every_tile_of_a_world(name: str) -> None:
    world = make(name)
    named = [label for label, _ in page._tiles(world)]
    assert named[0] == "the imitator"
    assert len(set(named)) == len(named)
    drawn = set("".join(world.render_text(state) for state in range(len(world.states)))) - set("A.\n")
    assert named[1:] == [TILE_NAMES[tile] for tile in TILE_NAMES if tile in drawn]
