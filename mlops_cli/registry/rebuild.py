"""Rebuild a version: run its pipeline in a clean clone and compare the outputs."""

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
"""Environment variables that a rebuild passes on: language, library paths, threads."""


@dataclass(frozen=True)
class RebuiltMetric:
    """A test metric: the stated value with its interval, and the value of the rebuild."""

    metric: str
    stated: float
    low: float
    high: float
    again: float | None

    @property
    def in_interval(self) -> bool:
        """Whether the rebuild's value lies in the stated interval."""
        return self.again is not None and self.low <= self.again <= self.high


@dataclass(frozen=True)
class RebuildResult:
    """Result of a rebuild.

    Attributes
    ----------
    files
        File of the bundle -> whether its bytes are the same.
    outputs
        Outputs of the pipeline whose bytes differ.
    libraries
        (name, version then, version now) of each library that differs.
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

    Code comes from the commit, if the commit contains it; libraries are those installed here.
    Only data that no stage makes (``*.dvc`` files) comes from DVC's cache or remote. The commands
    are the version's own. They get only a few harmless environment variables and an empty home
    folder, but they can read the user's files: rebuild an untrusted version in a container.

    Raises
    ------
    NotFound
        If the version's commit has no model, or data that no stage makes is missing.
    Busy
        If another rebuild is running.
    """
    progress = progress or Silent()
    bundle_md5(root, version)
    lock = lock_at(root, version.commit)
    if lock is None:
        raise NotFound(f"{version.label} has no dvc.lock", "Register another version.")
    original = pull_bundle(root, version, remote=remote, progress=progress)
    with _clone_commit(root, version.commit) as clone:
        _place_sources(lock, clone, RemoteObjects(root, remote, progress), version)
        failure = _run_pipeline(clone, len(lock.stages), progress)
        if failure is not None:
            return RebuildResult("not reproduced", failure, {})
        return _compare_outputs(lock, version, original, clone, Git(root))


@contextmanager
def _clone_commit(root: Path, commit: str) -> Iterator[Path]:
    """A clone at a commit, on the project's disk, with a DVC cache of its own."""
    git, work = Git(root), Layout(root).work
    top = git.run("rev-parse", "--show-toplevel").strip()
    prefix = git.run("rev-parse", "--show-prefix").strip()
    folder = work / "rebuild"
    with lock(work / "rebuild.lock", "the rebuild of a version"):
        shutil.rmtree(folder, ignore_errors=True)  # left by a killed rebuild
        folder.mkdir(parents=True)
        try:
            # Hooks come from the user's Git settings, not from the commit: run none.
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


def _place_sources(lock: Lock, clone: Path, objects: RemoteObjects, version: Version) -> None:
    """Put the raw data where the pipeline reads it."""
    transfer = objects.fetch({md5: path for path, md5 in lock.sources.items()}, lock.sizes)
    if transfer.missing:
        raise transfer.missing_error(f"the data of {version.label}")
    for path, md5 in lock.sources.items():
        objects.copy(md5, clone / path, path)


def _run_pipeline(clone: Path, stages: int, progress: Progress) -> str | None:
    """Run every stage; return a sentence on what went wrong, or None."""
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
    """Environment of the version's commands: nothing that is a secret or leads to one."""
    home = clone.parent / "home"
    for folder in (home, clone.parent / "tmp"):
        folder.mkdir(parents=True, exist_ok=True)
    bin_folder = str(Path(sys.executable).parent)
    return {
        **{name: value for name, value in os.environ.items() if _ALLOWED.fullmatch(name)},
        "PATH": bin_folder + os.pathsep + os.environ.get("PATH", os.defpath),
        # The commit's code takes precedence over installed packages.
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


def _compare_outputs(
    lock: Lock, version: Version, original: Path, clone: Path, git: Git
) -> RebuildResult:
    rebuilt = Layout(clone)
    files = _compare_files(original, rebuilt.model)
    hashes = {e.path: e.md5 for e in lock.entries if e.is_output}
    outputs = tuple(sorted(p for p, md5 in hashes.items() if hash_of(clone, p) != md5))
    relative = rebuilt.metrics.relative_to(clone).as_posix()
    metrics = _compare_metrics(git.read(version.commit, relative), rebuilt.metrics)
    libraries = _differing_libraries(original, rebuilt.model)
    same = bool(files) and all(files.values())
    if same:
        verdict: Verdict = "reproduced to the byte"
        message = f"all {len(files)} files of the bundle are the same, byte by byte"
        if outputs:
            message += f"; other bytes in {', '.join(outputs)}"
    else:
        close = bool(metrics) and all(figure.in_interval for figure in metrics)
        verdict = "same metrics, other bytes" if close else "not reproduced"
        changed = sorted(name for name, equal in files.items() if not equal)
        figures = "all metrics lie" if close else "not all metrics lie"
        message = f"other bytes in {', '.join(changed)}; {figures} in the intervals stated"
        if libraries:
            message += f"; other libraries: {', '.join(name for name, _, _ in libraries)}"
    return RebuildResult(verdict, message, files, outputs, metrics, libraries)


def _compare_files(one: Path, other: Path) -> dict[str, bool]:
    """Path below either folder -> whether the file is the same in both."""
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


def _compare_metrics(stated: str | None, rebuilt: Path) -> tuple[RebuiltMetric, ...]:
    try:
        then = json.loads(stated or "{}").get("model", {})
        now = json.loads(rebuilt.read_text(encoding="utf-8")).get("model", {})
    except (OSError, ValueError):
        return ()
    return tuple(
        RebuiltMetric(name, m["value"], m["low"], m["high"], now.get(name, {}).get("value"))
        for name, m in then.items()
    )


def _differing_libraries(one: Path, other: Path) -> tuple[tuple[str, str, str], ...]:
    then, now = _library_versions(one), _library_versions(other)
    return tuple(
        (name, then.get(name, "none"), now.get(name, "none"))
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    )


def _library_versions(bundle: Path) -> dict[str, str]:
    try:
        tree: Any = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
        return dict(tree["facts"].get("versions", {}))
    except (OSError, ValueError, KeyError):
        return {}
