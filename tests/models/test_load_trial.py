"""A trial load in a child process, for models that only their library can read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mlops_cli.errors import DataRefused
from mlops_cli.models import bundle as bundles
from mlops_cli.models import load_trial
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo
from mlops_cli.models.labels import LabelCodec


class _Given:
    """A fitted model whose files are given."""

    iterations = 1
    importances = np.zeros(1)

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def predict(self, X: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def to_files(self) -> dict[str, bytes]:
        return self.files


def saved(files: dict[str, bytes], folder: Path, frame: pl.DataFrame) -> None:
    kinds = dict.fromkeys(frame.columns, "number")
    bundle = bundles.Bundle(
        members=(bundles.Member("catboost", _Given(files)),),
        encoder=Encoder.fit(frame, kinds),
        labels=LabelCodec.fit(pl.Series("y", [False, True]), "binary", None),
        task="binary",
    )
    bundles.save(bundle, folder)


@pytest.mark.skipif(not FAMILIES["catboost"].installed, reason="CatBoost is not installed")
def test_a_model_that_ends_the_process_that_reads_it_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({f"x{i}": rng.normal(size=300) for i in range(4)})
    X = frame.to_numpy()
    y = (X[:, 0] > X[:, 1]).astype(int)
    files = FAMILIES["catboost"].fit(FitRequest(X, y, TaskInfo("binary", 2), {}, seed=1, rounds=8))
    saved(files.to_files(), tmp_path / "sound", frame)
    assert np.isfinite(bundles.load(tmp_path / "sound").predict(frame)).all()

    # One in sixty of such changes ends CatBoost's process; what it does is done here for sure.
    monkeypatch.setattr(load_trial, "_SCRIPT", "import os; os.kill(os.getpid(), 11)")
    saved({**files.to_files(), "model.cbm": b"CBM1" + bytes(100)}, tmp_path / "forged", frame)
    with pytest.raises(DataRefused, match=r"ends the process that reads it \(SIGSEGV\)"):
        bundles.load(tmp_path / "forged")


def test_a_child_that_dies_or_hangs_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_trial, "_SCRIPT", "import os; os.kill(os.getpid(), 11)")
    with pytest.raises(DataRefused, match="ends the process that reads it"):
        load_trial.try_in_child(tmp_path, "dies")
    monkeypatch.setattr(load_trial, "_SCRIPT", "import time; time.sleep(60)")
    monkeypatch.setattr(load_trial, "_TIMEOUT", 0.2)
    with pytest.raises(DataRefused, match="gave no prediction within"):
        load_trial.try_in_child(tmp_path, "hangs")
