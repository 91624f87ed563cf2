"""Build context of a Bento: the package, the project's hook, settings, and the online store."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from mlops_cli.data.atomic_files import json_text, read_json, sha256
from mlops_cli.data.templates import render
from mlops_cli.errors import BadParams

if TYPE_CHECKING:
    from mlops_cli.features.program import FeatureProgram
    from mlops_cli.online.store import OnlineStore

__all__ = [
    "DOCKERFILE",
    "ONLINE",
    "SETTINGS",
    "close_store",
    "digest",
    "environment",
    "local_modules",
    "store_identity",
    "write",
    "write_dockerfile",
]

DOCKERFILE = "Dockerfile.template"

SETTINGS = "serving.json"
"""Settings of the service: name, version, the model's tag, and the section ``serve``."""
ONLINE = "online.sqlite"
"""Snapshot of the online store at build time, if features need look-ups."""
_EXCLUDED = {
    "": {
        *("__main__.py", "cli", "scaffold", "registry", "project", "validation", "training"),
        *("evaluation", "monitoring", "feedback", "promotion", "backtest", "retraining"),
    },
    "serving/deployment": {"templates"},
}
"""Folder of the package -> its parts that the service doesn't need."""


def write(
    context: Path, root: Path, program: FeatureProgram, settings: Mapping[str, Any], card: str
) -> None:
    """Write the build context, except for the online store, to an empty folder.

    Parameters
    ----------
    root
        The project's folder, where the hook is.
    settings
        Content of ``serving.json``.
    card
        The model card, which becomes the Bento's description.

    Raises
    ------
    BadParams
        If the project doesn't have the hook that the feature program names.
    """
    package = Path(str(files("mlops_cli")))

    def list_unneeded(folder: str, names: list[str]) -> set[str]:
        place = Path(folder).relative_to(package).as_posix()
        return {"__pycache__", *_EXCLUDED.get("" if place == "." else place, set())} & {*names}

    shutil.copytree(package, context / "mlops_cli", ignore=list_unneeded)
    for path in local_modules(program.rules.hook, root):
        target = context / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (context / SETTINGS).write_text(json_text(settings), encoding="utf-8")
    (context / "README.md").write_text(card, encoding="utf-8")
    service = render("mlops_cli.serving.deployment", "service.py.jinja")
    (context / "service.py").write_text(service, encoding="utf-8")


def write_dockerfile(context: Path, environment: Mapping[str, str]) -> None:
    """Write the template of the Dockerfile that BentoML makes.

    Parameters
    ----------
    environment
        Environment variables of the image; a container may override them.
    """
    text = render(
        "mlops_cli.serving.deployment",
        "Dockerfile.template.angle.jinja",
        {"env_value": _env_value},
        environment=environment,
    )
    (context / DOCKERFILE).write_text(text, encoding="utf-8")


def _env_value(value: str) -> str:
    """Quote a value in a Dockerfile, inside a raw block of BentoML's template."""
    # A Dockerfile has the escapes of JSON, and also replaces variables.
    quoted = json.dumps(value, ensure_ascii=False).replace("$", "\\$")
    return quoted.replace("{%", "{% endraw %}{{ '{%' }}{% raw %}")


def local_modules(hook: str | None, root: Path) -> list[Path]:
    """Find the project's files that ``module:function`` needs: its module, and what it imports.

    Raises
    ------
    BadParams
        If the project has no such module.
    """
    if hook is None:
        return []
    module = hook.partition(":")[0]
    queue, modules = list(_module_files(module, root)), set()
    if not queue:
        raise BadParams(
            f"featurize.hook {hook!r}: there is no module {module} in {root}",
            "Write `module:function`, with module.py in the project's folder.",
        )
    while queue:
        path = queue.pop()
        if path not in modules:
            modules.add(path)
            queue += [p for name in _imported_names(path, root) for p in _module_files(name, root)]
    return sorted(modules)


def _module_files(module: str, root: Path) -> Iterator[Path]:
    """Yield the files of a dotted name: the module, and the ``__init__.py`` of its packages."""
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        folder = root.joinpath(*parts[:depth])
        for path in (folder.with_name(f"{folder.name}.py"), folder / "__init__.py"):
            if path.is_file():
                yield path


def _imported_names(path: Path, root: Path) -> Iterator[str]:
    """Yield the absolute names of everything that a module imports."""
    package = list(path.relative_to(root).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from ([start] if start else [])
            # An imported name may itself be a module.
            yield from (".".join(filter(None, (start, alias.name))) for alias in node.names)


def close_store(store_path: Path) -> None:
    """Turn WAL mode off, so that the store can be read from a read-only disk."""
    connection = sqlite3.connect(store_path)
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
    finally:
        connection.close()


def digest(context: Path, requirements: list[str], online: Mapping[str, Any] | None) -> str:
    """Hash everything that the Bento is built from.

    Parameters
    ----------
    online
        Identity of the online store's entries. Its file isn't hashed: it differs with each build.
    """
    paths = sorted(p for p in context.rglob("*") if p.is_file() and p.name != ONLINE)
    content = {
        "files": {p.relative_to(context).as_posix(): sha256(p) for p in paths},
        "requirements": requirements,
        "online": dict(online) if online is not None else None,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def store_identity(store: OnlineStore, program: FeatureProgram) -> dict[str, Any]:
    """Return what identifies a feature program's entries in a store."""
    from mlops_cli.online.store import program_id

    name = program_id(program)
    facts = store.metadata(name) or {}
    return {"program": name, **{k: v for k, v in facts.items() if k != "generation"}}


def environment(source: Path, bundle: PurePath, at: PurePath | None = None) -> dict[str, str]:
    """Return the service's environment variables, from a Bento's source folder.

    Parameters
    ----------
    bundle
        Path of the model where the service runs.
    at
        Path of the source folder where the service runs; by default ``source``.
    """
    settings = read_json(source / SETTINGS)
    variables = {
        "MLOPS_BUNDLE": str(bundle),
        "MLOPS_VERSION": f"{settings['name']}@{settings['number']}",
        "MLOPS_SERVE": json.dumps(settings["serve"], ensure_ascii=False),
    }
    if settings.get("csv"):
        variables["MLOPS_CSV"] = json.dumps(settings["csv"], ensure_ascii=False)
    if (source / ONLINE).is_file():
        variables["MLOPS_ONLINE_URL"] = str((at or source) / ONLINE)
    return variables
