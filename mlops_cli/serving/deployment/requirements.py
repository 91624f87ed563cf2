"""The packages that serving needs, in the exact versions that are installed here."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlops_cli.errors import NotInstalled, install_hint

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["exact", "serving"]

_SERVICE = (
    "bentoml",
    "httptools",
    "numpy",
    "orjson",
    "polars",
    "prometheus-client",
    "psycopg[binary]",
    "pydantic",
    "ruamel.yaml",
    "uvloop",
)
_FAMILIES = {"lightgbm": ("lightgbm",)}
_SKLEARN = ("scikit-learn", "skops")
"""What scores the families that name no package of their own."""


def serving(families: Iterable[str], *, tokens: bool = False, tables: bool = False) -> list[str]:
    """What a service with models of these families needs, as ``name==version``, by name.

    Parameters
    ----------
    tokens
        Whether requests may carry JSON Web Tokens.
    tables
        Whether bodies may be Arrow or Parquet.

    Raises
    ------
    NotInstalled
        If one of the packages is missing here.
    """
    roots = {*_SERVICE, *(("pyjwt[crypto]",) if tokens else ())}
    if tables:
        roots.add("pyarrow")
    for family in families:
        roots.update(_scoring(family))
    if _is_installed("redis"):
        # The online store may be moved to Redis without a new Bento.
        roots.add("redis")
    return exact(roots)


def _scoring(family: str) -> Iterable[str]:
    """The packages that score a family; one module may come from packages of several names."""
    from mlops_cli.models.families import FAMILIES

    module = FAMILIES[family].needs
    if module is None:
        return _FAMILIES.get(family, _SKLEARN)
    return importlib.metadata.packages_distributions().get(module, [module])


def exact(roots: Iterable[str]) -> list[str]:
    """These packages and all that they need here, as ``name==version``, by name.

    Raises
    ------
    NotInstalled
        If one is missing.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, str] = {}
    open_, seen = [Requirement(root) for root in sorted(roots)], set()
    while open_:
        wanted = open_.pop()
        name = canonicalize_name(wanted.name)
        for extra in ("", *sorted(wanted.extras)):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            found[name] = _version(name)
            open_ += _needs(name, extra)
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def _needs(name: str, extra: str) -> list[Requirement]:
    from packaging.requirements import Requirement

    stated = map(Requirement, importlib.metadata.requires(name) or ())
    return [r for r in stated if r.marker is None or r.marker.evaluate({"extra": extra})]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise NotInstalled(
            f"a Bento needs the package {name}, which isn't installed",
            install_hint("serve"),
        ) from None


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
