"""Small real models with their data, and services of them in their own processes."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import write_json
from mlops_cli.features.program import FeatureProgram
from mlops_cli.layout import Layout
from mlops_cli.models import bundle
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo
from mlops_cli.models.labels import LabelCodec
from mlops_cli.online.materialize import materialize
from mlops_cli.online.store import open_store
from mlops_cli.params.featurize import Featurize
from mlops_cli.params.ingest import Ingest

START = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
UTC = pl.Datetime("us", "UTC")
INGEST = {
    "sources": {
        "orders": {"uri": "x", "time": "at", "known_at": {"returned": "settled"},
                   "derive": {"size": "width * height"}},
        "shops": {"uri": "x"},
    }
}  # fmt: skip
TARGETS = {
    "binary": "returned > 1",
    "multiclass": "CASE WHEN returned > 2 THEN 'much' WHEN returned > 1 THEN 'some' "
    "ELSE 'no<ne>' END",
    "regression": "returned",
}
RULES: dict[str, Any] = {
    "base": "orders",
    "joins": {"shop": {"source": "shops", "on": {"shop": "shop"}, "columns": ["rank"]}},
    "windows": {
        "shop_2d": {"source": "orders", "by": ["shop"], "over": "2d",
                    "aggregates": {"returned": "mean(returned)", "n": "count(*)"}},
    },
    "features": {"size": "size", "rank": "shop_rank", "shop": "shop",
                 "hour": "EXTRACT(hour FROM at)", "kind": "kind"},
}  # fmt: skip


def make_orders(rows: int = 400) -> pl.DataFrame:
    """Make orders of some days, with missing values and an unknown shop."""
    rng = np.random.default_rng(3)
    frame = pl.DataFrame(
        {
            "order": [f"o{i}" for i in range(rows)],
            "at": [START + dt.timedelta(minutes=31 * i) for i in range(rows)],
            "shop": [f"s{i}" for i in rng.integers(0, 6, rows)],
            "width": rng.integers(1, 9, rows),
            "height": rng.normal(5, 2, rows),
            "kind": rng.choice(["é", "b", "c"], rows),
        },
        schema_overrides={"at": UTC},
    )
    return frame.with_columns(
        height=pl.when(pl.int_range(rows) % 13 > 0).then("height"),
        returned=(pl.col("width") / 4 + pl.Series(rng.normal(0, 0.3, rows))),
        settled=pl.col("at") + pl.duration(hours=5),
    ).with_columns(size=pl.col("width") * pl.col("height"))


@dataclass(frozen=True)
class ServedModel:
    """A folder with a bundle, validated tables and an online store, and the expected output."""

    layout: Layout
    task: str
    rows: list[dict[str, Any]]
    features: pl.DataFrame
    expected: Any

    @property
    def folder(self) -> Path:
        """Folder of the bundle."""
        return self.layout.model

    def environment(self, **more: str) -> dict[str, str]:
        """Environment of a service of the model."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MLOPS_")}
        return {
            **inherited,
            "MLOPS_BUNDLE": str(self.folder),
            "MLOPS_VERSION": "shop@v0.1.0",
            "MLOPS_ROOT": str(self.layout.root),
            **more,
        }


