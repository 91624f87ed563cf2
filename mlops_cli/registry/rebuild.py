"""A version's pipeline run again in a clean clone, and what came out compared with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlops_cli.errors import NotFound
from mlops_cli.layout import Layout
from mlops_cli.project.dvc_lock import Lock, hash_of, lock_at
from mlops_cli.project.dvc_objects import file_md5
from mlops_cli.project.git import Git
from mlops_cli.project.locks import lock
from mlops_cli.project.remote_objects import RemoteObjects
from mlops_cli.registry.fetch_bundle import bundle_md5, pull_bundle
from mlops_cli.reporting import Progress, Silent

if TYPE_CHECKING:
    from mlops_cli.registry.versions import Version

__all__ = ["RebuildResult", "RebuiltMetric", "rebuild"]

Verdict = Literal["reproduced to the byte", "same metrics, other bytes", "not reproduced"]

_TAIL = 20
_ALLOWED = re.compile(
    "LANG|LANGUAGE|LC_[A-Z]+|TZ|LD_LIBRARY_PATH|PYTHONHASHSEED|PYTHONUTF8|SSL_CERT_(FILE|DIR)"
    "|(OMP|OPENBLAS|MKL|NUMEXPR|POLARS|RAYON)_(NUM|MAX)_THREADS"
)
"""Names of the environment that a rebuild keeps: language, libraries' places, threads."""


@dataclass(frozen=True)
class RebuiltMetric:
    """A test metric: as stated with its interval, and as it came out again."""

    metric: str
    stated: float
    low: float
    high: float
    again: float | None

    @property
    def inside(self) -> bool:
        """Whether what came out lies in the stated interval."""
        return self.again is not None and self.low <= self.again <= self.high


@dataclass(frozen=True)
class RebuildResult:
    """What a rebuild gave.

    Attributes
    ----------
    files
        The bundle's files -> whether their bytes are the same.
    outputs
        Of all that the pipeline makes, what has other bytes.
    libraries
        (name, version then, version now) where they differ.
    """

    verdict: Verdict
    said: str
    files: Mapping[str, bool]
    outputs: tuple[str, ...] = ()
    metrics: tuple[RebuiltMetric, ...] = ()
    libraries: tuple[tuple[str, str, str], ...] = ()


def rebuild(
    root: Path, version: Version, remote: str | None = None, progress: Progress | None = None
) -> RebuildResult:
    """Run the version's pipeline in a clone of its commit, with an empty cache, and compare.

    The code is the commit's where the commit holds it, the libraries are those installed here.
    Only data that no stage makes (``*.dvc`` files) is taken from DVC's cache or remote. The
    commands are the version's: they see no variable of the environment but a few harmless ones,
    and an empty home. Files of whoever runs this they can read, so a version that isn't trusted
    belongs into a container.

    Raises
    ------
    NotFound
        If the version's commit has no model, or such data is missing.
    Busy
        If another rebuild is at work.
    """
    progress = progress or Silent()
    bundle_md5(root, version)
    lock = lock_at(root, version.commit)
    if lock is None:
        raise NotFound(f"{version.label} has no dvc.lock", "Register another version.")
    original = pull_bundle(root, version, remote=remote, progress=progress)
    with _cloned(root, version.commit) as clone:
        _place(lock, clone, RemoteObjects(root, remote, progress), version)
        failure = _reproduce(clone, len(lock.stages), progress)
        if failure is not None:
            return RebuildResult("not reproduced", failure, {})
        return _compared(lock, version, original, clone, Git(root))


@contextmanager
def _cloned(root: Path, commit: str) -> Iterator[Path]:
    """A clone at a commit, on the project's disk, with a DVC cache of its own."""
    git, work = Git(root), Layout(root).work
    top = git.run("rev-parse", "--show-toplevel").strip()
    prefix = git.run("rev-parse", "--show-prefix").strip()
    folder = work / "rebuild"
    with lock(work / "rebuild.lock", "the rebuild of a version"):
        shutil.rmtree(folder, ignore_errors=True)  # a killed one's
        folder.mkdir(parents=True)
        try:
            # Hooks are of this clone's owner and not of the commit.
            git.run("clone", "--quiet", "--no-checkout", "--shared", top, str(folder / "clone"))
            Git(folder / "clone").run(
                "-c", "core.hooksPath=/dev/null", "checkout", "--quiet", "--detach", commit
            )
            clone = folder / "clone" / prefix
            if not (clone / ".dvc").is_dir():
                raise NotFound(f"commit {commit[:9]} is not under DVC", "Name another version.")
            (clone / ".dvc" / "config.local").write_text("[cache]\n    dir = cache\n")
            yield clone
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _place(lock: Lock, clone: Path, objects: RemoteObjects, version: Version) -> None:
    """Put the raw data where the pipeline reads it."""
    brought = objects.bring({md5: path for path, md5 in lock.sources.items()}, lock.sizes)
    if brought.missing:
        raise brought.refusal(f"the data of {version.label}")
    for path, md5 in lock.sources.items():
        objects.copy(md5, clone / path, path)


