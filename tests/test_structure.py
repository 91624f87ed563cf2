"""Architecture tests: import levels, imports at load time, and DVC's dependencies on the code."""

from __future__ import annotations

import ast
import hashlib
import json
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from code_deps import code_deps, dvc_yaml, imported_modules
from ruamel.yaml import YAML

from mlops_cli.params import Params
from mlops_cli.project.pipeline import MODULES as STAGE_MODULES
from mlops_cli.project.pipeline import STAGES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mlops_cli"
MODULES = sorted(
    p for p in PACKAGE.rglob("*.py") if "templates" not in p.relative_to(PACKAGE).parts
)
SECTIONS = {field.alias or name: name for name, field in Params.model_fields.items()}

HEAVY = {"dvc", "lightgbm", "numpy", "optuna", "pandas", "pandera", "polars", "pyarrow"}
HEAVY |= {"rich", "scipy", "sklearn", "skops"}

# What the modules of a package may import when they are loaded, besides the standard library and
# this package; of several rules, the one for the longest path counts. Everything else is imported
# by the function that needs it.
TABLES = {"numpy", "polars"}
LOADED: dict[str, set[str]] = {
    "": set(),
    "cli": {"typer"},
    "params": {"pydantic"},
    **dict.fromkeys(
        ["data", "ingestion", "validation", "features", "splitting", "online", "metrics"], TABLES
    ),
    **dict.fromkeys(["models", "training", "evaluation", "drift", "monitoring"], TABLES),
    "evaluation/studies": set(),
    "online/store": set(),
    "registry/training_rows.py": TABLES,
    "promotion/logged_responses.py": TABLES,
    "promotion/replay_report.py": TABLES,
    "backtest/costs.py": TABLES,
    # Loaded by who scores only, the service from its first request on.
    "serving/scorer.py": TABLES,
    "serving/batch/scoring.py": TABLES,
    "serving/row_files": TABLES,
    "serving/service": {"numpy", "orjson"},
    # Only `run` loads it.
    "serving/http_server": {"httptools", "orjson"},
}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported_when_loaded(body: list[ast.stmt]) -> Iterator[str]:
    """Top-level packages that a module imports as soon as it is loaded."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).split(".")[0]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            yield from imported_when_loaded([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            handlers = [line for handler in node.handlers for line in handler.body]
            yield from imported_when_loaded([*node.body, *handlers, *node.orelse])
        elif isinstance(node, ast.ClassDef):
            yield from imported_when_loaded(node.body)


def source(module: str) -> str:
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return file.read_text(encoding="utf-8")


def settings_read(stage: str) -> set[str]:
    """Dotted names of the parameters that a stage's module reads, as deep as the code says."""
    tree = ast.parse(source(STAGE_MODULES[stage]))
    yaml_name = {python: yaml for yaml, python in SECTIONS.items()}
    read, inner = set(), set()
    for node in ast.walk(tree):  # outer attributes come before those inside of them
        if not isinstance(node, ast.Attribute) or node in inner:
            continue
        names, at = [], node
        while isinstance(at, ast.Attribute):
            names.append(at.attr)
            inner.add(at)
            at = at.value
        chain = [*([at.id] if isinstance(at, ast.Name) else []), *reversed(names)]
        if "params" in chain:
            path = chain[chain.index("params") + 1 :]
            if path and path[0] in yaml_name:
                read.add(".".join([yaml_name[path[0]], *path[1:]]))
    return read


