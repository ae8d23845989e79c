"""Packages that a task imports only when it is made."""

import importlib
from types import ModuleType


def require(module: str) -> ModuleType:
    """Import a package that a task needs.

    Raises:
        ImportError: if it is missing, naming the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise ImportError(f'this task needs {error.name}: pip install "consensus_imitation[tasks]"') from error
