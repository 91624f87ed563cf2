"""Settings generated from a seed: valid ones with one or two values changed at random.

`mlops status` and the stages up to split run on each in a fork. They end with 0, or with one
sentence that names the key.
"""

from __future__ import annotations

import collections
import contextlib
import copy
import datetime as dt
import io
import json
import os
import random
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Mutation", "Outcome", "create_project", "fuzz_seeds", "run_seed", "summarise"]

COMMANDS = (
    ("status",),
    *(("stage", name) for name in ("ingest", "validate", "featurize", "split")),
)
REFUSAL_CODES = {2, 3, 4, 5, 6, 7, 8}
MAX_SECONDS = 60
MAX_MEGABYTES = 1_500

WORDS = (
    "", " ", "x", "orders", "shops", "amount", "ordered", "closed", "shop", "nothing", "*",
    "^.*$", "_row", "é", "名", "😀", "\u202e", "a\nb", "a\x00b", "'", '"', "\\", "null", "true",
    "1", "-1", "1e999", "NaN", "0d", "7d", "1mo", "99999999999999999999d", "7d7d", "1us", "0us",
    "999999999y", "-7d", "1.5d", "2024-01-01", "2024-13-01", "9999-12-31", "0001-01-01",
    "2024-05-01T00:00:00+14:00", "binary", "regression", "auc", "roc_auc", "rmse", "../x", "/",
    "/etc/passwd", "data", "*.csv", "http://127.0.0.1:9/x.csv", "python:os:path", "python:x",
    "[", "(", "(?<a>", "a{1,99999999}", "%s", "{}", "x" * 5000, "os:system", "utf-16", "idna",
    "rot13", "base64", "cp1252", "zlib", ";", ";;", "\t", "ann@example.org",
)  # fmt: skip
EXPRESSIONS = (
    "amount", "amount +", "amount / 0", "1", "NULL", "'x'", "nothing", "amount > 'x'",
    "SUM(amount)", "amount OVER (PARTITION BY shop)", "(SELECT 1)", "CAST(amount AS DATE)",
    "CAST(kind AS DOUBLE)", "ordered + INTERVAL '1 day'", "ordered - closed",
    "ordered + INTERVAL '999999999 years'", "INTERVAL '1 day'", "kind || kind",
    "REPLACE(kind, 'a', 'b')", "SUBSTR(kind, -1)", "LN(-1)", "SQRT(amount)", "amount ** 999",
    "CASE WHEN amount > 1 THEN 'a' ELSE 1 END", "EXTRACT(year FROM amount)",
    "EXTRACT(month FROM ordered)", "STRPTIME(kind, '%Y')", "NOW()", "RANDOM()", "a b c",
    "((((((amount))))))", '"amount"', "`amount`", "amount; DROP TABLE x", "-- x",
    "/* */ amount", "amount IN (1, 2)", "kind LIKE '%'", "NOT amount", "returned",
    "NOT returned", "amount IS NULL", "9223372036854775808", "1e400", "TRUE", "mean(amount)",
    "count(*)", "count(nothing)", "std(kind)", "min(ordered)", "median(amount)",
    "mean(mean(amount))", "*", "shop.amount", "amount::DATE", "ordered::DATE",
    "DATE '2024-01-01'", "kind[0]", "{x}", "POW(amount, -0.5)", "COALESCE()",
    "COALESCE(amount, 'x')", "LEAST(amount, 0)", "ROUND(amount, 99)", "x" * 3000,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 20, 10**9, 2**31, 2**63, -(2**63), 10**30, 10**400, 0.0,
    0.5, -0.5, 1.0, 1.5, 1e-320, 1e308, float("inf"), float("nan"), [], {}, [None], [[]], [{}],
    {"a": 1}, {1: 2}, {None: 1}, {"": ""}, {"value": 1}, ["a", "a"], [0, None], [5, 1],
    [-1, None], [1, 2, 3], dt.date(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=dt.UTC), b"\x00\x01",
)  # fmt: skip
TAGS = (
    "!!python/object:os.system", "!!binary", "!!set", "!!omap", "!!timestamp", "!x", "!!float",
    "!!int", "!!str", "!!null", "!!bool", "&a", "*a", "<<:", "|", ">", "%", "@", "? ", "---",
    "...", "- ", ": ", "#", "{", "[", "'", '"', "\t", "\x00", "\x85", "\ufeff", "&a [*a]",
    "!!python/tuple [1]", "0x1F", "0o17", "1_000", "1:30", "~", "=", "2024-01-01", ".inf",
    ".nan", "-.INF", "yes", "on",
)  # fmt: skip


