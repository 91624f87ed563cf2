"""The reference profile in a bundle, and the note for bundles without one."""

import pytest

from mlops_cli.drift.reference_file import read_reference
from mlops_cli.errors import NotFound


def test_a_bundle_made_before_there_were_profiles_is_told_so(tmp_path):
    (tmp_path / "bundle.json").write_text("{}")
    with pytest.raises(NotFound, match="older mlops-cli") as caught:
        read_reference(tmp_path)
    assert "mlops register" in caught.value.hint


def test_a_folder_without_a_bundle_is_not_called_old(tmp_path):
    with pytest.raises(NotFound, match="is not there"):
        read_reference(tmp_path)
