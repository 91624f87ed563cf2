"""DVC in this process: brings stages up to date, and lists what changed.

It uses DVC's Python objects instead of its command, so that a run with nothing to do starts one
interpreter and not two, and so that errors arrive as exceptions. It calls only what DVC's own
commands call.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.data.atomic_files import is_full
from mlops_cli.errors import (
    BadParams,
    Busy,
    DiskFull,
    MlopsError,
    NotFound,
    NotProject,
    StageFailed,
)
from mlops_cli.project.dvc_files import checked_repo, refuse_dvc_errors, refuse_files
from mlops_cli.project.ignore_files import refuse_ignores
from mlops_cli.project.tracked import refuse_unsafe, tracked_files

if TYPE_CHECKING:
    from dvc.repo import Repo

__all__ = [
    "UnsavedOutputs",
    "changes",
    "keep_outputs",
    "open_repo",
    "reproduce",
    "unsaved_outputs",
    "use_site_cache",
]

_MAX_SHOWN = 5

StageContext = Callable[[Sequence[str]], AbstractContextManager[None]]


class UnsavedOutputs(NotProject):
    """Files in the place of outputs have no other copy; DVC removed none of them."""

    def __init__(self, files: Sequence[str]) -> None:
        more = f" and {len(files) - _MAX_SHOWN} more" if len(files) > _MAX_SHOWN else ""
        super().__init__(
            f"files are in the place of outputs and not in DVC's cache, so nothing of them is "
            f"overwritten: {', '.join(files[:_MAX_SHOWN])}{more}",
            "Move them elsewhere, or remove them if you don't need them; then run again.",
        )


@contextmanager
def open_repo(root: Path, *, index: bool = True, allow_outside: bool = False) -> Iterator[Repo]:
    """The DVC repository of a project, with DVC's errors translated into ours.

    Parameters
    ----------
    index
        Whether the project's stages and data are needed. They are checked at their first use.
    allow_outside
        Whether stages may read paths outside of the repository, as in commands that run them.

    Raises
    ------
    NotProject
        If the folder is not under DVC, or not under Git.
    Busy
        If another DVC command holds its lock.
    BadParams
        If ``dvc.yaml`` can't be read.
    DataRefused
        If a file names what must not be read or written, such as a path outside.
    """
    use_site_cache()
    # Turn off DVC's usage data here; for DVC's own commands .dvc/config does it.
    os.environ["DVC_NO_ANALYTICS"] = "true"
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.lock import LockError
    from dvc.scm import NoSCM
    from dvc.utils.strictyaml import YAMLValidationError

    # Errors arrive as exceptions; log lines would repeat them.
    for name in ("dvc", "dvc_data", "dvc_objects"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    refuse_unsafe(root)
    names = tracked_files(root)
    refuse_ignores(root, names)
    if index:
        refuse_files(root, names)
    try:
        # DVC reads params.yaml from the current folder, not from its root.
        with (
            contextlib.chdir(root),
            _make_repo(root, index=index, allow_outside=allow_outside) as repo,
        ):
            if isinstance(repo.scm, NoSCM):
                raise NotProject(f"{root} is not under Git", "Run `git init` there.")
            yield repo
    except NotDvcRepoError:
        raise NotProject(f"{root} is not under DVC", "Run `dvc init` there.") from None
    except LockError as error:
        raise Busy(
            f"another DVC command is at work in {root} ({_one_line(error)})",
            "Wait until it has ended, then run again.",
        ) from None
    except YAMLValidationError as error:
        raise BadParams(f"dvc.yaml: {_one_line(error)}", "Correct it, then run again.") from None
    except (DvcException, OSError) as error:
        raise _translate(error, root) from error


def _make_repo(root: Path, *, index: bool, allow_outside: bool) -> Repo:
    from dvc.repo import Repo

    return checked_repo(root, allow_outside=allow_outside) if index else Repo(str(root))


def use_site_cache() -> None:
    """Set DVC's folder for databases to the user's own, because DVC unpickles what is in them.

    By default DVC uses one that all users share, or that a repository's settings name.
    """
    if os.environ.get("DVC_SITE_CACHE_DIR"):
        return
    import platformdirs

    folder = platformdirs.user_cache_path("mlops-cli") / "dvc"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:  # no home that can be written to
        name = getattr(os, "getuid", lambda: "user")()
        folder = Path(tempfile.gettempdir()) / f"mlops-cli-dvc-{name}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            raise MlopsError(
                f"{folder} is somebody else's", "Set DVC_SITE_CACHE_DIR to a folder of yours."
            ) from None
    os.environ["DVC_SITE_CACHE_DIR"] = str(folder)


def reproduce(
    root: Path,
    target: str | None,
    *,
    force: bool = False,
    stage_context: StageContext | None = None,
) -> list[str]:
    """Bring a stage and its dependencies (by default all stages) up to date.

    Parameters
    ----------
    stage_context
        Makes a context from the outputs of a stage; the stage is brought up to date in it.

    Returns
    -------
    list of str
        The stages that were run or restored; empty if nothing had changed.

    Raises
    ------
    StageFailed
        With the exit code of the stage.
    """
    _put_on_path()

    def run_stage(stage: Any, **options: Any) -> Any:
        outputs = [_relative_path(out, root) for out in stage.outs if out.is_in_repo]
        with stage_context(outputs) if stage_context else contextlib.nullcontext():
            result = stage.reproduce(**options)
            if result:
                stage.dump(update_pipeline=False)
        return result

    with open_repo(root, allow_outside=True) as repo:
        stages = repo.reproduce(
            targets=target, force=force, **({"repro_fn": run_stage} if stage_context else {})
        )
        return [stage.addressing for stage in stages]


def keep_outputs(repo: Repo, root: Path) -> list[str]:
    """Put outputs that match `dvc.lock` into DVC's cache, where it lacks them.

    Returns
    -------
    list of str
        The outputs that the workspace lacks.
    """
    missing = []
    with repo.lock:
        for out in repo.index.outs:
            if not out.use_cache or not out.is_in_repo:
                continue
            if not out.exists:
                missing.append(_relative_path(out, root))
            elif out.changed_cache() and not out.changed_checksum():
                out.commit()
    return missing


def unsaved_outputs(repo: Repo) -> list[str]:
    """Outputs whose content is neither in `dvc.lock` nor in DVC's cache: there is no other copy."""
    from dvc_data.hashfile.build import build

    unsaved = []
    for out in repo.index.outs:
        if not (out.use_cache and out.is_in_repo and out.exists) or not out.changed_checksum():
            continue
        ignore = out.dvcignore
        _, _, tree = build(
            out.cache, out.fs_path, out.fs, out.hash_name, ignore=ignore, dry_run=True
        )
        hashes = [oid for _, _, oid in tree] if hasattr(tree, "as_list") else [tree.hash_info]
        if not all(out.cache.exists(oid.value) for oid in hashes):
            unsaved.append(_relative_path(out, Path(repo.root_dir)))
    return sorted(unsaved)


