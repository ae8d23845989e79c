"""Safe imitation learning: act where every plausible model of the demonstrator agrees, ask where they do not.

The public names are in `consensus_imitation._surface`, which Python imports when the first of them is used. The package
alone imports nothing: the command line starts at once, and can be interrupted from its first moment.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consensus_imitation._surface import *  # noqa: F403
else:
    from importlib import import_module

    #: Namespaces that the import system does not find at this place itself.
    _ELSEWHERE = ("aggregation", "posterior", "priors", "selection")
    _ROOMS = ("demonstrators", "ensembles", "errors")

    def __getattr__(name):
        if name in _ROOMS:
            return import_module(f"{__name__}.{name}")
        if name == "__all__" or name in _ELSEWHERE or name[0].isupper():
            surface = import_module(f"{__name__}._surface")
            if hasattr(surface, name):
                return getattr(surface, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *import_module(f"{__name__}._surface").__all__})
