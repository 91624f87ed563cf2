"""What came of trials: what each predicts for the rows that decide, and its models of the folds."""

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

    Kept = npt.NDArray[np.float32]

__all__ = ["TrialArtifacts", "load_fold_models", "read_predictions", "write_predictions"]


@dataclass(frozen=True)
class TrialArtifacts:
    """A folder of arrays, and of models in their families' own files, by the number of a trial."""

    folder: Path

    def keep(self, number: int, family: str, result: Result) -> None:
        """Write what a trial made; a kill leaves all of a file or nothing."""
        import numpy as np

        if result.prediction is None:
            return
        if result.fits and FAMILIES[family].copies is None:
            _write_fits(self._fits(number), result.fits)
        with atomic_write(self._place(number)) as temporary, temporary.open("wb") as file:
            np.save(file, result.prediction, allow_pickle=False)

    def prediction(self, number: int) -> Kept | None:
        """Read an array; None if it isn't there, or not readable."""
        import numpy as np

        try:
            found: Kept = np.load(self._place(number), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return found

    def hand_over(self, number: int, folder: Path) -> None:
        """Move the models of a trial's folds to a place that ``load_fold_models`` reads."""
        if self._fits(number).is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(self._fits(number), folder)

    def remove(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _place(self, number: int) -> Path:
        return self.folder / f"{number}.npy"

    def _fits(self, number: int) -> Path:
        return self.folder / f"{number}.fits"


def _write_fits(folder: Path, fits: Sequence[FittedModel]) -> None:
    with atomic_write(folder) as temporary:
        for fold, fitted in enumerate(fits):
            place = temporary / str(fold)
            place.mkdir(parents=True)
            for name, content in fitted.to_files().items():
                (place / name).write_bytes(content)


def load_fold_models(folder: Path, family: str, folds: int) -> list[FittedModel] | None:
    """Read the models of so many folds; None where they aren't all there."""
    places = [folder / str(fold) for fold in range(folds)]
    if not all(place.is_dir() for place in places):
        return None
    files = ({path.name: path.read_bytes() for path in place.iterdir()} for place in places)
    return [FAMILIES[family].from_files(each) for each in files]


def write_predictions(path: Path, predictions: Sequence[Kept]) -> None:
    """Write arrays of one shape as one (models, rows, ...)."""
    import numpy as np

    with path.open("wb") as file:
        np.save(file, np.stack(predictions), allow_pickle=False)


def read_predictions(path: Path) -> Kept:
    """Read what ``write_predictions`` wrote.

    Raises
    ------
    NotFound
        If it isn't there, or not readable.
    """
    import numpy as np

    try:
        found: Kept = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise NotFound(
            f"{path} is not there, or not as tune wrote it",
            "Bring it back with `dvc checkout`, or search anew with `mlops tune --force`.",
        ) from None
    return found
