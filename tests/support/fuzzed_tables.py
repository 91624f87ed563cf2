"""Generated tables through all commands, from file to predictions, each in a fork.

What the commands say and write is compared with what the table was made of: so many rows in each
stage, each value as it was meant, the target's classes, and a prediction of each row.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import importlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzzed_columns import make_table
from fuzzed_files import File, write_table
from table_comparison import class_labels, compare_table

__all__ = ["Outcome", "fuzz_seeds", "run_seed", "summarise"]

STAGES = ("ingest", "validate", "featurize", "split", "tune", "train", "evaluate", "register")
REFUSAL_CODES = {2, 3, 4, 5, 6, 7, 8}
MAX_SECONDS = 180
MAX_MEGABYTES = 1_500


@dataclass
class Outcome:
    """Result of one table.

    Attributes
    ----------
    faults
        What may never be.
    refusal
        The command that refused it, its exit code and its words; None where all ended with 0.
    """

    seed: int
    about: str = ""
    faults: list[str] = field(default_factory=list)
    refusal: tuple[str, int, str] | None = None
    seconds: float = 0.0


class _Refused(Exception):
    """A command has refused the table with an error message."""


class _TableRun:
    """Runs all commands on one table."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder = seed, folder
        self.table = make_table(seed)
        self.outcome = Outcome(seed)
        self.project = folder / "project"
        self.r = random.Random(f"trip {seed}")  # noqa: S311

    def run(self) -> None:
        table = self.table
        file = write_table(table, self.seed, self.folder, range(table.rows), "data")
        kinds = [f"{c.name!r:.40}: {c.kind}" for c in table.columns]
        self.outcome.about = (
            f"{table.rows} rows, target {table.target.name!r} {table.target.kind}, {file.about}, "
            f"{file.options} {kinds}"
        )
        try:
            self._init(file)
            os.chdir(self.project)
            self._shorten()
            self._stages(file)
            self._predict(file, table.rows)
            few = write_table(table, self.seed, self.folder, range(min(2, table.rows)), "few")
            if not few.fault:
                self._predict(few, min(2, table.rows))
        except _Refused:
            pass

    def _init(self, file: File) -> None:
        table = self.table
        words = ["init", str(self.project), "--data", str(file.path), "--target", table.target.name]
        words += file.options
        words += ["--time", table.time] if table.time else []
        words += ["--group", table.group] if table.group else []
        output = self._run_json([*words, "--json"])
        self._equal("init counts rows", output["rows"]["total"], table.rows)

    def _shorten(self) -> None:
        path = Path("params.yaml")
        text = path.read_text(encoding="utf-8")
        family = self.r.choices(("linear", "lightgbm", "extra_trees", "mlp"), (6, 4, 2, 1))[0]
        search = "  segments: 0\n  shap_rows: 0\n" if self.r.random() < 0.7 else ""
        for old, new in (
            (r"^  trials: 20$", "  trials: 1"),
            (r"^  families: .*$", f"  families: [{family}]"),
            (r"^  resamples: 400$", "  resamples: 20"),
            (
                r"^  early_stopping: 50$",
                "  early_stopping: 5\n  ensemble: false\n  calibrate: false",
            ),
            (r"^  protected: \[\]$", f"  protected: []\n{search}".rstrip()),
        ):
            text, count = re.subn(old, lambda _, new=new: new, text, count=1, flags=re.MULTILINE)
            if not count:
                self.outcome.faults.append(f"params.yaml has no {old}")
        path.write_text(text, encoding="utf-8")

    def _stages(self, file: File) -> None:
        rows = self.table.rows
        facts = {}
        for name in STAGES:
            facts[name] = self._run_json(["stage", name, "--json"])["facts"]
            if name == "ingest":
                (source,) = facts[name]["sources"].values()
                self._equal("ingest counts rows", source["rows"] + source["undated"], rows)
                self.outcome.faults += compare_table(self.table, file)
                rows = source["rows"]
            elif name == "validate":
                self._equal(
                    "valid and set aside", _heights("data/validated", "data/quarantine"), rows
                )
                rows = _heights("data/validated")
            elif name == "featurize":
                without = sum(facts[name]["unlabelled"].values())
                self._equal("labelled and not", facts[name]["labelled"] + without, rows)
                rows = facts[name]["labelled"]
                self._equal("rows of features", _heights("data/features"), rows)
            elif name == "split":
                self._equal("rows of splits", _heights("data/splits"), rows)
        labels, classes = class_labels(self.table, file)
        if classes is not None:
            self._equal("classes", classes, labels)

    def _predict(self, file: File, rows: int) -> None:
        import polars as pl

        out = Path(
            f"out-{file.path.stem.split('.')[0]}.{self.r.choice(('parquet', 'csv', 'jsonl'))}"
        )
        words = ["predict", str(file.path), "-o", str(out), "--version", "workspace", "--json"]
        output = self._run_json(words)
        self._equal("predicted", output["rows"] + output["rejected"], rows)
        if output["rejected"]:
            lines = Path(output["rejects"]).read_text(encoding="utf-8").split("\n")[:-1]
            others = [line for line in lines if "is not finite" not in line]
            if not others:
                return  # infinite values are refused, as serve.columns says
            self.outcome.faults.append(
                f"predict set {len(lines)} of {rows} aside: {others[0]:.300}"
            )
        read = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": _lines}
        if output["rows"]:
            done = read[out.suffix](out)
            self._equal("predictions' rows", done["row"].to_list(), [*range(rows)])
            if done["prediction"].null_count():
                self.outcome.faults.append("a prediction is missing")

    def _equal(self, what: str, actual: Any, expected: Any) -> None:
        if actual != expected:
            self.outcome.faults.append(f"{what}: {actual!r:.200} where {expected!r:.200} is meant")

    def _run_json(self, words: list[str]) -> Any:
        """Run a command in this process; return its JSON."""
        from mlops_cli.cli.app import main

        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code: Any = main(words)
            except BaseException:  # noqa: BLE001 - nothing may come out of it
                code = traceback.format_exc()[-600:]
        text, name = (
            " ".join(err.getvalue().split()),
            " ".join(words[:2] if words[0] == "stage" else words[:1]),
        )
        if "Warning: " in text:
            self.outcome.faults.append(f"{name} warns: {text[:400]}")
        if code == 0 and "error: unexpected" not in text:
            return json.loads(out.getvalue())
        if (
            code not in REFUSAL_CODES
            or "error: unexpected" in text
            or "Traceback" in text
            or "panick" in text
        ):
            self.outcome.faults.append(f"{name} ended with {code}: {text[:600]}")
        self.outcome.refusal = (name, code if isinstance(code, int) else 1, text)
        raise _Refused


