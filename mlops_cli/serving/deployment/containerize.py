"""`mlops serve containerize`: BentoML makes a Bento's image, with the engine that is here."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.errors import MlopsError, NotInstalled
from mlops_cli.reporting import Progress, Silent
from mlops_cli.serving.deployment.build import bento_home, environment

if TYPE_CHECKING:
    from mlops_cli.layout import Layout

__all__ = ["ENGINES", "containerize", "engine"]

ENGINES = ("docker", "podman", "nerdctl", "buildah")
"""Those that BentoML knows how to call, the first one that answers is taken."""


def containerize(layout: Layout, tag: str, image: str, progress: Progress | None = None) -> str:
    """Make the image of a Bento in the store; give the engine that did it.

    Parameters
    ----------
    image
        What the image is called, NAME:TAG.

    Raises
    ------
    NotInstalled
        If no engine answers.
    MlopsError
        If it can't make the image.
    """
    progress = progress or Silent()
    chosen = engine()
    words = ["containerize", tag, "--backend", chosen, "--image-tag", image]
    progress.update(f"the image, by {chosen}")
    with tempfile.TemporaryDirectory(prefix="mlops-image-") as folder:
        code, said = _run(words, folder, environment(layout), progress)
    if code:
        raise MlopsError(
            f"{chosen} could not make the image {image}: {' / '.join(said)[-400:]}",
            "See all that it says: cd /tmp && "
            f"BENTOML_DO_NOT_TRACK=true BENTOML_HOME={shlex.quote(str(bento_home(layout)))} "
            f"bentoml {shlex.join(words)}",
        )
    return chosen


def _run(
    words: list[str], folder: str, given: dict[str, str], progress: Progress
) -> tuple[int, list[str]]:
    """Run BentoML; give its exit code and the last lines that it wrote.

    BentoML unpacks the Bento into a temporary folder, and refuses to read the Dockerfile's template
    there unless that lies below the current one (github.com/bentoml/BentoML/issues/5566).
    """
    folder = str(Path(folder).resolve())
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-W", "ignore", "-m", "bentoml", *words],
        cwd=folder,
        env=given | {"TMPDIR": folder},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        said: deque[str] = deque(maxlen=3)
        for line in process.stdout:
            if line.strip():
                said.append(line.strip())
                progress.update(line.strip()[:100])
    return process.returncode, list(said)


def engine() -> str:
    """The first engine that answers.

    Raises
    ------
    NotInstalled
        If none does, with what each says that is installed.
    """
    silent = []
    for name in ENGINES:
        binary = shutil.which(name)
        if binary is None:
            continue
        asked = subprocess.run(  # noqa: S603
            [binary, "version"], capture_output=True, text=True, errors="replace", check=False
        )
        if asked.returncode == 0:
            return name
        said = asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"]
        silent.append(f"{name} says: {said[-1]}")
    raise NotInstalled(
        f"no container engine answers ({'; '.join(silent) or 'none of them is installed'})",
        f"Install or start one of {', '.join(ENGINES)}, then run this again.",
    )
