"""Packages that each stage imports, directly or indirectly, for its `deps:` in dvc.yaml.

`python tests/code_deps.py` rewrites the code part of dvc.yaml's deps; test_structure.py fails if
they are out of date. A package counts as its whole folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from mlops_cli.project.pipeline import MODULES

ROOT = Path(__file__).parents[1]
TABLES = ("mlops_cli.ingestion.sources", "mlops_cli.models.families")


def imported_modules(stage: str) -> set[str]:
    """The modules that the stage's module imports, itself included."""
    import grimp

    graph = grimp.build_graph("mlops_cli")
    modules: set[str] = set()
    found = [MODULES[stage]]
    while found:
        module = found.pop()
        if module not in modules:
            modules.add(module)
            found += graph.find_upstream_modules(module)
            # A table of modules imports its rows by name, which no static reading sees.
            found += graph.find_children(module) if module in TABLES else []
    return modules


def code_deps(stage: str) -> list[str]:
    """Paths of the packages, and of the modules that are in none, sorted."""
    modules = imported_modules(stage) - {"mlops_cli"}
    tops = {".".join(module.split(".")[:2]) for module in modules}
    # To import a module runs the package above it.
    return sorted({_path(top) for top in {*tops, "mlops_cli.__init__"}})


def _path(module: str) -> str:
    path = ROOT.joinpath(*module.split("."))
    found = path if path.is_dir() else path.with_suffix(".py")
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
