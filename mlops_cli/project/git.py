"""Runs the ``git`` command."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlops_cli.data.urls import scrub
from mlops_cli.errors import BadParams, MlopsError, NotProject

__all__ = ["Git", "GitFailed", "GitMissing"]

_CHUNK = 1 << 16
_POLL_SECONDS = 0.2
"""Seconds between two checks whether a bounded command has to end."""
_MAX_SHOWN = 40
"""Characters shown of a name that is too long, in an error."""


class GitFailed(MlopsError):
    """A Git command failed; ``stderr`` is what it wrote there."""

    def __init__(self, command: str, stderr: str, exit_code: int) -> None:
        stderr = scrub(stderr)  # a remote's address may hold a password
        line = " ".join(stderr.split()) or f"exit code {exit_code}"
        super().__init__(f"`git {command}` failed: {line}", "Correct it, then run again.")
        self.stderr = stderr


class GitMissing(MlopsError):
    """Git isn't installed."""

    def __init__(self) -> None:
        super().__init__("there is no `git` to be run", "Install Git.")


class Git:
    """The Git repository that contains a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(
        self,
        *arguments: str,
        stdin: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run a Git command; return its stdout unchanged.

        Raises
        ------
        GitFailed
            If its exit code isn't 0.
        """
        result = self._run(arguments, stdin, environment)
        if result.returncode:
            raise GitFailed(_subcommand(arguments), _decode(result.stderr), result.returncode)
        return _decode(result.stdout)

    def run_bytes(self, *arguments: str, stdin: bytes) -> bytes:
        """Run a Git command with binary output; return its stdout unchanged.

        Raises
        ------
        GitFailed
            If its exit code isn't 0.
        """
        result = self._run_bytes(arguments, stdin, None)
        if result.returncode:
            raise GitFailed(_subcommand(arguments), _decode(result.stderr), result.returncode)
        return result.stdout

    def try_run(self, *arguments: str) -> str | None:
        """Run a command; return its stripped stdout, or None if it fails."""
        result = self._run(arguments, None, None)
        return None if result.returncode else _decode(result.stdout).strip()

    def records(self, *arguments: str) -> Generator[str, None, None]:
        """Run a command with ``-z``; yield its records one by one.

        Git is killed when the generator is closed, so an endless output does no harm.
        """
        with self._start(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            rest = b""
            try:
                while chunk := process.stdout.read(_CHUNK):
                    *complete, rest = (rest + chunk).split(b"\0")
                    yield from map(_decode, complete)
            finally:
                process.kill()

    def run_unchecked(
        self, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> tuple[int, str, str]:
        """Run a command that may fail; return its exit code, stdout and stderr."""
        result = self._run(arguments, None, environment)
        return result.returncode, _decode(result.stdout), _decode(result.stderr)

    def run_with_timeout(
        self, *arguments: str, timeout: float, stop_event: threading.Event
    ) -> tuple[int | None, str]:
        """Run a command and its children for a limited time; return its exit code and stderr.

        The exit code is None if ``timeout`` seconds were over, or ``stop_event`` was set.
        """
        # A file, because children of a killed Git would keep a pipe open.
        with tempfile.TemporaryFile() as errors:
            process = self._start(
                arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
                start_new_session=True,
            )  # fmt: skip
            deadline, code = time.monotonic() + timeout, None
            while code is None and time.monotonic() < deadline and not stop_event.is_set():
                with suppress(subprocess.TimeoutExpired):
                    code = process.wait(_POLL_SECONDS)
            if code is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            errors.seek(0)
            return code, scrub(_decode(errors.read(_CHUNK)))

    def _run(
        self,
        arguments: tuple[str, ...],
        text: str | None,
        environment: Mapping[str, str] | None,
    ) -> subprocess.CompletedProcess[bytes]:
        return self._run_bytes(arguments, (text or "").encode(), environment)

    def _run_bytes(
        self, arguments: tuple[str, ...], content: bytes, environment: Mapping[str, str] | None
    ) -> subprocess.CompletedProcess[bytes]:
        pipe = subprocess.PIPE
        with self._start(arguments, environment, stdin=pipe, stdout=pipe, stderr=pipe) as process:
            try:
                stdout, stderr = process.communicate(content)
            except BaseException:
                process.kill()
                raise
        result = subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)
        if result.returncode and b"dubious ownership" in result.stderr:
            # For any command: callers would take the failure for an empty result.
            raise NotProject(
                f"Git doesn't read the repository of {self.root}, as another user owns it",
                f"If you trust it: git config --global --add safe.directory {self._quoted_top()}",
            )
        return result

    def _start(
        self,
        arguments: tuple[str, ...],
        environment: Mapping[str, str] | None = None,
        **streams: Any,
    ) -> subprocess.Popen[bytes]:
        """Start Git in the folder, unless that is unsafe."""
        self._refuse_bare()
        variables = {**_git_environment(), **(environment or {})}
        try:
            return subprocess.Popen(["git", *arguments], cwd=self.root, env=variables, **streams)  # noqa: S603, S607
        except FileNotFoundError:
            if not self.root.is_dir():
                raise NotProject(f"there is no folder {self.root}", "Name another.") from None
            raise GitMissing from None
        except OSError as error:
            if error.errno != errno.E2BIG:
                raise
            longest = max(arguments, key=len)
            raise BadParams(
                f"a name or message of {len(longest):,} characters is too long for Git: "
                f"{longest[:_MAX_SHOWN]!r}...",
                "Shorten it.",
            ) from None

    def _refuse_bare(self) -> None:
        """Refuse a folder that Git takes for a bare repository: its settings run commands.

        A repository may track such files, and Git looks for them in each folder on its way up.
        """
        root = self.root.resolve()
        for folder in (root, *root.parents):
            if os.path.lexists(folder / ".git"):
                return
            if os.path.lexists(folder / "HEAD") and any(
                os.path.lexists(folder / name) for name in ("objects", "commondir")
            ):
                raise NotProject(
                    f"{folder} looks like a repository of Git's without files (HEAD, objects), "
                    "whose settings could run anything",
                    "Don't trust it; or work in a clone of it.",
                )

    def _quoted_top(self) -> str:
        """The repository's top folder, found without Git and quoted for a shell."""
        folders = (self.root.resolve(), *self.root.resolve().parents)
        return shlex.quote(str(next((f for f in folders if (f / ".git").exists()), self.root)))

    def resolve(self, revision: str) -> str | None:
        """The commit hash of a revision, 40 hexadecimal digits; None if there is none."""
        return self.try_run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}"
        )

    def read(self, revision: str, path: str) -> str | None:
        """The stripped text of a file below this folder at a revision; None if it isn't there."""
        # With ./ a path is relative to this folder, not to the repository's top.
        return self.try_run("show", f"{revision}:./{path}")

    def identity(self) -> str:
        """The committer, as ``Name <address>``.

        Raises
        ------
        NotProject
            If no name or address is configured.
        """
        identity = self.try_run("var", "GIT_COMMITTER_IDENT")
        email = os.environ.get("GIT_COMMITTER_EMAIL") or os.environ.get("EMAIL")
        if not identity or not (email or self.try_run("config", "user.email")):
            raise NotProject(
                "Git doesn't know who you are, and a registry says who did what",
                "Tell it: git config user.name NAME; git config user.email ADDRESS",
            )
        return identity.rpartition(" ")[0].rpartition(" ")[0]

    def branch(self) -> str | None:
        """The checked-out branch; None on a detached HEAD."""
        return self.try_run("symbolic-ref", "--quiet", "--short", "HEAD")

    def is_shallow(self) -> bool:
        """Whether the clone lacks part of its history."""
        return self.try_run("rev-parse", "--is-shallow-repository") == "true"

    def remote(self) -> str | None:
        """The branch's remote, else ``origin``, else the only one; None if none of these exists."""
        remotes = (self.try_run("remote") or "").split()
        branch = self.branch()
        configured = self.try_run("config", f"branch.{branch}.remote") if branch else None
        for name in (configured, "origin"):
            if name in remotes:
                return name
        return remotes[0] if len(remotes) == 1 else None


def _git_environment() -> dict[str, str]:
    # Messages are parsed, so they must not be translated. Nobody can type a password here.
    # Objects that `git replace` puts in the place of others would show another history.
    settings = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_REPLACE_OBJECTS": "1"}
    return {**os.environ, **settings}


def _subcommand(arguments: tuple[str, ...]) -> str:
    """The Git subcommand: the first word that is no option and no setting (``-c key=value``)."""
    settings = {i + 1 for i, a in enumerate(arguments) if a == "-c"}
    words = (a for i, a in enumerate(arguments) if not a.startswith("-") and i not in settings)
    return next(words, "")


def _decode(output: bytes) -> str:
    return output.decode("utf-8", errors="replace").replace("\r\n", "\n")