def changes(root: Path) -> dict[str, list[str]]:
    """Stage -> what changed since ``dvc.lock``, as phrases; stages up to date are left out."""
    with open_repo(root) as repo, refuse_dvc_errors(root):
        status: dict[str, list[Any]] = repo.status()
        # For a stage without a record, DVC reports what never existed as new, or as deleted.
        new = {s.addressing for s in repo.index.stages if s.cmd and not _is_recorded(s)}
    return {
        stage: ["it has never run"]
        if stage in new
        else [w for entry in entries for w in _describe_status(entry)]
        for stage, entries in status.items()
    }


def _is_recorded(stage: Any) -> bool:
    return any(out.hash_info for out in (*stage.outs, *stage.deps))


def _relative_path(out: Any, root: Path) -> str:
    return Path(os.path.relpath(out.fspath, root.resolve())).as_posix()


def _describe_status(entry: Any) -> Iterator[str]:
    """DVC's nested status as short phrases."""
    if isinstance(entry, str):
        yield entry
        return
    for kind, items in entry.items():
        for path, state in items.items():
            if isinstance(state, dict):
                yield from (f"{key} is {change}" for key, change in state.items())
            else:
                yield f"{path} is {state}" + (" (output)" if "outs" in kind else "")


def _translate(error: BaseException, root: Path) -> MlopsError:
    """Our error for an error of DVC's, by the chain of its causes."""
    from dvc.stage.exceptions import StageCmdFailedError

    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    stage = re.search(r"failed to reproduce '([^']+)'", str(error))
    for cause in chain:
        if isinstance(cause, MlopsError):
            return cause
        if isinstance(cause, StageCmdFailedError):
            status = re.search(r"exited with (-?\d+)", str(cause))
            return StageFailed(stage[1] if stage else "?", int(status[1]) if status else 1)
        if isinstance(cause, FileNotFoundError) and stage and cause.filename:
            missing = os.path.relpath(cause.filename, root)
            return NotFound(
                f"stage {stage[1]} reads {missing}, which is not there",
                "Bring it with `mlops pull`, or run the stage that makes it.",
            )
        if is_full(cause):
            return DiskFull(
                "no space is left on the disk to keep results in DVC's cache",
                "Free some space (`dvc gc -w` drops what no commit needs) and run again; "
                "finished stages stay done.",
            )
    return _translate_message(error, chain)


