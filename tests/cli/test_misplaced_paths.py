"""A folder or a link to itself in the place of a project file: a clear error message."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlops_cli.cli.app import main

HEADER, ROWS = "size,sold", 60


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as `mlops init` makes it."""
    folder = tmp_path_factory.mktemp("misplaced")
    data = folder / "orders.csv"
    rows = [f"{i % 17},{int(i % 17 + i % 3 > 9)}" for i in range(ROWS)]
    data.write_text("\n".join([HEADER, *rows]) + "\n")
    assert main(["init", str(folder / "shop"), "--data", str(data), "--target", "sold"]) == 0
    return folder / "shop"


@pytest.mark.parametrize("kind", ["folder", "link to itself", "link to the folder above"])
@pytest.mark.parametrize(
    "file", ["models/registration.json", "params.yaml", "dvc.yaml", "dvc.lock", ".mlops/stage.pid"]
)
def test_status_says_what_is_in_the_way(
    template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    file: str,
    kind: str,
) -> None:
    root = tmp_path / "shop"
    shutil.copytree(template, root, symlinks=True)
    path = root / file
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.name if kind == "link to itself" else "..")
    monkeypatch.chdir(root)

    code = main(["status"])

    said = capsys.readouterr()
    assert "unexpected" not in said.err
    assert "Traceback" not in said.err
    assert code in {0, 3, 4, 6, 7}, said.err
    assert code == 0 or said.err.startswith("error: ")
    assert code != 0 or "featurize" in said.out


def test_a_folder_for_the_registration_is_named(
    template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "shop"
    shutil.copytree(template, root, symlinks=True)
    (root / "models" / "registration.json").mkdir(parents=True)
    monkeypatch.chdir(root)

    assert main(["status"]) == 4

    said = " ".join(capsys.readouterr().err.split())
    assert "models/registration.json is not what is expected there: Is a directory" in said
