"""What trials predict for the rows that decide: an array each, and the best ones as one."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.errors import NotFound
from mlops_cli.store.files import staged

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    Kept = npt.NDArray[np.float32]

__all__ = ["Predictions", "read_stacked", "write_stacked"]


@dataclass(frozen=True)
class Predictions:
    """A folder of arrays by the number of their trial."""

    folder: Path

    def keep(self, number: int, prediction: Kept) -> None:
        """Write an array; a kill leaves all of it or nothing."""
        import numpy as np

        with staged(self._place(number)) as temporary, temporary.open("wb") as file:
            np.save(file, prediction, allow_pickle=False)

    def of(self, number: int) -> Kept | None:
        """Read an array; None if it isn't there, or not readable."""
        import numpy as np

        try:
            found: Kept = np.load(self._place(number), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return found

    def remove(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _place(self, number: int) -> Path:
        return self.folder / f"{number}.npy"


def write_stacked(path: Path, predictions: Sequence[Kept]) -> None:
    """Write arrays of one shape as one (models, rows, ...)."""
    import numpy as np

    with path.open("wb") as file:
        np.save(file, np.stack(predictions), allow_pickle=False)


def read_stacked(path: Path) -> Kept:
    """Read what ``write_stacked`` wrote.

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