def _lines(path: Path) -> Any:
    import polars as pl

    return pl.read_ndjson(path, infer_schema_length=None)


def _heights(*folders: str) -> int:
    import polars as pl

    files = [path for folder in folders for path in Path(folder).glob("*.parquet")]
    return sum(pl.scan_parquet(path).select(pl.len()).collect().item() for path in files)


_IMPORTED = (
    "catboost", "dulwich.porcelain", "dvc.api", "dvc.repo.add", "dvc.repo.init",
    "dvc_data.hashfile.db.local", "lightgbm", "mlops_cli.cli.output.progress",
    "mlops_cli.scaffold.create_project", "mlops_cli.scaffold.params_yaml",
    "mlops_cli.serving.batch.predict", "numpy.ma", "optuna",
    "polars._utils.parquet", "polars.datatypes", "pyarrow", "rich.console", "rich.table",
    "ruamel.yaml", "scipy.stats", "sklearn", "sklearn.ensemble", "sklearn.linear_model",
    "sklearn.neural_network", "skops.io",
    *(f"mlops_cli.models.families.{name}" for name in ("linear", "lightgbm", "extra_trees", "mlp")),
)  # fmt: skip


def import_commands() -> None:
    """Import the commands' modules once, before the forks; no thread may start here."""
    import typer

    import mlops_cli.cli.app as application
    from mlops_cli.project.pipeline import MODULES

    for name in (*_IMPORTED, *MODULES.values()):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    if isinstance(application.app, typer.Typer):
        application.app = typer.main.get_command(application.app)  # type: ignore[assignment]
    gc.collect()
    gc.freeze()


def run_seed(seed: int) -> Outcome:
    """Run all commands on the table of a seed, in a fork."""
    folder = Path(tempfile.mkdtemp(prefix=f"table-{seed}-"))
    log, began = folder / "outcome.json", time.monotonic()
    child = os.fork()
    if not child:
        _in_fork(seed, folder, log)
    status = None
    while status is None:
        ended, how = os.waitpid(child, os.WNOHANG)
        status = how if ended else None
        if status is None and time.monotonic() - began > MAX_SECONDS:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.005)
    what = "hangs" if status is None else f"ended the process with status {status}"
    result = Outcome(seed, faults=[what])
    if log.is_file():
        result = Outcome(**json.loads(log.read_text()))
        result.refusal = None if result.refusal is None else tuple(result.refusal)  # type: ignore[arg-type]
    result.seconds = time.monotonic() - began
    shutil.rmtree(folder, ignore_errors=True)
    return result


def _in_fork(seed: int, folder: Path, log: Path) -> None:
    status = 1
    try:
        os.setsid()
        quiet = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(quiet, number)
        os.environ |= {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
        os.environ |= {"GIT_AUTHOR_EMAIL": "a@b.c", "GIT_AUTHOR_NAME": "A"}
        os.environ |= {"GIT_COMMITTER_EMAIL": "a@b.c", "GIT_COMMITTER_NAME": "A"}
        trip = _TableRun(seed, folder)
        try:
            trip.run()
        except Exception:  # noqa: BLE001 - of the oracle itself
            trip.outcome.faults.append(traceback.format_exc()[-800:])
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if memory > MAX_MEGABYTES:
            trip.outcome.faults.append(f"took {memory:,.0f} MB")
        log.write_text(json.dumps(vars(trip.outcome)))
        status = 0
    finally:
        os._exit(status)


def fuzz_seeds(seeds: range) -> Iterator[Outcome]:
    """Yield the outcomes of seeds."""
    import_commands()
    for seed in seeds:
        yield run_seed(seed)


def summarise(outcomes: list[Outcome], *, refusals: bool = False) -> str:
    """Describe exit codes, refusals and faults."""
    seconds = sum(o.seconds for o in outcomes) / len(outcomes)
    lines = [f"{len(outcomes)} tables, {seconds:.1f} s each"]
    lines.append(f"  all the way: {sum(o.refusal is None for o in outcomes)}")
    refused = collections.Counter(o.refusal[:2] for o in outcomes if o.refusal)
    lines += [
        f"  {name} refused with {code}: {count}" for (name, code), count in sorted(refused.items())
    ]
    if refusals:
        lines += [
            f"[{o.seed}] {o.refusal[0]} {o.refusal[1]}: {o.refusal[2][:400]}"
            for o in outcomes
            if o.refusal
        ]
    faulty = [o for o in outcomes if o.faults]
    lines.append(f"{len(faulty)} tables with faults")
    for o in faulty:
        lines.append(f"seed {o.seed}: {o.about[:700]}")
        lines += [f"    ! {fault}" for fault in o.faults[:6]]
    return "\n".join(lines)
