"""What a Bento is built from: the package, the project's hook, the settings, the online store."""

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
"""What the service is told: name, number, the model's tag, and the section ``serve``."""
ONLINE = "online.sqlite"
"""The online store as of the build, where the features look anything up."""
_TOOL = {
    "": {
        *("__main__.py", "cli", "scaffold", "registry", "project", "validation", "training"),
        *("evaluation", "monitoring", "feedback", "promotion", "backtest", "retraining"),
    },
    "serving/deployment": {"templates"},
}
"""Parts of the package that no service needs, by their folder."""


def write(
    context: Path, root: Path, program: FeatureProgram, settings: Mapping[str, Any], card: str
) -> None:
    """Fill an empty folder with everything but the online store.

    Parameters
    ----------
    root
        The project's folder, where the hook is.
    settings
        What goes to ``serving.json``.
    card
        The model card, which becomes the Bento's description.

    Raises
    ------
    BadParams
        If the hook that the feature program names isn't there.
    """
    package = Path(str(files("mlops_cli")))

    def unneeded(folder: str, names: list[str]) -> set[str]:
        place = Path(folder).relative_to(package).as_posix()
        return {"__pycache__", *_TOOL.get("" if place == "." else place, set())} & {*names}

    shutil.copytree(package, context / "mlops_cli", ignore=unneeded)
    for path in local_modules(program.rules.hook, root):
        target = context / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (context / SETTINGS).write_text(json_text(settings), encoding="utf-8")
    (context / "README.md").write_text(card, encoding="utf-8")
    given = files("mlops_cli.serving.deployment") / "templates"
    entry = (given / "service.py.txt").read_text(encoding="utf-8")
    (context / "service.py").write_text(entry, encoding="utf-8")


def write_dockerfile(context: Path, environment: Mapping[str, str]) -> None:
    """Write the template by which BentoML makes the Dockerfile.

    Parameters
    ----------
    environment
        What the image sets; a container may set it to something else.
    """
    given = files("mlops_cli.serving.deployment") / "templates" / "Dockerfile.template.txt"
    # JSON's escapes are the Dockerfile's, which also fills in variables.
    lines = [
        f"ENV {name}={json.dumps(value, ensure_ascii=False)}".replace("$", "\\$")
        for name, value in environment.items()
    ]
    text = given.read_text(encoding="utf-8").replace("@ENVIRONMENT@", "\n".join(lines))
    (context / DOCKERFILE).write_text(text, encoding="utf-8")


def local_modules(hook: str | None, root: Path) -> list[Path]:
    """The project's own files that ``module:function`` runs: its module, and what that imports.

    Raises
    ------
    BadParams
        If there is no such module in the project.
    """
    if hook is None:
        return []
    module = hook.partition(":")[0]
    open_, found = list(_files(module, root)), set()
    if not open_:
        raise BadParams(
            f"featurize.hook {hook!r}: there is no module {module} in {root}",
            "Write `module:function`, with module.py in the project's folder.",
        )
    while open_:
        path = open_.pop()
        if path not in found:
            found.add(path)
            open_ += [p for name in _imported(path, root) for p in _files(name, root)]
    return sorted(found)


def _files(module: str, root: Path) -> Iterator[Path]:
    """The files of a dotted name below a folder: the module's, and its packages' own."""
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:depth])
        for path in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
            if path.is_file():
                yield path


def _imported(path: Path, root: Path) -> Iterator[str]:
    package = list(path.relative_to(root).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from ([start] if start else [])
            # What is imported may be a module of its own.
            yield from (".".join(filter(None, (start, alias.name))) for alias in node.names)


def close_store(store_path: Path) -> None:
    """Let a filled store be read from a disk on which nothing can be written."""
    connection = sqlite3.connect(store_path)
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
    finally:
        connection.close()


def digest(context: Path, requirements: list[str], online: Mapping[str, Any] | None) -> str:
    """One hash of all that the Bento is made from.

    Parameters
    ----------
    online
        What the online store says of its entries; its file differs from one making to the next.
    """
    paths = sorted(p for p in context.rglob("*") if p.is_file() and p.name != ONLINE)
    content = {
        "files": {p.relative_to(context).as_posix(): sha256(p) for p in paths},
        "requirements": requirements,
        "online": dict(online) if online is not None else None,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def store_identity(store: OnlineStore, program: FeatureProgram) -> dict[str, Any]:
    """What identifies the entries of a feature program in a store."""
    from mlops_cli.online.store import program_id

    name = program_id(program)
    facts = store.facts(name) or {}
    return {"program": name, **{k: v for k, v in facts.items() if k != "generation"}}


def environment(source: Path, bundle: PurePath, at: PurePath | None = None) -> dict[str, str]:
    """The environment that tells the service what a Bento's source folder says.

    Parameters
    ----------
    bundle
        Where the model is.
    at
        What the source folder is called where the service runs; by default as here.
    """
    told = read_json(source / SETTINGS)
    found = {
        "MLOPS_BUNDLE": str(bundle),
        "MLOPS_VERSION": f"{told['name']}@{told['number']}",
        "MLOPS_SERVE": json.dumps(told["serve"], ensure_ascii=False),
    }
    if told.get("csv"):
        found["MLOPS_CSV"] = json.dumps(told["csv"], ensure_ascii=False)
    if (source / ONLINE).is_file():
        found["MLOPS_ONLINE_URL"] = str((at or source) / ONLINE)
    return found
