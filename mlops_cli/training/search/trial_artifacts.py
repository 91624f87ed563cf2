"""Trial artifacts: validation predictions and fold models."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.data.atomic_files import atomic_write
from mlops_cli.errors import NotFound
from mlops_cli.models.families import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from mlops_cli.models.families import FittedModel
    from mlops_cli.training.search.trials import Result

    Predictions = npt.NDArray[np.float32]

__all__ = ["TrialArtifacts", "load_fold_models", "read_predictions", "write_predictions"]


@dataclass(frozen=True)
class TrialArtifacts:
    """A folder of predictions and model files, by trial number."""

    folder: Path

    def save(self, number: int, family: str, result: Result) -> None:
        """Write a trial's prediction and fold models atomically."""
        import numpy as np

        if result.prediction is None:
            return
        if result.fits and FAMILIES[family].copies is None:
            _write_models(self._models_folder(number), result.fits)
        with atomic_write(self._prediction_file(number)) as temporary, temporary.open("wb") as file:
            np.save(file, result.prediction, allow_pickle=False)

    def read_prediction(self, number: int) -> Predictions | None:
        """Read a trial's prediction; None if it is missing or unreadable."""
        import numpy as np

        try:
            array: Predictions = np.load(self._prediction_file(number), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return array

    def move_models(self, number: int, folder: Path) -> None:
        """Move a trial's fold models to a folder that ``load_fold_models`` reads."""
        if self._models_folder(number).is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(self._models_folder(number), folder)

    def remove(self) -> None:
        """Remove all artifacts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _prediction_file(self, number: int) -> Path:
        return self.folder / f"{number}.npy"

    def _models_folder(self, number: int) -> Path:
        return self.folder / f"{number}.fits"


def _write_models(folder: Path, fits: Sequence[FittedModel]) -> None:
    with atomic_write(folder) as temporary:
        for fold, fitted in enumerate(fits):
            model_folder = temporary / str(fold)
            model_folder.mkdir(parents=True)
            for name, content in fitted.to_files().items():
                (model_folder / name).write_bytes(content)


def load_fold_models(folder: Path, family: str, folds: int) -> list[FittedModel] | None:
    """Read the models of all folds; None if any is missing."""
    folders = [folder / str(fold) for fold in range(folds)]
    if not all(place.is_dir() for place in folders):
        return None
    files = ({path.name: path.read_bytes() for path in place.iterdir()} for place in folders)
    return [FAMILIES[family].from_files(each) for each in files]


def write_predictions(path: Path, predictions: Sequence[Predictions]) -> None:
    """Write predictions of the same shape as one array (models, rows, ...)."""
    import numpy as np

    with path.open("wb") as file:
        np.save(file, np.stack(predictions), allow_pickle=False)


def read_predictions(path: Path) -> Predictions:
    """Read the array that ``write_predictions`` wrote.

    Raises
    ------
    NotFound
        If the file is missing or unreadable.
    """
    import numpy as np

    try:
        predictions: Predictions = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise NotFound(
            f"{path} is not there, or not as tune wrote it",
            "Bring it back with `dvc checkout`, or search again with `mlops tune --force`.",
        ) from None
    return predictions