COLUMNS = (
    "number", "shop", "kind", "amount", "note", "ordered", "closed", "returned", "paid", "doubled",
    "day", "size", "price", "at",
)  # fmt: skip
TYPES = ("integer", "number", "string", "boolean", "date", "datetime")
DURATIONS = ("1d", "7d", "30d", "60d", "90d", "1mo", "1h", "1us", "0d", "999y", "5y", "1w2d", "1q")
SETTINGS = """\
project: {name: fuzzed, seed: 3, owner: Ann, stakeholders: [all], license: mit}
task: {type: TASK}
ingest:
  until: "2024-09-01"
  sources:
    orders:
      uri: data/raw/orders.csv
      separator: ","
      encoding: utf-8
      null_values: {amount: ["-"]}
      types: {ordered: datetime, closed: datetime, returned: boolean, amount: number}
      derive: {doubled: amount * 2, day: CAST(ordered AS DATE)}
      time: ordered
      known_at: {returned: closed, paid: closed}
    shops: {uri: data/raw/shops.jsonl, format: jsonl}
    prices: {uri: data/raw/prices.parquet, time: at, known_at: {"*": at}}
validate:
  examples: 2
  sources:
    orders:
      rows: [10, null]
      fresh_within: 60d
      unique: [number]
      other_columns: allow
      columns:
        amount: {type: number, min: 0, max: {value: 900, policy: warn}}
        kind:
          type: string
          allowed: {value: [a, b, c], policy: warn}
          pattern: {value: "^[a-z]$", policy: quarantine, tolerate: 0.5}
        ordered: {type: datetime, nullable: false, min: "2023-01-01"}
      references:
        - {columns: [shop], source: shops, to: [shop], policy: warn, tolerate: 0.9}
featurize:
  base: orders
  target: TARGET
  unlabelled: {open: TARGET IS NULL}
  predict_at: ordered
  keep: [shop]
  clean:
    - {source: orders, keep: amount > 0, set: {amount: amount + 1}}
  joins:
    place: {source: shops, "on": {shop: shop}, columns: [size]}
    price:
      source: prices
      "on": {shop: shop}
      columns: [price]
      as_of: true
      within: 30d
  windows:
    shop_7d:
      source: orders
      by: [shop]
      over: 7d
      delay: 1h
      where: amount > 1
      aggregates: {n: count(*), mean: mean(amount), late: mean(returned)}
    all_30d:
      source: orders
      by: []
      over: 30d
      aggregates: {most: max(amount), spread: std(amount)}
  features:
    amount: amount
    ratio: amount / place_size
    weekday: EXTRACT(isodow FROM ordered)
    note: note
    price: price_price
    group: CASE WHEN amount > 9 THEN 'x' ELSE 'y' END
  text: [note]
  slice_rows: 100
split: {strategy: time, validation: 1mo, test: 1mo, gap: 1d}
tune:
  metric: METRIC
  families: [linear, lightgbm]
  trials: 2
  seconds: null
  rows: 1000
  folds: 2
  finalists: 1
  choose: best
  pruning: true
  good_enough: {score: 0.9, trials: 3, gain: 0.01}
  spaces: {linear: {penalty: {low: 0.1, high: 10.0, log: true}}}
train:
  early_stopping: 5
  monotone: {amount: 1}
  calibrate: true
  ensemble: {members: 2, milliseconds: 1.0, megabytes: 1.0}
evaluate:
  metrics: [METRIC]
  resamples: 20
  confidence: 0.9
  slices: [shop]
  slice_rows: 20
  segments: 1
  shap_rows: 10
  protected: []
register:
  name: fuzzed
  gates:
    limits: {METRIC: 0.1}
    beats_baselines: METRIC
    megabytes: 9.0
    milliseconds: 50.0
    worst_slice: {metric: METRIC, limit: 0.1}
    fairness: {}
  champion: {metric: METRIC, margin: 0.01, slices: [shop], slice_margin: 0.1}
  stages:
    staging: {}
    production:
      after: staging
      approvals: 1
      approvers: [ann@example.org]
      replay: {metric: METRIC, rows: 50, since: 7d}
serve:
  entity: [number]
  limits: {megabytes: 1.0, rows: 10}
  hosts: [a.example.org]
  events: {policy: spill, keep: 90d}
  jwt: {issuer: x}
  columns: {amount: {range: flag}, "*": {missing: impute}}
feedback: {delay: 1d}
monitor:
  window: 7d
  time: moment
  min_rows: 50
  tolerance: 0.1
  slices: [shop]
  age: 90d
  alerts:
    when: [drift]
    repeat: 7d
    email: {to: [ann@example.org], sender: bo@example.org}
retrain: {when: [drift], every: 30d, promote: false, stage: production}
backtest: {error_cost: 1.0, retrain_cost: 2.0, trials: 1}
"""
"""Valid settings with nearly every key."""
TASKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "binary": ("returned", "roc_auc", {"positive": True, "cost": {"false_positive": 1.0}}),
    "multiclass": ("kind", "log_loss", {"costs": {"a": {"b": 2.0}}}),
    "regression": ("paid", "rmse", {}),
}
"""Task -> target, metric, and settings of this task only."""


