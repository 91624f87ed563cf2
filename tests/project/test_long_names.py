"""Names that are too long end in an error message."""

import subprocess

import pytest

from mlops_cli.errors import BadParams
from mlops_cli.project.git import Git


def test_a_name_that_is_too_long_for_git_is_named_shortly(tmp_path):
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    with pytest.raises(BadParams) as caught:
        Git(tmp_path).run("tag", "--list", "x" * 200_000)
    assert "200,000 characters is too long for Git: 'xxx" in caught.value.message
    assert len(caught.value.message) < 200
