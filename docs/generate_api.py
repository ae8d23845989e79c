"""Write ``docs/api.md``: every public name of every public module with the first line of its docstring.

Run ``python docs/generate_api.py`` after a change of the public surface; a test compares the page with the code.
"""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

from consensus_imitation.envs import worlds

PAGE = Path(__file__).with_name("api.md")

#: Namespaces in the order of the page: a heading, and the modules whose names are its own (their ``__all__``, or what
#: they define). What begins with an underscore is private.
NAMESPACES: dict[str, tuple[str, tuple[str, ...]]] = {
    "consensus_imitation": ("Top level", ("",)),
    "consensus_imitation.core.aggregation": ("Aggregation rules and gates (`aggregation`)", ("",)),
    "consensus_imitation.core.selection": ("Selection rules (`selection`)", ("",)),
    "consensus_imitation.core.posterior": ("The posterior (`posterior`)", ("",)),
    "consensus_imitation.core.priors": ("Priors (`priors`)", ("",)),
    "consensus_imitation.core": (
        "The mathematics and the pure learner",
        (
            ".alarm",
            ".any_action",
            ".bounds",
            ".budget",
            ".calibration",
            ".certificate",
            ".draw",
            ".learner",
            ".legal",
            ".members",
            ".merging",
            ".pure_demonstrator",
            ".rejection",
            ".reweighting",
            ".rollout",
            ".rule_contract",
            ".rules",
            ".sampling_learner",
            ".state",
            ".withholding",
        ),
    ),
    "consensus_imitation.ensembles": (
        "Members (`ensembles`)",
        ("", ".neural.encoding", ".neural.networks", ".neural.replay", ".neural.settings", ".neural.training"),
    ),
    "consensus_imitation.ensembles.any_action": ("Members for any action space", ("",)),
    "consensus_imitation.demonstrators": (
        "Demonstrators (`demonstrators`)",
        (
            "",
            ".recordings",
            ".people.keys",
            ".people.views",
            ".people.terminal",
            ".people.web.page",
            ".bots.babyai",
            ".bots.controllers",
            ".bots.planning",
        ),
    ),
    "consensus_imitation.imitator": ("Imitators", ("",)),
    "consensus_imitation.journal": ("The journal", ("", ".audit", ".calibration", ".checkpoint", ".export", ".show")),
    "consensus_imitation.deception": ("Deceptive members and the suite", ("", ".networks", ".pytest_plugin")),
    "consensus_imitation.experiments": ("Experiments", ("", ".methods", ".tasks", ".tasks.masks", ".tasks.wrapper")),
    "consensus_imitation.envs": (
        "Environments",
        ("", ".gymnasium_adapter", *(f".worlds.{world.name}" for world in pkgutil.iter_modules(worlds.__path__))),
    ),
    "consensus_imitation.benchmarks": ("Benchmarks", ("",)),
    "consensus_imitation.errors": ("Errors and warnings (`errors`)", ("",)),
}

MODULES = [f"{namespace}{module}" for namespace, (_, modules) in NAMESPACES.items() for module in modules]


def public_names(module_name: str) -> list[str]:
    """Return the names a module offers: its ``__all__``, else what it defines itself without a leading underscore."""
    module = importlib.import_module(module_name)
    if hasattr(module, "__all__"):
        return sorted(module.__all__, key=str.lower)
    own = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and getattr(value, "__module__", None) == module_name
    ]
    return sorted(own, key=str.lower)


def page() -> str:
    """Return the whole page as Markdown."""
    lines = [
        "# API reference",
        "",
        "Every public name with its first line; `help(name)` shows shapes, units, errors and an example. Made by "
        "`python docs/generate_api.py`.",
    ]
    for namespace, (heading, modules) in NAMESPACES.items():
        lines += ["", f"## {heading}", "", f"`{namespace}`. {first_line(importlib.import_module(namespace))}"]
        for suffix in modules:
            module = importlib.import_module(f"{namespace}{suffix}")
            lines += [
                "",
                *([f"`{suffix}`: {first_line(module)}", ""] if suffix else []),
                "| name | what it is |",
                "|---|---|",
            ]
            lines += [
                f"| `{_signature(module, name)}` | {describe(module, name)} |" for name in public_names(module.__name__)
            ]
    return "\n".join(lines) + "\n"


def _signature(module: object, name: str) -> str:
    value = getattr(module, name)
    if not inspect.isfunction(value):
        return name
    return f"{name}({', '.join(inspect.signature(value).parameters)})"


def describe(module: object, name: str) -> str:
    """Return what a name of a module is, as one line of Markdown: its first line, or a constant's value."""
    value = getattr(module, name)
    if inspect.ismodule(value) or inspect.isclass(value) or callable(value):
        return first_line(value)
    return f"constant, `{_plain(value)}`"


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return f"keys: {', '.join(map(str, value))}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def first_line(value: object) -> str:
    """Return the first paragraph of a docstring, as one line of Markdown."""
    text = (inspect.getdoc(value) or "").split("\n\n")[0].replace("\n", " ")
    return re.sub(r"``(.+?)``", r"`\1`", text).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
