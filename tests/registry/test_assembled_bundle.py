"""The complete bundle of the register stage: its files, hashes, and reproducible bytes."""

import json
import re

import pytest
import yaml
from trained_projects import make_params, train_project

from mlops_cli.errors import DataRefused, NotFound
from mlops_cli.evaluation import stage as evaluate
from mlops_cli.models import bundle as bundles
from mlops_cli.registry import stage as register
from mlops_cli.reporting import Silent

PAPERS = {
    "metrics.json", "evaluation.json", "schema.json", "lineage.json", "profile.json", "README.md",
}  # fmt: skip
WORDS = {"name": "p", "seed": 7, "owner": "Ann", "risks": ["none known"]}


def contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.fixture(scope="module", params=["binary", "multiclass", "regression"])
def task(request):
    return request.param


@pytest.fixture(scope="module")
def layout(task, tmp_path_factory):
    family = "linear" if task == "multiclass" else "lightgbm"
    layout = train_project(tmp_path_factory.mktemp("p"), task, family=family)
    evaluate.run(make_params(task), layout, Silent())
    register.run(make_params(task, project=WORDS), layout, Silent())
    return layout


def test_the_bundle_has_the_fitted_bundle_unchanged_and_the_added_files(layout):
    fitted, whole = contents(layout.fitted), contents(layout.model)
    assert whole.keys() == fitted.keys() | PAPERS
    assert all(whole[name] == fitted[name] for name in fitted if name != "manifest.json")
    assert set(bundles.verify(layout.model)["files"]) == whole.keys() - {"manifest.json"}


def test_it_predicts_as_the_fitted_one(layout):
    from mlops_cli.data import parquet

    rows = parquet.scan(layout.split("test")).collect()
    whole, fitted = bundles.load(layout.model), bundles.load(layout.fitted)
    assert (whole.predict(rows) == fitted.predict(rows)).all()


def test_its_card_reports_the_test_figures(task, layout):
    card = (layout.model / "README.md").read_text()
    [index] = yaml.safe_load(card.split("---\n")[1])["model-index"]
    figures = json.loads(layout.metrics.read_text())["model"]
    said = {m["type"]: m["value"] for m in index["results"][0]["metrics"]}
    assert said == {name: figure["value"] for name, figure in figures.items()}
    assert "- Owner: Ann" in card
    assert "### By site" in card
    assert ("### Decisions" in card) == (task == "binary")


def test_its_lineage_leads_back_to_sources_and_settings(layout):
    lineage = json.loads((layout.model / "lineage.json").read_text())
    manifest = json.loads((layout.fitted / "manifest.json").read_text())
    assert lineage["sources"]["t"]["sha256"] == "0" * 64
    assert lineage["fitted_sha256"] == manifest["bundle_sha256"]
    assert lineage["seed"] == 7
    assert {"ingest", "featurize", "tune", "evaluate"} < lineage["params_sha256"].keys()
    assert all(re.fullmatch("[0-9a-f]{64}", h) for h in lineage["params_sha256"].values())


def test_the_same_inputs_give_the_same_bytes(task, layout):
    before = contents(layout.model)
    register.run(make_params(task, project=WORDS), layout, Silent())
    assert contents(layout.model) == before


def test_the_gates_have_no_part_in_it_and_the_words_of_the_project_only_in_the_card(task, layout):
    before = contents(layout.model)
    strict = {"name": "model", "gates": {"megabytes": 1e-6}}
    register.run(make_params(task, project=WORDS, register=strict), layout, Silent())
    record = json.loads(layout.registration.read_text())
    assert record["decision"] == "rejected"
    assert contents(layout.model) == before
    register.run(make_params(task, project=WORDS | {"owner": "Bob"}), layout, Silent())
    after = contents(layout.model)
    assert {n for n in after if after[n] != before[n]} == {"README.md", "manifest.json"}
    register.run(make_params(task, project=WORDS), layout, Silent())


def test_one_flipped_byte_in_any_file_is_refused_by_name(layout):
    for name, content in contents(layout.model).items():
        path = layout.model / name
        # A byte of the manifest may be about another file, which is then the one that is named.
        named = "was changed|missing|belong|not" if name == "manifest.json" else re.escape(name)
        few = 200 if name == "manifest.json" else 3
        for at in {*range(0, len(content), -(-len(content) // few)), len(content) - 1}:
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            with pytest.raises(DataRefused, match=named):
                bundles.verify(layout.model)
        with pytest.raises(DataRefused, match=named):
            bundles.load(layout.model)
        path.write_bytes(content)
    bundles.verify(layout.model)


def test_read_only_files_of_the_cache_are_no_hindrance(layout, task):
    for path in layout.fitted.rglob("*"):
        if path.is_file():
            path.chmod(0o444)
    before = contents(layout.model)
    register.run(make_params(task, project=WORDS), layout, Silent())
    register.run(make_params(task, project=WORDS), layout, Silent())
    assert contents(layout.model) == before


def test_without_an_earlier_report_it_says_so_and_leaves_the_old_bundle(layout, task):
    before = contents(layout.model)
    report = layout.split_report.read_text()
    layout.split_report.unlink()
    with pytest.raises(NotFound, match=r"split\.json"):
        register.run(make_params(task, project=WORDS), layout, Silent())
    assert contents(layout.model) == before
    layout.split_report.write_text(report)


def test_its_profile_is_of_the_fitted_rows_and_of_predictions_on_the_others(layout, task):
    from mlops_cli.data import parquet
    from mlops_cli.drift.compare import compare
    from mlops_cli.drift.reference import output_frame
    from mlops_cli.drift.reference_file import read_reference

    reference = read_reference(layout.model)
    test = parquet.scan(layout.split("test")).collect()
    bundle = bundles.load(layout.model)
    facts = json.loads((layout.model / "bundle.json").read_text())["facts"]
    assert reference.inputs.rows == sum(facts["rows"].values())
    assert reference.outputs.rows == len(test)
    predictions = output_frame(bundle.predict(test), bundle.labels.classes)
    report = compare(
        reference,
        inputs=reference.inputs.profile_frame(test),
        outputs=reference.outputs.profile_frame(predictions),
    )
    assert not report.alarms
    assert all(c.ks == 0 for c in report.columns if c.part == "outputs" and c.kind == "number")
