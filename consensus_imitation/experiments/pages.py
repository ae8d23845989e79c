"""Pages from templates, in which whatever is put in is text. Jinja2 is imported when a page is made."""

from typing import TYPE_CHECKING, Any

from consensus_imitation.core._escaping import visible_lines

if TYPE_CHECKING:
    from jinja2 import Environment


def environment() -> "Environment":
    """Return where the templates are found, and how they are filled in.

    A template is named by its place under ``experiments/``. Everything that is put in is escaped, and its control
    characters are written out.

    Raises:
        ImportError: without Jinja2, naming the extra that brings it.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise ImportError('pages need Jinja2: pip install "consensus_imitation[plot]"') from error

    def shown(value: Any) -> Any:
        # What a template itself has made is HTML already.
        return value if isinstance(value, Markup) else visible_lines(str(value))

    loader = PackageLoader("consensus_imitation.experiments", "")
    return Environment(
        loader=loader, autoescape=True, finalize=shown, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
