"""Column names as SQL identifiers, and as names for features and projects."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container

from mlops_cli.params.base import LONGEST_NAME

__all__ = ["feature_name", "project_name", "quote"]


def quote(name: str) -> str:
    """The column as a SQL identifier, in double quotes only if it needs them.

    Examples
    --------
    >>> quote("radius"), quote("mean radius"), quote("end")
    ('radius', '"mean radius"', '"end"')
    """
    if re.fullmatch(r"[a-z][a-z0-9_]*", name) and _is_plain(name):
        return name
    return '"' + name.replace('"', '""') + '"'


def _is_plain(name: str) -> bool:
    # There is no list of keywords: the dialect itself parses the bare word.
    import polars as pl

    from mlops_cli.data.sql.grammar import GrammarError, parse

    try:
        expr = pl.sql_expr(name)
        plain = expr.meta.is_column() and expr.meta.output_name() == name
        return plain and parse(name).columns == (name,)
    except (pl.exceptions.PolarsError, GrammarError):
        return False


def feature_name(column: str, existing_names: Container[str] = ()) -> str:
    """A feature's name from a column's: lower case, no accents, underscores between words.

    Letters of other scripts stay. A number is appended if ``existing_names`` has the name.

    Examples
    --------
    >>> feature_name("Mean Radius (mm)"), feature_name("_x"), feature_name("2nd", {"x_2nd"})
    ('mean_radius_mm', 'x', 'x_2nd_2')
    """
    folded = unicodedata.normalize("NFKD", column)
    folded = "".join(c for c in folded if not unicodedata.combining(c))
    name = re.sub(r"[\W_]+", "_", folded.casefold()).strip("_")
    if not name or name[0].isdigit():
        name = f"x_{name}".rstrip("_")
    unique, number = name, 2
    while unique in existing_names:
        unique, number = f"{name}_{number}", number + 1
    return unique


def project_name(text: str) -> str:
    """A project's name from a folder's: lower case letters, digits, hyphens; a letter first.

    Examples
    --------
    >>> project_name("Churn_2024 (v2)"), project_name("7")
    ('churn-2024-v2', 'project-7')
    """
    folded = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", folded).strip("-")
    if not name[:1].isalpha() or len(name) < 2:  # noqa: PLR2004  the minimum for a model's name
        name = f"project-{name}".rstrip("-")
    return name[:LONGEST_NAME].rstrip("-")