def _reproduce(clone: Path, stages: int, progress: Progress) -> str | None:
    """Run every stage; give a sentence of what went wrong, if anything did."""
    environment = _environment(clone)
    tail: deque[str] = deque(maxlen=_TAIL)
    done = -1
    progress.update("running the pipeline again", done=0, total=stages)
    with subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache"],
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as run:
        for line in run.stdout or ():
            if stage := re.match(r"Running stage '([^']+)'", line):
                done += 1
                progress.update(f"running {stage[1]} again", done=done, total=stages)
            elif line.strip():
                tail.append(line.strip())
    if not run.returncode:
        return None
    errors = [line for line in tail if line.lower().startswith("error")] or list(tail)[-1:]
    return f"the pipeline failed in a clean clone: {' '.join(errors)[:500]}"


def _environment(clone: Path) -> dict[str, str]:
    """What the version's commands may know of here: nothing that is or leads to a secret."""
    home = clone.parent / "home"
    for folder in (home, clone.parent / "tmp"):
        folder.mkdir(parents=True, exist_ok=True)
    own = str(Path(sys.executable).parent)
    return {
        **{name: value for name, value in os.environ.items() if _ALLOWED.fullmatch(name)},
        "PATH": own + os.pathsep + os.environ.get("PATH", os.defpath),
        # Code in the commit is what runs, before what is installed.
        "PYTHONPATH": str(clone),
        "HOME": str(home),
        "TMPDIR": str(clone.parent / "tmp"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "DVC_NO_ANALYTICS": "true",
        "DVC_SITE_CACHE_DIR": str(clone.parent / "site-cache"),
        "BENTOML_DO_NOT_TRACK": "true",
        "MLOPS_OUTPUT": "brief",
    }


def _compared(lock: Lock, version: Version, original: Path, clone: Path, git: Git) -> RebuildResult:
    again = Layout(clone)
    files = _same(original, again.model)
    made = {e.path: e.md5 for e in lock.entries if e.made}
    outputs = tuple(sorted(p for p, md5 in made.items() if hash_of(clone, p) != md5))
    relative = again.metrics.relative_to(clone).as_posix()
    metrics = _figures(git.read(version.commit, relative), again.metrics)
    libraries = _libraries(original, again.model)
    same = bool(files) and all(files.values())
    if same:
        verdict: Verdict = "reproduced to the byte"
        said = f"all {len(files)} files of the bundle are the same, byte by byte"
        if outputs:
            said += f"; other bytes in {', '.join(outputs)}"
    else:
        close = bool(metrics) and all(figure.inside for figure in metrics)
        verdict = "same metrics, other bytes" if close else "not reproduced"
        other = sorted(name for name, equal in files.items() if not equal)
        figures = "all metrics lie" if close else "not all metrics lie"
        said = f"other bytes in {', '.join(other)}; {figures} in the intervals stated"
        if libraries:
            said += f"; other libraries: {', '.join(name for name, _, _ in libraries)}"
    return RebuildResult(verdict, said, files, outputs, metrics, libraries)


def _same(one: Path, other: Path) -> dict[str, bool]:
    """Path below either folder -> whether both have the same bytes there."""
    names = {
        path.relative_to(folder).as_posix()
        for folder in (one, other)
        for path in folder.rglob("*")
        if path.is_file()
    }
    return {
        name: (one / name).is_file()
        and (other / name).is_file()
        and file_md5(one / name) == file_md5(other / name)
        for name in sorted(names)
    }


def _figures(stated: str | None, again: Path) -> tuple[RebuiltMetric, ...]:
    try:
        then = json.loads(stated or "{}").get("model", {})
        now = json.loads(again.read_text(encoding="utf-8")).get("model", {})
    except (OSError, ValueError):
        return ()
    return tuple(
        RebuiltMetric(name, m["value"], m["low"], m["high"], now.get(name, {}).get("value"))
        for name, m in then.items()
    )


def _libraries(one: Path, other: Path) -> tuple[tuple[str, str, str], ...]:
    then, now = _versions(one), _versions(other)
    return tuple(
        (name, then.get(name, "none"), now.get(name, "none"))
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    )


def _versions(bundle: Path) -> dict[str, str]:
    try:
        tree: Any = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
        return dict(tree["facts"].get("versions", {}))
    except (OSError, ValueError, KeyError):
        return {}
