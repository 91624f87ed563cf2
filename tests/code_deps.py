"""Which modules each stage imports, directly or not: what its `deps:` in dvc.yaml must list.

`python tests/code_deps.py` rewrites the code part of dvc.yaml's deps; test_structure.py fails
where they have fallen behind.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
TABLES = ("mlops_cli.ingestion.sources", "mlops_cli.models.families")
PACKAGES = ("mlops_cli/core/learners", "mlops_cli/params", "mlops_cli/store/sources")
"""Depended on as folders: whoever needs one of their modules needs all, or nearly."""
sys.path.insert(0, str(ROOT))


def code_deps(stage: str) -> list[str]:
    """Paths of the modules that the stage's module imports, itself included, sorted."""
    import grimp

    graph = grimp.build_graph("mlops_cli")
    modules: set[str] = set()
    found = [f"mlops_cli.project.pipeline.{stage}"]
    while found:
        module = found.pop()
        if module not in modules:
            modules.add(module)
            found += graph.find_upstream_modules(module)
            # A table of modules imports its rows by name, which no static reading sees.
            found += graph.find_children(module) if module in TABLES else []
    # Importing a module runs the packages above it.
    for module in list(modules):
        parts = module.split(".")
        modules |= {".".join(parts[:i]) for i in range(1, len(parts))}
    # The table of stages loads each one by name; it doesn't make one depend on the others.
    modules.discard("mlops_cli.project.pipeline")
    return sorted({_whole(path) for path in map(_path, modules)})


def _whole(path: str) -> str:
    """The package of a module that stands for all of its modules: it keeps dvc.lock short."""
    folder = path.rpartition("/")[0]
    return folder if folder in PACKAGES else path


def _path(module: str) -> str:
    path = ROOT.joinpath(*module.split("."))
    found = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return found.relative_to(ROOT).as_posix()


def dvc_yaml() -> Any:
    """The pipeline of this repository, with comments kept."""
    return _yaml().load(ROOT / "dvc.yaml")


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.width = 100
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def main() -> None:
    """Rewrite dvc.yaml's code deps."""
    pipeline = dvc_yaml()
    for name, stage in pipeline["stages"].items():
        data = [dep for dep in stage["deps"] if not str(dep).startswith("mlops_cli/")]
        stage["deps"] = [*data, *code_deps(name)]
    _yaml().dump(pipeline, ROOT / "dvc.yaml")


if __name__ == "__main__":
    main()
