"""The served copy of the workspace's model stays unchanged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from mlops_cli.data.atomic_files import write_json
from mlops_cli.layout import Layout
from mlops_cli.registry.select_version import SelectedModel
from mlops_cli.reporting import Silent
from mlops_cli.serving.prepare import model_of
from mlops_cli.serving.service.settings import Secrets


def bundle(folder, digest, monkeypatch):
    """As much of a bundle as is looked at before it is served, and many files to copy."""
    folder.mkdir(parents=True)
    write_json(folder / "manifest.json", {"bundle_sha256": digest})
    write_json(folder / "program.json", {})
    for number in range(200):
        (folder / f"member-{number}").write_text(digest)
    none = type("Program", (), {"plans": ()})
    monkeypatch.setattr("mlops_cli.serving.prepare.FeatureProgram.from_json", lambda _: none)
    return SelectedModel("shop", folder, None)


def test_many_at_once_get_the_same_whole_copy(tmp_path, monkeypatch):
    layout = Layout(tmp_path)
    found = bundle(tmp_path / "models/model", "a" * 64, monkeypatch)
    with ThreadPoolExecutor(8) as pool:
        works = [
            pool.submit(model_of, found, layout, Secrets.from_environment({}), Silent())
            for _ in range(24)
        ]
        (folder,) = {work.result().folder for work in works}
    assert {p.name for p in folder.iterdir()} == {p.name for p in found.folder.iterdir()}


def test_a_newer_model_leaves_the_one_that_is_served(tmp_path, monkeypatch):
    layout = Layout(tmp_path)
    older = bundle(tmp_path / "older", "a" * 64, monkeypatch)
    newer = bundle(tmp_path / "newer", "b" * 64, monkeypatch)
    served = [
        model_of(each, layout, Secrets.from_environment({}), Silent()).folder
        for each in (older, newer)
    ]
    assert [(folder / "member-7").read_text()[0] for folder in served] == ["a", "b"]
