"""The model bundle: saving, loading, verification, and refusal of changed files."""

import json
import os
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from mlops_cli.data.atomic_files import json_text
from mlops_cli.errors import DataRefused, NotFound
from mlops_cli.models import bundle as store
from mlops_cli.models.bundle import Bundle, Member, load, save, verify
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo
from mlops_cli.models.labels import LabelCodec


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(0)
    size = rng.normal(size=200)
    return pl.DataFrame(
        {"size": size, "town": rng.choice(["a", "b", "c"], 200), "_target": size > 0}
    )


@pytest.fixture(scope="module")
def bundle(frame):
    kinds = {"size": "number", "town": "category"}
    encoder, labels = Encoder.fit(frame, kinds), LabelCodec.fit(frame["_target"], "binary")
    X, y = encoder.transform(frame), labels.encode(frame["_target"])
    members = []
    for weight, name in ((3.0, "lightgbm"), (1.0, "linear")):
        family = FAMILIES[name]
        settings = {key: setting.default for key, setting in family.space.items()}
        task = TaskInfo("binary", 2, encoder.categorical)
        fitted = family.fit(FitRequest(X, y, task, settings, seed=0, rounds=10))
        members.append(Member(name, fitted, weight, settings, fitted.iterations))
    return Bundle(
        tuple(members),
        encoder,
        labels,
        "binary",
        threshold=0.4,
        program={"features": kinds},
        signature={"inputs": {}},
        facts={"seed": 0},
    )


@pytest.fixture
def folder(bundle, tmp_path):
    save(bundle, tmp_path / "model")
    return tmp_path / "model"


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_prediction_is_the_weighted_mean_of_the_members(bundle, frame):
    X = bundle.encoder.transform(frame)
    first, second = (m.fitted.predict(X) for m in bundle.members)
    np.testing.assert_allclose(bundle.predict(frame), 0.75 * first + 0.25 * second)


def test_it_decides_by_the_threshold_or_for_the_most_probable_class(bundle):
    output = np.array([[0.8, 0.2], [0.7, 0.3], [0.5, 0.5]])
    assert replace(bundle, threshold=0.3).decide(output).tolist() == [0, 1, 1]
    assert replace(bundle, threshold=None).decide(output).tolist() == [0, 0, 0]


def test_what_was_saved_is_loaded(bundle, folder, frame):
    again = load(folder)
    np.testing.assert_array_equal(again.predict(frame), bundle.predict(frame))
    for name in ("encoder", "labels", "task", "threshold", "program", "signature", "facts"):
        assert getattr(again, name) == getattr(bundle, name)
    for old, new in zip(bundle.members, again.members, strict=True):
        assert (old.family, old.weight, old.settings, old.iterations) == (
            new.family,
            new.weight,
            new.settings,
            new.iterations,
        )


def test_the_same_bundle_is_the_same_bytes(bundle, folder, tmp_path):
    save(bundle, tmp_path / "other")
    assert contents(folder) == contents(tmp_path / "other")
    save(load(folder), tmp_path / "again")
    assert contents(folder) == contents(tmp_path / "again")


def test_saving_replaces_the_old_bundle_whole(bundle, folder):
    (folder / "left_over").write_text("x")
    save(bundle, folder)
    verify(folder)


def test_every_changed_or_missing_file_is_named(bundle, folder):
    for name, content in contents(folder).items():
        path = folder / name
        path.unlink()
        with pytest.raises((DataRefused, NotFound), match=f"{name.name}.* missing"):
            load(folder)
        path.write_bytes(content[:-2] + b"#\n")
        with pytest.raises(DataRefused, match=name.name):
            load(folder)
        path.write_bytes(content)
    verify(folder)


def test_an_extra_file_is_named(folder):
    (folder / "members" / "0-lightgbm" / "more.txt").write_text("x")
    with pytest.raises(DataRefused, match=r"more\.txt doesn't belong"):
        verify(folder)


def test_a_manifest_whose_own_hash_is_wrong_is_refused(folder):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"bundle_sha256": "0" * 64}))
    with pytest.raises(DataRefused, match=r"manifest\.json was changed"):
        verify(folder)
    path.write_text(json.dumps({"files": []}))
    with pytest.raises(DataRefused, match="not a bundle's manifest"):
        verify(folder)


def test_where_there_is_no_bundle_it_says_how_to_make_one(tmp_path):
    with pytest.raises(NotFound) as caught:
        load(tmp_path / "model")
    assert "mlops train" in caught.value.hint


