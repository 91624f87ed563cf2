"""Registered versions with their splits in DVC's cache, and their predictions in an event log."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from mlops_cli.data import parquet
from mlops_cli.events import Label, open_events
from mlops_cli.features.program import FeatureProgram
from mlops_cli.layout import ROW, SPLITS, TARGET, TIME, Layout
from mlops_cli.models import bundle
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo
from mlops_cli.models.labels import LabelCodec
from mlops_cli.params import Params
from mlops_cli.params.serve import Serve
from mlops_cli.serving.service.loaded_model import LoadedModel
from mlops_cli.serving.service.settings import Model
from mlops_cli.splitting import strategies

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
COLUMNS = ("a", "b", "c")
GATE = {"metric": "roc_auc", "margin": 0.01, "rows": 60}
OVERFITTED_SETTINGS = {"max_leaves": 4096, "min_leaf": 1, "features": 1.0}


def make_settings(*, timed: bool = True, **sections: Any) -> dict[str, Any]:
    """Parameters of the project, as a mapping."""
    source = {"uri": "x", "time": "at"} if timed else {"uri": "x"}
    return {
        "project": {"name": "shop", "seed": 1},
        "task": {"type": "binary"},
        "ingest": {"sources": {"orders": source}},
        "featurize": {"base": "orders", "target": "y", "features": {c: c for c in COLUMNS}},
        "evaluate": {"slice_rows": 50, "resamples": 100, "segments": 0},
        "register": {"name": "shop", "stages": {"production": {"replay": GATE}}},
        **sections,
    }


def make_orders(rows: int, first: int = 0) -> pl.DataFrame:
    """Make one order an hour; the label depends on two columns and noise."""
    rng = np.random.default_rng(first + 5)
    frame = pl.DataFrame({c: rng.normal(size=rows) for c in COLUMNS})
    chance = rng.normal(0, 2, rows)
    return frame.with_columns(
        pl.Series("at", [START + dt.timedelta(hours=first + i) for i in range(rows)]).cast(
            pl.Datetime("us", "UTC")
        ),
        y=pl.Series((frame["a"] + frame["b"]).to_numpy() + chance > 0),
    )


@dataclass(frozen=True)
class Project:
    """A Git repository with versions, fitted on rows with or without a time."""

    root: Path
    timed: bool = True
    strategy: str = "time"

    @property
    def layout(self) -> Layout:
        """Paths of the project."""
        return Layout(self.root)

    @property
    def params(self) -> Params:
        """Parameters of the project."""
        return Params.model_validate(make_settings(timed=self.timed))

    def create(self) -> Project:
        """Create the repository."""
        create_repository(self.root)
        (self.root / "params.yaml").write_text(json.dumps(make_settings(timed=self.timed)))
        return self

    def fit(
        self, frame: pl.DataFrame, *, overfitted: bool = False, columns: Sequence[str] = COLUMNS
    ) -> None:
        """Write splits and a model to the workspace; an overfitted one has learnt each row."""
        rules = self.params.featurize.model_copy(update={"features": {c: c for c in columns}})
        ingest = self.params.ingest
        base = frame if self.timed else frame.drop("at")
        program = FeatureProgram.compile(rules, ingest, {"orders": base.schema})
        parquet.write(base, self.layout.validated / "orders.parquet")
        features = program.transform(base, {"orders": base.lazy()})
        features = features.with_columns(base["y"].alias(TARGET)).with_row_index(ROW)
        if self.timed:
            features = features.with_columns(base["at"].alias(TIME))
        parts = self._split(features)
        for name, part in parts.items():
            parquet.write(part, self.layout.split(name))
        training_rows = pl.concat([parts["train"], parts["validation"]])
        labels, encoder = (
            LabelCodec.fit(training_rows[TARGET], "binary"),
            Encoder.fit(training_rows, program.kinds),
        )
        family = FAMILIES["extra_trees" if overfitted else "linear"]
        hyperparameters = {name: setting.default for name, setting in family.space.items()}
        fit = family.fit(
            FitRequest(
                encoder.transform(training_rows),
                labels.encode(training_rows[TARGET]),
                TaskInfo("binary", 2, encoder.categorical),
                hyperparameters | (OVERFITTED_SETTINGS if overfitted else {}),
                seed=0,
            )
        )
        window = [training_rows[TIME].min(), training_rows[TIME].max()] if self.timed else None
        rows = {name: parts[name].height for name in ("train", "validation")}
        example = dict.fromkeys(COLUMNS, 0.0) | ({"at": "2024-01-01"} if self.timed else {})
        model_bundle = bundle.Bundle(
            (bundle.Member(family.name, fit),),
            encoder,
            labels,
            "binary",
            0.5,
            program={**program.to_json(), "example": example},
            signature={"inputs": {}},
            facts={"window": window and [t.isoformat() for t in window], "rows": rows},
        )
        bundle.save(model_bundle, self.layout.fitted)
        time_column = "at" if self.timed else None
        schema = {"base": "orders", "sources": {"orders": {"time": time_column, "rules": {}}}}
        files = {
            "lineage.json": {"split": self.strategy},
            "schema.json": schema,
            "metrics.json": {},
        }
        texts = {name: json.dumps(content) for name, content in files.items()}
        bundle.extend(self.layout.fitted, self.layout.model, texts)

    def register(self, number: str) -> None:
        """Register the workspace as a version; DVC's cache keeps its splits."""
        register_version(self.root, number)

    def log_predictions(self, number: str, frame: pl.DataFrame) -> None:
        """Log predictions of the workspace's model as those of a version, with labels."""
        model = LoadedModel.open(
            Model("shop", number, self.layout.model), self.layout.root, None, Serve()
        )
        columns = [*COLUMNS, "at"] if self.timed else list(COLUMNS)
        requests = frame.select(columns)
        if self.timed:
            requests = requests.with_columns(pl.col("at").dt.to_string("%Y-%m-%dT%H:%M:%SZ"))
        rows = requests.to_dicts()
        batch = model.scorer.read(rows)
        scores = model.scorer.score(batch.frame)
        texts = [orjson.dumps(a).decode() for a in model.answers(scores, batch)]
        ids = [f"{number}-{i}" for i in range(len(rows))]
        predictions = model.events(
            ids,
            rows,
            batch,
            scores,
            texts,
            received_at=time.time(),
            milliseconds=1.0,
            role="answered",
        )
        labels = [
            Label(id_, id_, None, None, str(y).lower(), time.time())
            for id_, y in zip(ids, frame["y"].to_list(), strict=True)
        ]
        events = open_events(None, self.layout)
        events.write(predictions, labels)
        events.close()

    def _split(self, features: pl.DataFrame) -> dict[str, pl.DataFrame]:
        if self.strategy == "time":
            codes, _ = strategies.by_time(features[TIME], 0.2, 0.2, None, None)
        else:
            units = np.arange(features.height)
            codes = strategies.at_random(units, None, 0.2, 0.2, seed=1)
        return {name: features.filter(codes == code) for code, name in enumerate(SPLITS)}


