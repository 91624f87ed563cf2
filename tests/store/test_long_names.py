"""What is longer than a command may be ends in a sentence, not in an error of the system."""

import pytest
from small_projects import done

from mlops_cli.errors import BadParams
from mlops_cli.store.git import Git


def test_a_name_that_is_too_long_for_git_is_named_shortly(tmp_path):
    done(tmp_path, "git", "init", "--quiet")
    with pytest.raises(BadParams) as caught:
        Git(tmp_path).run("tag", "--list", "x" * 200_000)
    assert "200,000 characters is too long for Git: 'xxx" in caught.value.message
    assert len(caught.value.message) < 200
