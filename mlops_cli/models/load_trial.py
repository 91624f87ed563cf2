"""A bundle loaded in a child process first, where a library reads a file unchecked.

CatBoost and XGBoost follow what a model file says, and a forged one can end the process that reads
it. What happens to the child is then a sentence instead of the end of a service.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from mlops_cli.errors import DataRefused

__all__ = ["try_in_child"]

_SECONDS = 120
_SCRIPT = "import sys; from mlops_cli.models.load_trial_child import main; main(sys.argv[1])"


@lru_cache(maxsize=64)
def try_in_child(folder: Path, digest: str) -> None:
    """Load the bundle in a child process and predict some odd rows.

    Parameters
    ----------
    digest
        The verified manifest's, so that the same bytes are tried once.

    Raises
    ------
    DataRefused
        If the child dies of it, or doesn't end. What is wrong in any other way, the caller's own
        loading says.
    """
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    hint = "Don't use this model; train it anew from your own data."
    try:
        done = subprocess.run(  # noqa: S603 - our own script
            [sys.executable, "-c", _SCRIPT, str(folder)],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise DataRefused(
            f"the model in {folder} ({digest[:12]}) gave no prediction within {_SECONDS} seconds",
            hint,
        ) from None
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise DataRefused(
            f"the model in {folder} ({digest[:12]}) ends the process that reads it ({name}): "
            "its file is damaged or forged",
            hint,
        )
