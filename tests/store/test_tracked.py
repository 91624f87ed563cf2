"""What lies in a project's folder is looked at before its paths are used."""

from __future__ import annotations

import os
import subprocess

import pytest

from mlops_cli.errors import DataRefused
from mlops_cli.store.tracked import refuse_unsafe

NAMES = ("dvc.lock", "dvc.yaml", ".dvc/config", "reports/metrics.json", "models/registration.json")


@pytest.mark.parametrize("with_git", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_pipe_where_a_file_is_read_is_refused_before_it_is_opened(tmp_path, name, with_git):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if with_git:
        subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    refuse_unsafe(tmp_path)
    os.mkfifo(path)
    with pytest.raises(DataRefused, match="is a pipe") as caught:
        refuse_unsafe(tmp_path)
    assert name in caught.value.message
    assert caught.value.exit_code == 4


def test_a_link_to_a_pipe_is_refused_and_one_to_a_file_is_not(tmp_path):
    (tmp_path / "other").write_text("")
    (tmp_path / "dvc.lock").symlink_to("other")
    (tmp_path / "dvc.yaml").symlink_to("nothing")
    refuse_unsafe(tmp_path)
    os.mkfifo(tmp_path / "nothing")
    with pytest.raises(DataRefused, match=r"dvc\.yaml"):
        refuse_unsafe(tmp_path)