def changed(folder, name, change):
    """Change a JSON file of a bundle, and make the manifest right again, as an attacker would."""
    tree = json.loads((folder / name).read_text())
    change(tree)
    text = tree if isinstance(tree, str) else json.dumps(tree)
    (folder / name).write_text(text)
    renew(folder)


def renew(folder):
    """Make the manifest right again."""
    (folder / "manifest.json").unlink()
    files = store._manifest(store._hash_files(folder))
    (folder / "manifest.json").write_text(json_text(files))


@pytest.mark.parametrize("place", ["../../../../etc", "/etc", "members", "members/1-linear", 7])
def test_a_member_lies_where_bundles_keep_it(folder, place):
    changed(folder, "bundle.json", lambda tree: tree["members"][0].update(folder=place))
    with pytest.raises(DataRefused, match="not in members/0-lightgbm"):
        load(folder)


@pytest.mark.parametrize("name", ["bundle.json", "encoder.json", "program.json", "signature.json"])
@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": NaN}', "[]", "7", "{}", "\xff", ""])
def test_json_that_no_bundle_has_is_refused(folder, name, text):
    (folder / name).write_bytes(text.encode("latin-1"))
    renew(folder)
    if (name, text) in {("program.json", "{}"), ("signature.json", "{}")}:
        return  # which a bundle may have
    with pytest.raises(DataRefused):
        load(folder)


def test_categories_are_texts(folder):
    odd = {"name": "x", "kind": "category", "categories": ["a", {"b": 1}], "pooled": False}
    changed(folder, "encoder.json", lambda tree: tree["features"].append(odd))
    with pytest.raises(DataRefused, match="a category of 'x'"):
        load(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("members", 7),
        ("members", []),
        ("members", [{}]),
        ("labels", None),
        ("task", []),
        ("calibrator", [1]),
    ],
)
def test_a_description_of_another_form_is_refused(folder, key, value):
    changed(folder, "bundle.json", lambda tree: tree.update({key: value}))
    with pytest.raises(DataRefused):
        load(folder)


def test_a_model_of_a_family_that_is_gone_is_refused_by_name(folder):
    family = "hist_gradient_boosting"
    changed(folder, "bundle.json", lambda tree: tree["members"][0].update(family=family))
    with pytest.raises(DataRefused, match=f"the family '{family}', which this version") as refused:
        load(folder)
    assert refused.value.hint.startswith("Train the model again")


@pytest.mark.parametrize(
    "labels",
    [
        {"type": "binary", "classes": ["../../linear", True]},
        {"type": "binary", "classes": [0, 0]},
        {"type": "binary", "classes": [0, 1, 2]},
        {"type": "binary", "classes": [0, None]},
        {"type": "multiclass", "classes": [0, 1]},
        {"type": "regression", "classes": []},
        {"type": "regression", "classes": [0, 1]},
        {"type": 7, "classes": [[0], 1]},
    ],
)
def test_labels_that_dont_fit_the_model_are_refused(folder, labels):
    changed(folder, "bundle.json", lambda tree: tree.update(labels=labels))
    with pytest.raises(DataRefused):
        load(folder)


@pytest.mark.parametrize("weight", [0, -1.0, 10**400, "1", True, None])
def test_a_weight_is_a_positive_number(folder, weight):
    changed(folder, "bundle.json", lambda tree: tree["members"][0].update(weight=weight))
    with pytest.raises(DataRefused):
        load(folder)


@pytest.mark.parametrize("loss", ["squared", "poisson", "0123\n"])
def test_a_member_that_predicts_in_another_shape_is_refused(folder, loss):
    changed(folder, "members/1-linear/model.json", lambda tree: tree.update(loss=loss))
    with pytest.raises(DataRefused, match=r"prediction of the shape \(1,\) instead of \(1, 2\)"):
        load(folder)


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", ".git/config", "a\0b", "\ud800"])
def test_a_manifest_lists_only_what_is_below_the_bundle(folder, name):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    manifest["bundle_sha256"] = store._digest(manifest["files"])
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataRefused, match="states the path"):
        verify(folder)


def test_links_to_folders_and_pipes_are_no_part_of_a_bundle(folder, tmp_path):
    os.mkfifo(folder / "pipe")
    with pytest.raises(DataRefused, match="is no file"):
        verify(folder)
    (folder / "pipe").unlink()
    (folder / "more").symlink_to(tmp_path)
    with pytest.raises(DataRefused, match="is a link to a folder"):
        verify(folder)