def fit_model(
    root: Path,
    task: str,
    family: str = "lightgbm",
    rounds: int = 12,
    texts: Mapping[str, str] = MappingProxyType({}),
    computed: Mapping[str, str] = MappingProxyType({}),
    facts: Mapping[str, Any] = MappingProxyType({}),
) -> ServedModel:
    """Fit a model on orders, and write the files of a registered version.

    Parameters
    ----------
    texts
        Further columns of the base source, each of one value, that are features too.
    computed
        Further features: name -> SQL.
    facts
        Facts in the bundle about its origin.
    """
    layout, base = Layout(root), make_orders()
    base = base.with_columns(**{name: pl.lit(value) for name, value in texts.items()})
    shops = pl.DataFrame({"shop": [f"s{i}" for i in range(5)], "rank": [3, 1, 4, 1, 5]})
    sources = {"orders": base, "shops": shops}
    for name, table in sources.items():
        parquet.write(table, layout.validated / f"{name}.parquet")
    write_json(layout.ingest_manifest, {"until": "2024-05-10T00:00:00Z"})
    more = {**{f"text_{i}": f'"{name}"' for i, name in enumerate(texts)}, **computed}
    rules = Featurize.model_validate(
        {**RULES, "features": {**RULES["features"], **more}, "target": TARGETS[task]}
    )
    program = FeatureProgram.compile(
        rules, Ingest.model_validate(INGEST), {n: t.schema for n, t in sources.items()}
    )
    features = program.transform(base, {n: t.lazy() for n, t in sources.items()})
    target = base.select(program.target.expr.alias("y"))["y"]
    labels, encoder = LabelCodec.fit(target, task), Encoder.fit(features, program.kinds)
    chosen = FAMILIES[family]
    fitted = chosen.fit(
        FitRequest(
            encoder.transform(features),
            labels.encode(target),
            TaskInfo(task, len(labels.classes), encoder.categorical),
            {name: setting.default for name, setting in chosen.space.items()},
            seed=0,
            rounds=rounds if chosen.rounds else None,
        )
    )
    needed = ["at", "shop", "width", "height", "kind", *texts]
    rows = base.select("order", *needed).with_columns(
        pl.col("at").dt.to_string("%Y-%m-%dT%H:%M:%SZ")
    )
    model = bundle.Bundle(
        (bundle.Member(family, fitted),),
        encoder,
        labels,
        task,
        0.4 if task == "binary" else None,
        program={**program.to_json(), "example": rows.drop("order").row(-1, named=True)},
        signature={"inputs": {c: {"categories": names} for c, names in encoder.categories.items()}},
        facts=facts,
    )
    bundle.save(model, layout.fitted)
    metrics = {"model": {"m": {"value": 0.5, "low": 0.4, "high": 0.6}}}
    unique = {"unique": {"value": ["order", "at"]}}
    limits = {"min": {"value": 1}, "max": {"value": 99, "policy": "warn"}}
    columns = {"width": limits, "order": {"pattern": {"value": "^o"}, "nullable": {"value": False}}}
    rules = {**unique, "columns": columns}
    schema = {"base": "orders", "sources": {"orders": {"time": "at", "rules": rules}}}
    more = {"metrics.json": metrics, "schema.json": schema, "lineage.json": {"clock": "2024"}}
    texts = {name: json.dumps(content) for name, content in more.items()}
    bundle.extend(layout.fitted, layout.model, {**texts, "README.md": "# Card"})
    store = open_store(None, layout.online, create=True)
    materialize(program, layout, store, None)
    store.close()
    return ServedModel(layout, task, rows.to_dicts(), features, model.predict(features))


@dataclass(frozen=True)
class RunningService:
    """A service in its own process."""

    process: subprocess.Popen[str]
    port: int

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        kind: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any, dict[str, str]]:
        """Send a request; return status, content (parsed if it is JSON) and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path, content, {"content-type": kind, **(headers or {})})
        response = connection.getresponse()
        text = response.read()
        response_headers = {k.lower(): v for k, v in response.getheaders()}
        connection.close()
        is_json = "json" in response_headers.get("content-type", "")
        return response.status, json.loads(text) if is_json else text, response_headers

    def predict(self, rows: Any, path: str = "/predict") -> Any:
        """Predict rows; the request must succeed."""
        status, content, _ = self.request("POST", path, {"rows": rows})
        assert status == 200, content
        return content["predictions"]


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as free_socket:
        free_socket.bind(("127.0.0.1", 0))
        return int(free_socket.getsockname()[1])


@contextlib.contextmanager
def run_service(
    environment: Mapping[str, str], *command: str, folder: Path | None = None
) -> Iterator[RunningService]:
    """Run a service until the block ends; it is stopped with SIGTERM."""
    port = free_port()
    words = command or (sys.executable, "-m", "mlops_cli.serving.service")
    process = subprocess.Popen(
        [*words, "--port", str(port)],
        cwd=folder,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    service = RunningService(process, port)
    try:
        wait_until_ready(service)
        yield service
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise


def wait_until_ready(service: RunningService) -> None:
    """Wait until /readyz responds with 200."""
    for _ in range(300):
        if service.process.poll() is not None:
            out, errors = service.process.communicate()
            raise AssertionError(out + errors)
        with contextlib.suppress(OSError):
            if service.request("GET", "/readyz")[0] == 200:
                return
        time.sleep(0.05)
    raise AssertionError("the service didn't get ready")
