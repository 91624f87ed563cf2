"""Requirements of a Bento: the packages that serving needs, in the installed versions."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlops_cli.errors import NotInstalled, install_hint

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["exact", "serving"]

_SERVICE_PACKAGES = (
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
_FAMILY_PACKAGES = {"lightgbm": ("lightgbm",)}
_DEFAULT_PACKAGES = ("scikit-learn", "skops")
"""Packages for scoring the families without an entry above."""


def serving(families: Iterable[str], *, tokens: bool = False, tables: bool = False) -> list[str]:
    """Requirements of a service with these model families, as ``name==version``, sorted by name.

    Parameters
    ----------
    tokens
        Whether requests may have JSON Web Tokens.
    tables
        Whether request bodies may be Arrow or Parquet.

    Raises
    ------
    NotInstalled
        If one of the packages isn't installed.
    """
    roots = {*_SERVICE_PACKAGES, *(("pyjwt[crypto]",) if tokens else ())}
    if tables:
        roots.add("pyarrow")
    for family in families:
        roots.update(_family_packages(family))
    if _is_installed("redis"):
        # The online store can then be moved to Redis without a new Bento.
        roots.add("redis")
    return exact(roots)


def _family_packages(family: str) -> Iterable[str]:
    """Packages for scoring a family; several packages may provide the same module."""
    from mlops_cli.models.families import FAMILIES

    module = FAMILIES[family].package
    if module is None:
        return _FAMILY_PACKAGES.get(family, _DEFAULT_PACKAGES)
    return importlib.metadata.packages_distributions().get(module, [module])


def exact(roots: Iterable[str]) -> list[str]:
    """These packages and their dependencies, as ``name==version``, sorted by name.

    Raises
    ------
    NotInstalled
        If one of them isn't installed.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    versions: dict[str, str] = {}
    queue, seen = [Requirement(root) for root in sorted(roots)], set()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *sorted(requirement.extras)):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            versions[name] = _installed_version(name)
            queue += _dependencies(name, extra)
    return [f"{name}=={version}" for name, version in sorted(versions.items())]


def _dependencies(name: str, extra: str) -> list[Requirement]:
    from packaging.requirements import Requirement

    requirements = map(Requirement, importlib.metadata.requires(name) or ())
    return [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": extra})]


def _installed_version(name: str) -> str:
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
