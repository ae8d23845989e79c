"""Write the site's API reference: a page per namespace with whole docstrings, from the list in ``generate_api.py``.

``make docs`` does it; the pages are not kept in the repository. ``docs/api.md`` has the same names on one page.
"""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from generate_api import NAMESPACES, describe, first_line, public_names


def write(folder: Path) -> list[Path]:
    """Write a page for each namespace into a folder, and remove what is left of earlier ones."""
    folder.mkdir(exist_ok=True)
    homes = _homes()
    pages = {folder / f"{namespace}.md": _page(namespace, homes) for namespace in NAMESPACES}
    for stale in set(folder.glob("*.md")) - set(pages):
        stale.unlink()
    for path, text in pages.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return list(pages)


def _entries() -> Iterator[tuple[str, str, str, Any]]:
    """Every public name: namespace, module, name and value."""
    for namespace, (_, suffixes) in NAMESPACES.items():
        for suffix in suffixes:
            module = f"{namespace}{suffix}"
            for name in public_names(module):
                yield namespace, module, name, getattr(importlib.import_module(module), name)


def _homes() -> dict[int, tuple[str, str, str]]:
    """Where each class and function is described: in the room where it is defined, not where it is offered again.

    The key is the object's id; the value is namespace, module and name.
    """
    homes: dict[int, tuple[str, str, str]] = {}
    for namespace, module, name, value in _entries():
        if not _has_docstring(value):
            continue
        present = homes.get(id(value))
        if present is None or _closeness(value, namespace, module) > _closeness(value, *present[:2]):
            homes[id(value)] = (namespace, module, name)
    return homes


def _closeness(value: Any, namespace: str, module: str) -> tuple[bool, int]:
    """How near a place is to where the value is defined: first the same module, then the deepest enclosing room."""
    defined = value.__module__
    return defined == module, len(namespace) if f"{defined}.".startswith(f"{namespace}.") else 0


def _has_docstring(value: Any) -> bool:
    return inspect.isclass(value) or inspect.isfunction(value)


def _page(namespace: str, homes: dict[int, tuple[str, str, str]]) -> str:
    heading, suffixes = NAMESPACES[namespace]
    lines = [f"# {heading}", "", f"`{namespace}`. {first_line(importlib.import_module(namespace))}"]
    for suffix in suffixes:
        module = f"{namespace}{suffix}"
        if suffix:
            lines += ["", f"## `{suffix}`", "", first_line(importlib.import_module(module))]
        own: list[str] = []
        lines += ["", "| name | what it is |", "|---|---|"]
        for name in public_names(module):
            value = getattr(importlib.import_module(module), name)
            lines.append(f"| {_link(value, name, homes)} | {describe(importlib.import_module(module), name)} |")
            if homes.get(id(value)) == (namespace, module, name):
                kind = "class" if inspect.isclass(value) else "function"
                own += [f".. auto{kind}:: {module}.{name}", *(["   :members:"] if kind == "class" else []), ""]
        if own:
            lines += ["", "```{eval-rst}", *own, "```"]
    return "\n".join(lines) + "\n"


def _link(value: Any, name: str, homes: dict[int, tuple[str, str, str]]) -> str:
    if inspect.ismodule(value):
        return f"[`{name}`]({value.__name__}.md)" if value.__name__ in NAMESPACES else f"`{name}`"
    if not _has_docstring(value):
        return f"`{name}`"
    _, module, known_as = homes[id(value)]
    return f"{{py:obj}}`{name} <{module}.{known_as}>`"
