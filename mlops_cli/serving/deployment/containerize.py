"""`mlops serve containerize`: builds a Bento's image with BentoML and a local container engine."""

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
"""Container engines that BentoML supports; the first one that works is used."""


def containerize(layout: Layout, tag: str, image: str, progress: Progress | None = None) -> str:
    """Build the image of a Bento in the store; return the name of the engine.

    Parameters
    ----------
    tag
        The Bento's tag, NAME:VERSION.
    image
        Name of the image, NAME:TAG.

    Raises
    ------
    NotInstalled
        If no container engine works.
    MlopsError
        If the engine can't build the image.
    """
    progress = progress or Silent()
    chosen = engine()
    arguments = ["containerize", tag, "--backend", chosen, "--image-tag", image]
    progress.update(f"the image, by {chosen}")
    with tempfile.TemporaryDirectory(prefix="mlops-image-") as folder:
        code, last_lines = _run_bentoml(arguments, folder, environment(layout), progress)
    if code:
        raise MlopsError(
            f"{chosen} could not make the image {image}: {' / '.join(last_lines)[-400:]}",
            "See all that it says: cd /tmp && "
            f"BENTOML_DO_NOT_TRACK=true BENTOML_HOME={shlex.quote(str(bento_home(layout)))} "
            f"bentoml {shlex.join(arguments)}",
        )
    return chosen


def _run_bentoml(
    arguments: list[str], folder: str, variables: dict[str, str], progress: Progress
) -> tuple[int, list[str]]:
    """Run BentoML; return its exit code and the last lines of its output.

    BentoML unpacks the Bento into a temporary folder. It reads the Dockerfile's template there only
    if that folder is below the current one (github.com/bentoml/BentoML/issues/5566).
    """
    folder = str(Path(folder).resolve())
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-W", "ignore", "-m", "bentoml", *arguments],
        cwd=folder,
        env=variables | {"TMPDIR": folder},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        last_lines: deque[str] = deque(maxlen=3)
        for line in process.stdout:
            if line.strip():
                last_lines.append(line.strip())
                progress.update(line.strip()[:100])
    return process.returncode, list(last_lines)


def engine() -> str:
    """Return the first container engine that works.

    Raises
    ------
    NotInstalled
        If none works; the message has the error of each installed engine.
    """
    failures = []
    for name in ENGINES:
        binary = shutil.which(name)
        if binary is None:
            continue
        process = subprocess.run(  # noqa: S603
            [binary, "version"], capture_output=True, text=True, errors="replace", check=False
        )
        if process.returncode == 0:
            return name
        lines = process.stderr.strip().splitlines() or [f"exit code {process.returncode}"]
        failures.append(f"{name} says: {lines[-1]}")
    raise NotInstalled(
        f"no container engine answers ({'; '.join(failures) or 'none of them is installed'})",
        f"Install or start one of {', '.join(ENGINES)}, then run this again.",
    )
