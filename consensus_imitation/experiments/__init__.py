"""Experiments: from a configuration to tidy results on disk.

Each experiment is a folder: its configuration, its run, its summary, its picture and table, its command. The public
names are in `consensus_imitation.experiments._surface`, which Python imports when the first of them is used. So you can
read a configuration without importing anything that computes.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consensus_imitation.experiments._surface import *  # noqa: F403
else:
    from importlib import import_module
    from importlib.util import find_spec

    def __getattr__(name):
        if name == "__all__" or not name.startswith("_"):
            if find_spec(f"{__name__}.{name}") is not None:
                return import_module(f"{__name__}.{name}")
            surface = import_module(f"{__name__}._surface")
            if hasattr(surface, name):
                return getattr(surface, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *import_module(f"{__name__}._surface").__all__})