class Outcome(NamedTuple):
    """Result of one set of settings; ``refusal`` is command, exit code and message."""

    seed: int
    about: str
    faults: list[str]
    refusal: tuple[str, int, str] | None
    seconds: float


def make_settings(task: str) -> dict[str, Any]:
    """Make valid settings of a task."""
    from ruamel.yaml import YAML

    target, metric, more = TASKS[task]
    text = SETTINGS.replace("TASK", task).replace("TARGET", target).replace("METRIC", metric)
    tree: dict[str, Any] = YAML(typ="safe").load(text)
    tree["task"] |= copy.deepcopy(more)
    return tree


def create_project(folder: Path) -> Path:
    """Create a project with data under Git and DVC, whose settings are then changed."""
    import polars as pl

    from mlops_cli.cli.app import main

    r = random.Random(7)  # noqa: S311
    begin, rows = dt.datetime(2024, 1, 1, tzinfo=dt.UTC), 400
    lines = ["number,shop,kind,amount,note,ordered,closed,returned,paid"]
    for i in range(rows):
        at, amount = begin + dt.timedelta(hours=15 * i), r.randint(1, 99)
        closed = at + dt.timedelta(days=3)
        lines.append(
            f"{i},s{r.randrange(5)},{r.choice('abc')},{amount if i % 9 else '-'},"
            f"n {r.choice('xyz')},{at:%Y-%m-%d %H:%M},{closed:%Y-%m-%dT%H:%M:%SZ},"
            f"{str(r.random() < 0.4).lower()},{amount * 1.5}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "orders.csv"
    table.write_text("\n".join(lines) + "\n")
    root = folder / "project"
    assert main(["init", str(root), "--data", str(table), "--target", "returned", "--json"]) == 0
    shops = [json.dumps({"shop": f"s{i}", "size": i + 1}) for i in range(5)]
    (root / "data/raw/shops.jsonl").write_text("\n".join(shops) + "\n")
    prices = [(f"s{i % 5}", begin + dt.timedelta(days=i), i / 7) for i in range(240)]
    frame = pl.DataFrame(prices, schema=["shop", "at", "price"], orient="row")
    frame.write_parquet(root / "data/raw/prices.parquet")
    return root


class Mutation:
    """Changed settings, and the changed keys."""

    def __init__(self, seed: int) -> None:
        self.r = random.Random(f"params {seed}")  # noqa: S311
        self.tree = make_settings(self.r.choice(("binary", "multiclass", "regression")))
        self.places: list[str] = []
        self.words: list[str] = []

    def text(self) -> str:
        """The settings as YAML."""
        for _ in range(self.r.choice((1, 1, 1, 2))):
            self._change()
        text = _dump(self.tree)
        if self.r.random() < 0.15:
            text = self._edit_text(text)
        return text

    def _change(self) -> None:
        r = self.r
        path = r.choice([p for p in _paths(self.tree) if p])
        parent = self.tree
        for part in path[:-1]:
            parent = parent[part]
        key, old = path[-1], parent[path[-1]]
        how = r.choices(("value", "gone", "key", "more", "moved"), (12, 2, 2, 1, 1))[0]
        if how == "gone":
            del parent[key]
        elif how == "key" and isinstance(parent, dict):
            parent[
                r.choice((*WORDS, 1, None, True, key.upper() if isinstance(key, str) else 2))
            ] = parent.pop(key)
        elif how == "more" and isinstance(old, dict):
            old[r.choice(WORDS)] = self._value(old)
        elif how == "moved":
            parent[key] = copy.deepcopy(
                r.choice([_node_at(self.tree, p) for p in _paths(self.tree)])
            )
        else:
            parent[key] = self._similar_value(old) if r.random() < 0.6 else self._value(old)
        self.places += [str(p) for p in path]
        self.words.append(
            f"{how} {'.'.join(map(str, path))}: {old!r:.80} -> {_known_value(parent, key)!r:.200}"
        )

    def _similar_value(self, old: Any) -> Any:
        """A value of the same kind, which may be valid."""
        r = self.r
        if isinstance(old, bool):
            return not old
        if isinstance(old, int | float):
            return type(old)(old * r.choice((0, -1, 0.5, 2, 1000)))
        if isinstance(old, list):
            return r.sample(COLUMNS, r.randint(0, 3))
        if not isinstance(old, str):
            return self._value(old)
        kind = next((kind for kind in (COLUMNS, TYPES, DURATIONS) if old in kind), EXPRESSIONS)
        return r.choice(kind)

    def _value(self, old: Any) -> Any:
        r = self.r
        if isinstance(old, str) and r.random() < 0.8:
            return r.choice(r.choice((WORDS, EXPRESSIONS)))
        if isinstance(old, list) and r.random() < 0.5:
            return [r.choice((*WORDS, *VALUES[:20])) for _ in range(r.randint(1, 3))]
        if isinstance(old, int | float) and r.random() < 0.5:
            return r.choice([v for v in VALUES if isinstance(v, int | float)])
        return copy.deepcopy(r.choice((*VALUES, *WORDS)))

    def _edit_text(self, text: str) -> str:
        r, lines = self.r, text.splitlines()
        at = r.randrange(len(lines))
        tag, line = r.choice(TAGS), lines[at]
        key, colon, value = line.partition(": ")
        forms = (
            f"{key}{colon}{tag} {value}",
            f"{key}: {tag}",
            f"{tag}{line}",
            line + tag,
            f"  {line}",
            line.lstrip(),
            f"{line}\n{line}",
            line[: len(line) // 2],
        )
        lines[at] = r.choice(forms)
        self.words.append(f"line {at + 1}: {line!r:.80} -> {lines[at]!r:.120}")
        self.places += [key.strip(" -{"), value.strip()]
        self.places += [f"params.yaml:{n}" for n in range(1, len(lines) + 3)] + ["params.yaml"]
        return "\n".join(lines) + "\n"


def _known_value(parent: Any, key: Any) -> Any:
    try:
        return parent[key]
    except (KeyError, IndexError):
        return "gone"


def _paths(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    paths = [path]
    for key, value in (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    ):
        paths += _paths(value, (*path, key))
    return paths


def _node_at(tree: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def _dump(tree: Any) -> str:
    from ruamel.yaml import YAML

    writer, text = YAML(typ="safe"), io.StringIO()
    writer.default_flow_style = False
    writer.allow_unicode = True
    writer.width = 10_000
    writer.dump(tree, text)
    return text.getvalue()


def import_commands() -> None:
    """Import the commands' modules once, before the forks."""
    import importlib

    import typer

    import mlops_cli.cli.app as application
    from mlops_cli.project.pipeline import MODULES

    for name in (
        "dvc.repo.index", "dvc.repo.stage", "dvc.api", "pandera.polars", "ruamel.yaml",
        "mlops_cli.project.dvc", "mlops_cli.cli.output.progress", "rich.table", "rich.console",
        *(MODULES[stage] for stage in ("ingest", "validate", "featurize", "split")),
    ):  # fmt: skip
        importlib.import_module(name)
    if isinstance(application.app, typer.Typer):
        application.app = typer.main.get_command(application.app)  # type: ignore[assignment]


def _commands(root: Path, places: list[str], log: Path) -> None:
    """Run the commands until one refuses, and write their exit codes."""
    from mlops_cli.cli.app import main

    os.chdir(root)
    faults: list[str] = []
    refusal = None
    for words in COMMANDS:
        output = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(output):
            try:
                code: Any = main(list(words))
            except BaseException:  # noqa: BLE001 - nothing may come out of it
                code = traceback.format_exc()[-600:]
        text, name = " ".join(output.getvalue().split()), " ".join(words)
        if code not in {0, *REFUSAL_CODES} or any(
            w in text for w in ("error: unexpected", "Traceback", "panick", "Warning: ")
        ):
            faults.append(f"{name} ended with {code}: {text[:500]}")
        if code != 0:
            refusal = (name, code if isinstance(code, int) else 1, text)
            if code == 3 and not any(p in text for p in (*places, "params.yaml")):
                faults.append(f"{name} doesn't name the key: {text[:400]}")
            break
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if memory > MAX_MEGABYTES:
        faults.append(f"took {memory:,.0f} MB")
    log.write_text(json.dumps([faults, refusal]))


def run_seed(seed: int, root: Path) -> Outcome:
    """Change the project's settings by a seed, and run the commands in a fork."""
    mutation = Mutation(seed)
    (root / "params.yaml").write_text(mutation.text(), encoding="utf-8", errors="surrogatepass")
    about, log = "; ".join(mutation.words), root.parent / "log.json"
    log.unlink(missing_ok=True)
    for name in (
        ".mlops",
        "data/ingested",
        "data/validated",
        "data/features",
        "data/splits",
        "data/quarantine",
    ):
        shutil.rmtree(root / name, ignore_errors=True)
    began = time.monotonic()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setsid()
            quiet = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(quiet, number)
            _commands(root, mutation.places, log)
            status = 0
        finally:
            os._exit(status)
    status = None
    while status is None:
        ended, how = os.waitpid(child, os.WNOHANG)
        status = how if ended else None
        if status is None and time.monotonic() - began > MAX_SECONDS:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.002)
    took = time.monotonic() - began
    if not log.is_file():
        what = "hangs" if status is None else f"ended the process with status {status}"
        return Outcome(seed, about, [what], None, took)
    faults, refusal = json.loads(log.read_text())
    return Outcome(seed, about, faults, None if refusal is None else tuple(refusal), took)


def fuzz_seeds(seeds: range) -> Iterator[Outcome]:
    """Yield the outcomes of seeds."""
    with tempfile.TemporaryDirectory(prefix="params-") as folder:
        # Made in a process of its own: this one starts no threads, as it forks.
        pid = os.fork()
        if not pid:
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    create_project(Path(folder))
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        import_commands()
        for seed in seeds:
            yield run_seed(seed, Path(folder) / "project")


def summarise(outcomes: list[Outcome], *, refusals: bool = False) -> str:
    """Describe exit codes, refusals and faults."""
    seconds = sum(o.seconds for o in outcomes) / len(outcomes)
    slowest = max(o.seconds for o in outcomes)
    lines = [f"{len(outcomes)} settings, {seconds:.2f} s each, at most {slowest:.1f} s"]
    codes = collections.Counter(o.refusal[:2] if o.refusal else ("all", 0) for o in outcomes)
    lines += [
        f"  {name} ended with {code}: {count}" for (name, code), count in sorted(codes.items())
    ]
    if refusals:
        lines += [
            f"[{o.seed}] {o.about} => {o.refusal[0]} {o.refusal[1]}: {o.refusal[2][:300]}"
            for o in outcomes
            if o.refusal
        ]
    faulty = [o for o in outcomes if o.faults]
    lines.append(f"{len(faulty)} settings with faults")
    for o in faulty:
        lines.append(f"seed {o.seed}: {o.about[:700]}")
        lines += [f"    ! {fault}" for fault in o.faults[:6]]
    return "\n".join(lines)