def _translate_message(error: BaseException, chain: Sequence[BaseException]) -> MlopsError:
    """Our error by the message of DVC's, where no cause identifies it."""
    if isinstance(error, OSError) or "is not a git repository" in str(error):
        message, hint = _one_line(error), "Run `git init` there."
        if isinstance(error, OSError):
            message = f"DVC cannot use {error.filename}: {error.strerror or message}"
            hint = "See that it is a file or folder that you may read and write."
        return NotProject(message, hint)
    first, *files = str(error).splitlines() or [""]
    if "unsaved files" in first and files:
        return UnsavedOutputs(files)
    text = "; ".join(dict.fromkeys(_one_line(cause) for cause in chain))
    if any(isinstance(cause, _file_errors()) for cause in chain):
        return BadParams(f"DVC cannot use the project's files: {text}", "Correct them.")
    busy = any(type(cause).__name__ == "LockError" for cause in chain)
    if busy:
        return Busy(f"another DVC command is at work ({text})", "Wait until it has ended.")
    return MlopsError(f"DVC could not do it: {text}", "`dvc doctor` and --debug tell more.")


def _file_errors() -> tuple[type[BaseException], ...]:
    """DVC's errors for invalid files: settings, stages, and what stages read and write."""
    from dvc import exceptions as common
    from dvc.config import ConfigError
    from dvc.parsing import ResolveError
    from dvc.stage import exceptions as stages

    return (
        ConfigError,
        ResolveError,
        common.CircularDependencyError,
        common.CyclicGraphError,
        common.OutputDuplicationError,
        common.OverlappingOutputPathsError,
        common.StageNotFoundError,
        common.StagePathAsOutputError,
        stages.DuplicateStageName,
        stages.InvalidStageName,
        stages.MissingDataSource,
        stages.StageFileBadNameError,
        stages.StageFileDoesNotExistError,
        stages.StageFileIsNotDvcFileError,
        stages.StageNotFound,
        stages.StagePathNotDirectoryError,
        stages.StagePathNotFoundError,
        stages.StagePathOutsideError,
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _put_on_path() -> None:
    """Let DVC's shell find this very `mlops`, even if the venv isn't activated."""
    folder = str(Path(sys.executable).parent)
    if shutil.which("mlops") != str(Path(folder) / "mlops"):
        os.environ["PATH"] = folder + os.pathsep + os.environ.get("PATH", "")
