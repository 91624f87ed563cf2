"""Explanations of rows: additive values, or a clear error message."""

import json
import math

import polars as pl
import pytest
from trained_projects import make_params, make_table, train_project

from mlops_cli.errors import DataRefused, NotFound, Usage
from mlops_cli.layout import ROW
from mlops_cli.models import bundle as bundles
from mlops_cli.reporting import Silent
from mlops_cli.serving.batch import explain


@pytest.fixture(scope="module", params=["binary", "multiclass", "regression"])
def project(request, tmp_path_factory):
    layout = train_project(tmp_path_factory.mktemp(request.param), request.param, rounds=5)
    bundles.extend(layout.fitted, layout.model, {})
    return request.param, layout


def test_a_row_of_a_split_is_explained_up_to_its_score(project):
    task, layout = project
    table = make_table(task)
    wanted = int(table[ROW][-1])
    found = explain.explain_row(make_params(task), layout, "workspace", wanted, Silent())
    (one,) = found.rows
    bundle = bundles.load(layout.model)
    output = bundle.predict(table[-1:])[0]
    assert one.row == wanted
    assert one.base + sum(adds for *_, adds in one.contributions) == pytest.approx(one.raw)
    assert {name: value for name, value, _ in one.contributions}["x0"] == table["x0"][-1]
    assert {name: value for name, value, _ in one.contributions}["kind"] == table["kind"][-1]
    sizes = [abs(adds) for *_, adds in one.contributions]
    assert sizes == sorted(sizes, reverse=True)
    if task == "regression":
        assert one.prediction == one.raw == pytest.approx(output)
    elif task == "binary":
        assert one.probability == pytest.approx(1 / (1 + math.exp(-one.raw)))
        assert one.decision == bundle.labels.classes[int(output[1] >= bundle.threshold)]
        assert one.prediction == bundle.labels.classes[output.argmax()]
        assert one.threshold == bundle.threshold
    else:
        assert one.prediction == one.explained == bundle.labels.classes[output.argmax()]


def test_a_row_that_is_in_no_split_is_not_found(project):
    task, layout = project
    with pytest.raises(NotFound, match="row 99999"):
        explain.explain_row(make_params(task), layout, "workspace", 99_999, Silent())


def test_rows_of_a_file_are_explained_alike(project, tmp_path):
    task, layout = project
    table = make_table(task)[-3:]
    path = tmp_path / "rows.jsonl"
    table.select([f"x{i}" for i in range(6)] + ["kind"]).write_ndjson(path)
    found = explain.explain_file(
        make_params(task), layout, "workspace", path, Silent(), features=True
    )
    for number, one in enumerate(found.rows):
        row = int(table[ROW][number])
        same = explain.explain_row(make_params(task), layout, "workspace", row, Silent()).rows[0]
        assert (one.row, one.raw) == (number, pytest.approx(same.raw))
        assert one.contributions == same.contributions


@pytest.mark.parametrize(
    ("rows", "kind", "said"),
    [
        ([{"x0": "much"}], DataRefused, "row 0"),
        ([{"x0": 1.0}] * 1001, Usage, "1,000"),
        ([{"y0": 1.0}], DataRefused, "'x0'"),
    ],
)
def test_files_that_cannot_be_explained_are_refused(project, tmp_path, rows, kind, said):
    task, layout = project
    path = tmp_path / "rows.jsonl"
    others = {f"x{i}": 0.0 for i in range(1, 6)} | {"kind": "a"}
    path.write_text("\n".join(json.dumps(others | row) for row in rows))
    with pytest.raises(kind, match=said):
        explain.explain_file(make_params(task), layout, "workspace", path, Silent(), features=True)


def test_an_empty_file_is_refused(project, tmp_path):
    task, layout = project
    path = tmp_path / "rows.parquet"
    make_table(task)[:0].write_parquet(path)
    with pytest.raises(DataRefused):
        explain.explain_file(make_params(task), layout, "workspace", path, Silent(), features=True)
    assert pl.read_parquet(path).is_empty()
