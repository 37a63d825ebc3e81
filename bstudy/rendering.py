"""The templates of the book's pages, and of what a notebook shows below a cell. They escape every value."""

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2


def new_templates() -> "jinja2.Environment":
    """Return an environment of the templates in `templates/`."""
    import jinja2  # late: no command without a page needs it

    return jinja2.Environment(
        loader=jinja2.PackageLoader("bstudy"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


_templates = functools.cache(new_templates)


def show_cell(template: str = "cell.html", **parts: Any) -> str:
    """Return a template as the HTML output of a notebook's cell.

    Its style applies to nothing else in the notebook, and takes its colors from the notebook's theme.

    Args:
        template: The name of its file.
        parts: What it shows; cell.html shows title, tables (with `first` as the heading of their
            first column), drawing, claims and notes, in this order.
    """
    empty = {"title": "", "tables": (), "first": "run", "drawing": None, "claims": (), "notes": {}}
    return _templates().get_template(template).render(empty | parts)
