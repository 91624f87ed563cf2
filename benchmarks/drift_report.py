"""The drift reports that monitoring.py compares, each in its own process.

    python drift_report.py rows ROWS SEED OUT            writes a log of 30 columns (Parquet)
    python drift_report.py reference ROWS OUT            writes the reference profile
    python drift_report.py ours|evidently|nannyml LOG REFERENCE OUT

Each peer has its own venv, so that a side imports only what it needs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROW_GROUP = 100_000
BATCH = 250_000


def rows(count: str, seed: str, out: str) -> None:
    """Write 22 numbers of several distributions, four categories and four booleans."""
    import numpy as np
    import polars as pl
    import pyarrow.parquet as pq

    rng = np.random.default_rng(int(seed))
    writer = None
    for start in range(0, int(count), 5 * ROW_GROUP):
        n = min(5 * ROW_GROUP, int(count) - start)
        columns = {f"normal{i}": rng.normal(i, 1 + i / 4, n) for i in range(10)}
        columns |= {f"skewed{i}": rng.lognormal(i / 3, 1, n) for i in range(6)}
        columns |= {f"count{i}": rng.integers(0, 10 ** (i + 1), n) for i in range(4)}
        columns |= {
            f"gaps{i}": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)) for i in range(2)
        }
        for i in range(4):
            names = np.array([f"value {j}" for j in range(4 ** (i + 1))])
            columns[f"category{i}"] = names[(rng.random(n) ** 2 * len(names)).astype(int)]
        columns |= {f"flag{i}": rng.random(n) < 0.1 * (i + 1) for i in range(4)}
        frame = pl.DataFrame(columns).with_columns(pl.col("gaps0", "gaps1").fill_nan(None))
        table = frame.to_arrow()
        writer = writer or pq.ParquetWriter(out, table.schema, compression="zstd")
        writer.write_table(table, row_group_size=ROW_GROUP)
    if writer is not None:
        writer.close()


def reference(log: str, out: str) -> None:
    """Write the profile of the reference's rows; one of their columns serves as predictions."""
    import polars as pl

    from mlops_cli.drift.reference import Reference
    from mlops_cli.drift.reference_file import reference_text

    frame = pl.read_parquet(log)
    kinds = {
        name: "boolean" if t == pl.Boolean else "category" if t == pl.String else "number"
        for name, t in frame.schema.items()
    }
    profile = Reference.from_rows(frame, kinds, frame["flag0"], frame.select("normal0"), "binary")
    Path(out).write_text(reference_text(profile))


def ours(log: str, profile: str, out: str) -> None:
    """Compare the log, in batches, with the reference profile; joint drift is included."""
    import polars as pl

    from mlops_cli.data.atomic_files import read_json
    from mlops_cli.drift.compare import compare
    from mlops_cli.drift.reference import Reference

    reference = Reference.from_json(read_json(Path(profile)))
    batches = pl.scan_parquet(log).collect_batches(chunk_size=BATCH, maintain_order=True)
    report = compare(reference, inputs=reference.inputs.profile_batches(batches))
    Path(out).write_text(json.dumps(report.to_json()))


def evidently(log: str, reference_log: str, out: str) -> None:
    """Evidently's preset of data drift, with its own choice of tests."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    current, reference_rows = pd.read_parquet(log), pd.read_parquet(reference_log)
    names = [c for c in reference_rows if reference_rows[c].dtype.kind in "fi"]
    definition = DataDefinition(
        numerical_columns=names, categorical_columns=[c for c in reference_rows if c not in names]
    )
    sides = [Dataset.from_pandas(f, data_definition=definition) for f in (current, reference_rows)]
    Path(out).write_text(Report([DataDriftPreset()]).run(*sides).json())


def nannyml(log: str, reference_log: str, out: str) -> None:
    """NannyML's univariate drift in one chunk, by distances; without joint drift."""
    import nannyml as nml
    import pandas as pd

    current, reference_rows = pd.read_parquet(log), pd.read_parquet(reference_log)
    flags = {c: str for c in reference_rows if reference_rows[c].dtype.kind == "b"}
    current, reference_rows = current.astype(flags), reference_rows.astype(flags)
    calculator = nml.UnivariateDriftCalculator(
        column_names=list(reference_rows),
        continuous_methods=["wasserstein"],
        categorical_methods=["jensen_shannon"],
        chunk_size=len(current),
    )
    calculator.fit(reference_rows)
    calculator.calculate(current).to_df().to_json(out)


if __name__ == "__main__":
    sides = {f.__name__: f for f in (rows, reference, ours, evidently, nannyml)}
    sides[sys.argv[1]](*sys.argv[2:])
