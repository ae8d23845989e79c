"""Write ``docs/api.md``: every public name of every public module with the first line of its docstring.

Run ``python docs/generate_api.py`` after a change of the public surface; a test compares the page with the code.
"""

import importlib
import inspect
import re
from pathlib import Path

PAGE = Path(__file__).with_name("api.md")

#: Public modules in the order of the page, with a heading each. Their ``__all__``, or their own public names, count.
MODULES = {
    "consensus_imitation": "Top level",
    "consensus_imitation.posterior": "Posterior",
    "consensus_imitation.selection": "Selection rules",
    "consensus_imitation.aggregation": "Aggregation rules",
    "consensus_imitation.draw": "The draw",
    "consensus_imitation.gates": "Gates: the asking rules in use today",
    "consensus_imitation.reweighting": "Reweighting",
    "consensus_imitation.ensembles": "Ensembles",
    "consensus_imitation.ensembles.training_settings": "Training of networks: the settings",
    "consensus_imitation.ensembles.training": "Training of networks: replay and updates",
    "consensus_imitation.networks": "Networks",
    "consensus_imitation.encoding": "Encoding of observations",
    "consensus_imitation.calibration": "Calibration",
    "consensus_imitation.certificate": "Certificates: the bounds as functions",
    "consensus_imitation.budget": "Inflation budget",
    "consensus_imitation.statement": "The certificate in words",
    "consensus_imitation.misspecification": "Misspecification alarm",
    "consensus_imitation.diversity": "Diversity of the members",
    "consensus_imitation.learner": "Learner (pure core)",
    "consensus_imitation.rollout": "Rollouts",
    "consensus_imitation.imitator": "Imitator (stateful shell)",
    "consensus_imitation.standing": "What an imitator knows of itself",
    "consensus_imitation.queries": "Queries that wait for an answer",
    "consensus_imitation.construction": "What an imitator is made of",
    "consensus_imitation.checks": "Do rules and members fit?",
    "consensus_imitation.options": "Checks of options",
    "consensus_imitation.demonstrators.patience": "Patience",
    "consensus_imitation.journal": "Journal",
    "consensus_imitation.journal.checkpoint": "Checkpoints",
    "consensus_imitation.journal.packing": "Observations as bytes",
    "consensus_imitation.policy": "Policies for evaluation",
    "consensus_imitation.warm_start": "Learning from recordings",
    "consensus_imitation.alarms": "Alarms",
    "consensus_imitation.sampling": "Any action space: the rejection draw",
    "consensus_imitation.decision": "Decisions and checks",
    "consensus_imitation.host": "Members that run on the host",
    "consensus_imitation.compiled": "Compiled calls behind the shell",
    "consensus_imitation.demonstrators": "Demonstrators",
    "consensus_imitation.demonstrators.controllers": "Controllers",
    "consensus_imitation.demonstrators.planning": "Planners",
    "consensus_imitation.demonstrators.babyai": "BabyAI's bot (extra `tasks`)",
    "consensus_imitation.demonstrations": "Recorded demonstrations",
    "consensus_imitation.errors": "Errors",
    "consensus_imitation.envs": "Environments",
    "consensus_imitation.envs.gymnasium_adapter": "Gymnasium adapter (extra `gym`)",
    "consensus_imitation.deception": "Deceptive members and the suite",
    "consensus_imitation.deception.pytest_plugin": "pytest plugin",
    "consensus_imitation.deception.networks": "A planted network",
    "consensus_imitation.experiments": "Experiments",
    "consensus_imitation.experiments.tasks": "Real tasks (extra `tasks`)",
    "consensus_imitation.experiments.methods": "Compared methods",
    "consensus_imitation.experiments.compare_summary": "Summaries of a comparison",
    "consensus_imitation.experiments.planted": "The planted network's experiment",
    "consensus_imitation.experiments.collapse": "The study of collapse",
    "consensus_imitation.tables": "Tables",
    "consensus_imitation.plotting": "Pictures (extra `plot`)",
    "consensus_imitation.collapse_report": "Report of the study of collapse (extra `plot`)",
    "consensus_imitation.planted_report": "Report of the planted network (extra `plot`)",
    "consensus_imitation.report": "Report (extra `plot`)",
    "consensus_imitation.benchmarks": "Benchmarks",
    "consensus_imitation.cli": "Command line",
}


def public_names(module_name: str) -> list[str]:
    """The names a module offers: its ``__all__``, else what it defines itself without a leading underscore."""
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
    """The whole page as Markdown."""
    lines = [
        "# API reference",
        "",
        "Every public name with its first line; `help(name)` shows shapes, units, errors and an example. Made by "
        "`python docs/generate_api.py`.",
    ]
    for module_name, heading in MODULES.items():
        module = importlib.import_module(module_name)
        lines += [
            "",
            f"## {heading}: `{module_name}`",
            "",
            _first_line(module),
            "",
            "| name | what it is |",
            "|---|---|",
        ]
        lines += [f"| `{_signature(module, name)}` | {_describe(module, name)} |" for name in public_names(module_name)]
    return "\n".join(lines) + "\n"


def _signature(module: object, name: str) -> str:
    value = getattr(module, name)
    if not inspect.isfunction(value):
        return name
    return f"{name}({', '.join(inspect.signature(value).parameters)})"


def _describe(module: object, name: str) -> str:
    value = getattr(module, name)
    if inspect.ismodule(value) or inspect.isclass(value) or callable(value):
        return _first_line(value)
    return f"constant, `{_plain(value)}`"


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return f"keys: {', '.join(map(str, value))}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _first_line(value: object) -> str:
    text = (inspect.getdoc(value) or "").split("\n\n")[0].replace("\n", " ")
    return re.sub(r"``(.+?)``", r"`\1`", text).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
