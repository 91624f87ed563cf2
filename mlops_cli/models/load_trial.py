"""Trial load of a bundle in a child process, for libraries that read model files unchecked.

CatBoost and XGBoost trust the content of a model file, and a forged file can crash the process
that reads it. Here only the child process crashes, and the caller gets an error message.
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

_TIMEOUT = 120
_SCRIPT = "import sys; from mlops_cli.models.load_trial_child import main; main(sys.argv[1])"


@lru_cache(maxsize=64)
def try_in_child(folder: Path, digest: str) -> None:
    """Load the bundle in a child process and predict some unusual rows.

    Parameters
    ----------
    digest
        Digest of the verified manifest, so that the same bytes are tried only once.

    Raises
    ------
    DataRefused
        If the child process crashes or times out. Any other error is left to the caller, which
        meets it when it loads the bundle itself.
    """
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    hint = "Don't use this model; train it again from your own data."
    try:
        process = subprocess.run(  # noqa: S603 - our own script
            [sys.executable, "-c", _SCRIPT, str(folder)],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise DataRefused(
            f"the model in {folder} ({digest[:12]}) gave no prediction within {_TIMEOUT} seconds",
            hint,
        ) from None
    if process.returncode < 0:
        signal_name = signal.Signals(-process.returncode).name
        raise DataRefused(
            f"the model in {folder} ({digest[:12]}) ends the process that reads it "
            f"({signal_name}): its file is damaged or forged",
            hint,
        )
