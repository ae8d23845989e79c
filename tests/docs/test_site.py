"""The sources of the site are complete, and its checks find what they are for. `make docs` builds it."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WRITTEN = {"_build", "reference"}  # by the build
PAGES = sorted(path for path in DOCS.rglob("*.md") if path.relative_to(DOCS).parts[0] not in WRITTEN)
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.md"))
ELSEWHERE = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "examples" / "README.md",
    ROOT / "benchmarks" / "README.md",
]


@pytest.fixture
def from_docs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let scripts in `docs/` import each other, and forget them afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(DOCS))
    yield
    for name in ("generate_api", "write_reference", "check_site"):
        if name not in before:
            sys.modules.pop(name, None)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def in_toctrees() -> list[str]:
    """Return the entries of the toctrees, as paths from `docs/` without their suffix."""
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\{toctree\}\n(.*?)^```", index, flags=re.S | re.M)
    lines = [line for block in blocks for line in block.splitlines() if line and not line.startswith(":")]
    return [re.sub(r"^.*<(.*?)(?:\.md)?>$", r"\1", line) for line in lines]


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as code hosts and the site make them."""
    headings = re.findall(r"^#+ (.+)$", without_code(text), flags=re.M)
    plain = [re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def test_every_page_is_in_a_toctree_and_only_what_is_there(from_docs: None) -> None:
    entries = in_toctrees()
    assert len(set(entries)) == len(entries)
    own = {entry for entry in entries if not entry.startswith(("../", "reference/"))}
    assert own == {path.relative_to(DOCS).with_suffix("").as_posix() for path in PAGES} - {"index"}
    outside = {entry for entry in entries if entry.startswith("../")}
    assert outside == {f"../{path.relative_to(ROOT).with_suffix('').as_posix()}" for path in ELSEWHERE}
    namespaces = load("generate_api").NAMESPACES
    assert [entry for entry in entries if entry.startswith("reference/")] == [f"reference/{n}" for n in namespaces]


@pytest.mark.parametrize("page", [*PAGES, *ELSEWHERE], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    text = without_code(page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("https://", "http://")):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.is_file(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{page.name} links to {link}"


@pytest.mark.slow
@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.stem)
def test_notebook_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mpl = pytest.importorskip("matplotlib")
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    cells = re.findall(r"^```\{code-cell\}.*?\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    assert len(cells) >= 3
    namespace: dict[str, object] = {"__name__": page.stem}
    for cell in cells:
        exec(compile(cell, str(page), "exec"), namespace)
    from matplotlib import pyplot

    assert pyplot.get_fignums(), "a notebook without a picture"
    pyplot.close("all")


def test_the_reference_describes_every_public_class_and_function_once(tmp_path: Path, from_docs: None) -> None:
    api = load("generate_api")
    (tmp_path / "stale.md").write_text("# of a namespace that is gone\n", encoding="utf-8")
    pages = load("write_reference").write(tmp_path)
    assert sorted(tmp_path.glob("*.md")) == sorted(pages)
    described = [
        name for page in pages for name in re.findall(r"^\.\. auto\w+:: (\S+)$", page.read_text("utf-8"), flags=re.M)
    ]
    assert len(set(described)) == len(described)
    values = [resolve(name) for name in described]
    assert len({id(value) for value in values}) == len(values)
    public = {
        id(value): f"{module}.{name}"
        for module in api.MODULES
        for name in api.public_names(module)
        if isinstance(value := getattr(importlib.import_module(module), name), type) or is_function(value)
    }
    assert set(public) == {id(value) for value in values}


def is_function(value: object) -> bool:
    return type(value).__name__ == "function"


def resolve(name: str) -> object:
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


GOOD = '<html><body id="top"><a href="other.html#there">x</a><img src="here.png"></body></html>'
OTHER = (
    '<html><body><h1 id="there">x</h1><a href="https://example.org">may be followed, is not fetched</a></body></html>'
)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.html").write_text(GOOD, encoding="utf-8")
    (tmp_path / "docs" / "other.html").write_text(OTHER, encoding="utf-8")
    (tmp_path / "docs" / "here.png").write_bytes(b"")
    (tmp_path / "style.css").write_text("a { background: url(here.png) }", encoding="utf-8")
    return tmp_path


def test_a_good_site_has_no_faults(site: Path, from_docs: None) -> None:
    assert load("check_site").faults(site) == []


@pytest.mark.parametrize(
    ("added", "told"),
    [
        ('<script src="https://cdn.example.org/x.js"></script>', "fetches https://cdn.example.org/x.js"),
        ('<link rel="stylesheet" href="//fonts.example.org/x.css">', "fetches //fonts.example.org/x.css"),
        ('<img src="http://example.org/x.png">', "fetches http://example.org/x.png"),
        ("<style>@import 'https://example.org/x.css';</style>", "fetches https://example.org/x.css"),
        ('<p style="background: url(https://example.org/x.png)">', "fetches https://example.org/x.png"),
        ('<a href="nowhere.html">x</a>', "links to nowhere.html, which is not there"),
        ('<img src="nowhere.png">', "links to nowhere.png, which is not there"),
        ('<a href="index.html#nowhere">x</a>', "has no such heading"),
    ],
)
def test_a_fault_in_a_page_is_found(site: Path, from_docs: None, added: str, told: str) -> None:
    (site / "docs" / "other.html").write_text(OTHER.replace("<body>", f"<body>{added}"), encoding="utf-8")
    (fault,) = load("check_site").faults(site)
    assert told in fault


def test_a_font_from_elsewhere_and_a_page_too_far_away_are_found(site: Path, from_docs: None) -> None:
    (site / "style.css").write_text("@font-face { src: url('https://example.org/x.woff2') }", encoding="utf-8")
    (site / "docs" / "alone.html").write_text(OTHER, encoding="utf-8")
    fetched, far = load("check_site").faults(site)
    assert "style.css fetches https://example.org/x.woff2" in fetched
    assert far.startswith("docs/alone.html is more than 2 clicks")