def create_repository(root: Path) -> None:
    """Create a Git repository."""
    root.mkdir(parents=True, exist_ok=True)
    _git(root, "init", "--quiet", "--initial-branch", "main")
    _git(root, "config", "user.name", "Ann")
    _git(root, "config", "user.email", "ann@example.org")


def register_version(root: Path, number: str) -> None:
    """Register the model and the splits of a project, if they exist, as a version."""
    outs = {
        path: _add_to_cache(root, path)
        for path in ("models/model", "data/splits", "data/validated")
    }
    stage = {"cmd": "x", "outs": [{"path": path, "md5": md5} for path, md5 in outs.items()]}
    (root / "dvc.lock").write_text(json.dumps({"stages": {"register": stage}}))
    (root / ".gitignore").write_text("/models/model\n/models/fitted\n/data\n/.mlops\n/.dvc\n")
    _git(root, "add", "--all")
    _git(root, "commit", "--quiet", "--allow-empty", "--message", number)
    digest = json.loads((root / "models/model/manifest.json").read_text())["bundle_sha256"]
    message = f"shop {number}\n\nBundle: {digest}\n"
    _git(root, "tag", "--annotate", f"shop@{number}", "--message", message)


def _git(root: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=root, check=True, capture_output=True)


def _add_to_cache(root: Path, path: str) -> str:
    """Copy a folder into DVC's cache; return its hash."""
    listed = []
    for file in sorted((root / path).rglob("*")):
        if file.is_file():
            relative = file.relative_to(root / path).as_posix()
            listed.append({"md5": _object(root, file.read_bytes()), "relpath": relative})
    return _object(root, json.dumps(listed).encode(), ".dir")


def _object(root: Path, content: bytes, suffix: str = "") -> str:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest() + suffix
    place = root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return md5