def within(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.")


# For the options of a command, Typer itself loads pydantic.
@pytest.mark.parametrize(
    ("words", "heavy"),
    [(["--help"], HEAVY | {"pydantic"}), (["status", "--help"], HEAVY)],
    ids=["mlops", "mlops status"],
)
def test_help_loads_no_heavy_library(words: list[str], heavy: set[str]) -> None:
    code = f"""if True:
        import sys
        from mlops_cli.cli.app import main
        assert main({words}) == 0
        print("loaded:", *(sys.modules.keys() & {heavy}))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["loaded:"]


def test_loading_a_module_imports_only_what_its_package_may() -> None:
    heavy = {}
    for path in MODULES:
        place = path.relative_to(PACKAGE).as_posix()
        rule = max((p for p in LOADED if f"{place}/".startswith(f"{p}/" if p else "")), key=len)
        allowed = LOADED[rule] | set(sys.stdlib_module_names) | {"mlops_cli"}
        found = set(imported_when_loaded(ast.parse(path.read_text(encoding="utf-8")).body))
        if found - allowed:
            heavy[named(path)] = found - allowed
    assert not heavy, "import these inside the functions that need them"


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_lists_the_code_that_a_stage_imports(stage: str) -> None:
    deps = map(str, dvc_yaml()["stages"][stage]["deps"])
    listed = [dep for dep in deps if dep.startswith("mlops_cli/")]
    assert sorted(listed) == code_deps(stage), "run `python tests/code_deps.py`"


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_lists_the_parameters_that_a_stage_reads(stage: str) -> None:
    listed = set(map(str, dvc_yaml()["stages"][stage].get("params", [])))
    read = settings_read(stage)
    unlisted = {name for name in read if not any(within(name, entry) for entry in listed)}
    assert not unlisted, f"stage {stage} reads {unlisted}, and wouldn't run again when they change"
    unread = {entry for entry in listed if not any(within(name, entry) for name in read)}
    assert not unread, f"stage {stage} would run again for {unread}, which it doesn't read"


@pytest.mark.parametrize("stage", STAGES)
def test_only_stages_get_all_parameters(stage: str) -> None:
    # Else a stage could read, by way of a helper, what dvc.yaml doesn't list for it.
    below = imported_modules(stage) - {STAGE_MODULES[stage]}
    takers = [
        module
        for module in sorted(below)
        for node in ast.walk(ast.parse(source(module)))
        if isinstance(node, ast.ImportFrom) and node.module == "mlops_cli.params"
        if any(alias.name == "Params" for alias in node.names)
    ]
    assert takers == []


def test_dvc_lock_is_of_this_code() -> None:
    lock = ROOT / "dvc.lock"
    if not lock.exists():
        pytest.skip("the pipeline has not been run")
    stages = YAML(typ="safe").load(lock)["stages"]
    stale = {
        dep["path"]
        for stage in stages.values()
        for dep in stage.get("deps", [])
        if dep["path"].startswith("mlops_cli/") and dep["md5"] != md5(ROOT / dep["path"])
    }
    assert not stale, (
        f"dvc.lock was written before {sorted(stale)} changed: bring it up to date with "
        "`mlops run`, and commit dvc.lock with the reports"
    )


def md5(path: Path) -> str | None:
    if path.is_dir():
        # A folder is the list of its files to DVC.
        files = [
            {"md5": md5(file), "relpath": file.relative_to(path).as_posix()}
            for file in sorted(path.rglob("*"))
            if file.is_file() and file.parent.name != "__pycache__"
        ]
        listing = json.dumps(files, sort_keys=True).encode()
        return hashlib.md5(listing).hexdigest() + ".dir"  # noqa: S324
    # DVC names content by MD5; nothing here rests on its strength.
    return hashlib.md5(path.read_bytes()).hexdigest() if path.exists() else None  # noqa: S324


def test_import_contracts_hold() -> None:
    code = "from importlinter.cli import lint_imports_command as lint; lint()"
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_no_import_circle() -> None:
    # Nor one through an import for types only, or inside a function, or of a package and one of
    # its own modules (which import-linter doesn't look for).
    import grimp

    graph = grimp.build_graph("mlops_cli")
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" < ".join(error.args[1]))


def test_modules_stay_readable() -> None:
    lines = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: n for name, n in lines.items() if n > 400} == {}
    assert statistics.median(lines.values()) < 150


def test_functions_fit_on_a_page() -> None:
    functions = [
        (f"{named(path)}: {node.name}", node)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lines = {name: (node.end_lineno or 0) - node.lineno + 1 for name, node in functions}
    assert {name: n for name, n in lines.items() if n > 60} == {}
    # A command has as many parameters as it has options.
    parameters = {
        name: len(node.args.args) + len(node.args.kwonlyargs)
        for name, node in functions
        if not name.startswith("mlops_cli/cli/")
    }
    assert {name: n for name, n in parameters.items() if n > 9} == {}  # 8 and self


def test_only_the_command_line_prints() -> None:
    printers = [
        f"{named(path)}:{node.lineno}"
        for path in MODULES
        if "cli" not in path.relative_to(PACKAGE).parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id == "print"
    ]
    assert printers == []


def test_there_is_no_utils_module() -> None:
    drawers = {"utils", "util", "helpers", "misc", "common"}
    assert [named(path) for path in MODULES if path.stem in drawers] == []


def test_public_modules_say_what_they_export() -> None:
    silent = []
    for path in MODULES:
        body = ast.parse(path.read_text(encoding="utf-8")).body
        defines = [n for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.Assign)]
        names = [ast.unparse(n.targets[0]) for n in defines if isinstance(n, ast.Assign)]
        if defines and "__all__" not in names:
            silent.append(named(path))
    assert silent == [], "state `__all__`"


def test_packages_are_small_enough_to_look_at() -> None:
    sizes = Counter(named(path.parent) for path in MODULES if path.name != "__init__.py")
    assert {name: n for name, n in sizes.items() if n > 30} == {}


def test_each_test_file_lies_where_its_package_does() -> None:
    packages = {path.parent.relative_to(PACKAGE).as_posix() for path in MODULES}
    places = {
        path.parent.relative_to(ROOT / "tests").as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
    }
    assert places <= packages


def test_no_package_exports_the_name_of_one_of_its_modules() -> None:
    # Loading the module would put it in the function's place.
    clashes = [
        f"{named(init)}: {node.name}"
        for init in PACKAGE.rglob("__init__.py")
        for node in ast.parse(init.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and node.name in {p.stem for p in init.parent.iterdir()}
    ]
    assert clashes == []
