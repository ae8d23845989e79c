"""Pages from templates, in which every inserted value is text. The first page imports Jinja2."""

from typing import TYPE_CHECKING, Any

from consensus_imitation.core._escaping import visible_lines

if TYPE_CHECKING:
    from jinja2 import Environment


def environment() -> "Environment":
    """Return the environment that finds the templates and fills them in.

    A template's name is its place under ``experiments/``. Every inserted value is escaped, and its control characters
    are written out.

    Raises:
        ImportError: without Jinja2, naming the extra that brings it.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise ImportError('pages need Jinja2: pip install "consensus_imitation[plot]"') from error

    def shown(value: Any) -> Any:
        # The output of a template is already HTML.
        return value if isinstance(value, Markup) else visible_lines(str(value))

    loader = PackageLoader("consensus_imitation.experiments", "")
    return Environment(
        loader=loader, autoescape=True, finalize=shown, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
