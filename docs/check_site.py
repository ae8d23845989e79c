"""Check the built site: nothing is fetched from elsewhere, every link leads somewhere, every page is two clicks away.

``make docs`` runs it on what it built: ``python docs/check_site.py docs/_build/html``.
"""

import re
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: Where the site begins, and how many clicks every page may be away from it.
HOME, CLICKS = "docs/index.html", 2

#: Attributes by which a browser fetches something without being asked.
FETCHED = {"src", "srcset", "poster", "data", "background"}
#: What a style sheet fetches.
IN_CSS = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""")


@dataclass
class Page:
    """What one page of HTML refers to."""

    links: list[str] = field(default_factory=list)  # of <a>
    fetched: list[str] = field(default_factory=list)  # scripts, styles, pictures, fonts, frames
    anchors: set[str] = field(default_factory=set)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.page.anchors.add(value)
            elif tag == "a" and name == "href":
                self.page.links.append(value)
            elif name in FETCHED or (tag in {"link", "use", "image"} and name in {"href", "xlink:href"}):
                self.page.fetched.append(value)
            elif name == "style":
                self.page.fetched += IN_CSS.findall(value)

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.page.fetched += IN_CSS.findall(data)


def read(path: Path) -> Page:
    """Return what a page refers to."""
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader.page


def is_remote(address: str) -> bool:
    """Whether a browser would go to another machine for it."""
    return urlsplit(address.strip()).scheme in {"http", "https", "ws", "wss", "ftp"} or address.startswith("//")


def faults(site: Path, home: str = HOME) -> list[str]:
    """Return what is wrong with a built site, one line each."""
    site = site.resolve()
    pages = {path.relative_to(site).as_posix(): read(path) for path in sorted(site.rglob("*.html"))}
    # The theme's own fragments are not pages.
    pages = {name: page for name, page in pages.items() if not name.startswith("_static/")}
    found: list[str] = []
    clicks: dict[str, set[str]] = defaultdict(set)
    for name, page in pages.items():
        found += [f"{name} fetches {address}" for address in page.fetched if is_remote(address)]
        for address in page.links + page.fetched:
            if is_remote(address) or urlsplit(address).scheme:
                continue
            place, anchor = urlsplit(address).path, urlsplit(address).fragment
            target = ((site / name).parent / unquote(place) if place else site / name).resolve()
            if not target.is_relative_to(site) or not target.exists():
                found.append(f"{name} links to {address}, which is not there")
                continue
            to = target.relative_to(site).as_posix()
            if address in page.links:
                clicks[name].add(to)
            if anchor and to in pages and unquote(anchor) not in pages[to].anchors:
                found.append(f"{name} links to {address}, which has no such heading")
    for path in site.rglob("*.css"):
        found += [f"{path.relative_to(site)} fetches {a}" for a in IN_CSS.findall(path.read_text(encoding="utf-8"))]
    reached = {home}
    for _ in range(CLICKS):
        reached |= {to for name in reached for to in clicks[name]}
    found += [f"{name} is more than {CLICKS} clicks from {home}" for name in pages if name not in reached | ASIDE]
    return found


#: Pages of the machinery: the list of all names, the results of a search, and the address without a page's name.
ASIDE = {"genindex.html", "py-modindex.html", "search.html", "index.html"}


def main(site: Path) -> int:
    """Print what is wrong, and return the exit code."""
    wrong = faults(site)
    pages = sum(1 for path in site.rglob("*.html") if "_static" not in path.parts)
    sys.stdout.write("".join(f"{line}\n" for line in wrong) + f"{pages} pages, {len(wrong)} faults\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
