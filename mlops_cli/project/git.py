"""Git, asked by its own command."""

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

_PART = 1 << 16
_STEP = 0.2
"""Seconds between two looks whether a bounded command shall end."""
_SHOWN = 40
"""Characters of a name that is too long, in an error."""


class GitFailed(MlopsError):
    """Git said no; ``said`` is what it wrote on stderr."""

    def __init__(self, command: str, said: str, code: int) -> None:
        said = scrub(said)  # a remote's address may hold a password
        line = " ".join(said.split()) or f"exit code {code}"
        super().__init__(f"`git {command}` failed: {line}", "Mend it, then run again.")
        self.said = said


class GitMissing(MlopsError):
    """There is no Git on this machine."""

    def __init__(self) -> None:
        super().__init__("there is no `git` to be run", "Install Git.")


class Git:
    """The Git repository that a folder lies in."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(
        self,
        *arguments: str,
        given: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run a Git command; give its stdout as it is.

        Raises
        ------
        GitFailed
            If its exit code isn't 0.
        """
        done = self._run(arguments, given, environment)
        if done.returncode:
            raise GitFailed(_command(arguments), _text(done.stderr), done.returncode)
        return _text(done.stdout)

    def run_bytes(self, *arguments: str, given: bytes) -> bytes:
        """Run a Git command whose output is no text; give its stdout as it is.

        Raises
        ------
        GitFailed
            If its exit code isn't 0.
        """
        done = self._run_bytes(arguments, given, None)
        if done.returncode:
            raise GitFailed(_command(arguments), _text(done.stderr), done.returncode)
        return done.stdout

    def ask(self, *arguments: str) -> str | None:
        """Give the stripped stdout, or None where the command fails: for questions."""
        done = self._run(arguments, None, None)
        return None if done.returncode else _text(done.stdout).strip()

    def records(self, *arguments: str) -> Generator[str, None, None]:
        """Run a command with ``-z``, and give its records one by one.

        Git is ended when the generator is closed, so an endless output does no harm.
        """
        with self._start(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            rest = b""
            try:
                while part := process.stdout.read(_PART):
                    *whole, rest = (rest + part).split(b"\0")
                    yield from map(_text, whole)
            finally:
                process.kill()

    def attempt(
        self, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> tuple[int, str, str]:
        """Run a command that may fail; give exit code, stdout and stderr."""
        done = self._run(arguments, None, environment)
        return done.returncode, _text(done.stdout), _text(done.stderr)

    def bounded(
        self, *arguments: str, seconds: float, ended: threading.Event
    ) -> tuple[int | None, str]:
        """Run a command with all its children for a time at most; give exit code and stderr.

        The exit code is None where the time was over, or ``ended`` was set.
        """
        # A file: the children of a Git that was ended would hold a pipe open.
        with tempfile.TemporaryFile() as reason:
            process = self._start(
                arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=reason,
                start_new_session=True,
            )  # fmt: skip
            until, code = time.monotonic() + seconds, None
            while code is None and time.monotonic() < until and not ended.is_set():
                with suppress(subprocess.TimeoutExpired):
                    code = process.wait(_STEP)
            if code is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            reason.seek(0)
            return code, scrub(_text(reason.read(_PART)))

    def _run(
        self,
        arguments: tuple[str, ...],
        given: str | None,
        environment: Mapping[str, str] | None,
    ) -> subprocess.CompletedProcess[bytes]:
        return self._run_bytes(arguments, (given or "").encode(), environment)

    def _run_bytes(
        self, arguments: tuple[str, ...], given: bytes, environment: Mapping[str, str] | None
    ) -> subprocess.CompletedProcess[bytes]:
        pipe = subprocess.PIPE
        with self._start(arguments, environment, stdin=pipe, stdout=pipe, stderr=pipe) as process:
            try:
                stdout, stderr = process.communicate(given)
            except BaseException:
                process.kill()
                raise
        done = subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)
        if done.returncode and b"dubious ownership" in done.stderr:
            # Whatever was asked: the answer would be that there is nothing.
            raise NotProject(
                f"Git doesn't read the repository of {self.root}, as another user owns it",
                f"If you trust it: git config --global --add safe.directory {self._top()}",
            )
        return done

    def _start(
        self,
        arguments: tuple[str, ...],
        environment: Mapping[str, str] | None = None,
        **streams: Any,
    ) -> subprocess.Popen[bytes]:
        """Start Git in the folder, if that is safe."""
        self._refuse_bare()
        own = {**_environment(), **(environment or {})}
        try:
            return subprocess.Popen(["git", *arguments], cwd=self.root, env=own, **streams)  # noqa: S603, S607
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
                f"{longest[:_SHOWN]!r}...",
                "Shorten it.",
            ) from None

    def _refuse_bare(self) -> None:
        """Refuse a folder that Git takes for a bare repository: its settings run commands.

        A repository may track such files, and Git looks for them in each folder before it goes up.
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

    def _top(self) -> str:
        """The folder of the repository, found without Git."""
        folders = (self.root.resolve(), *self.root.resolve().parents)
        return shlex.quote(str(next((f for f in folders if (f / ".git").exists()), self.root)))

    def resolve(self, revision: str) -> str | None:
        """The commit of a revision, 40 hexadecimal digits; None if there is none."""
        return self.ask(
            "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}"
        )

    def read(self, revision: str, path: str) -> str | None:
        """The text of a file below this folder at a revision, stripped; None if it isn't there."""
        # With ./ a path counts from this folder, not from the repository's.
        return self.ask("show", f"{revision}:./{path}")

    def identity(self) -> str:
        """Who commits, as ``Name <address>``.

        Raises
        ------
        NotProject
            If Git doesn't know.
        """
        found = self.ask("var", "GIT_COMMITTER_IDENT")
        known = os.environ.get("GIT_COMMITTER_EMAIL") or os.environ.get("EMAIL")
        if not found or not (known or self.ask("config", "user.email")):
            raise NotProject(
                "Git doesn't know who you are, and a registry says who did what",
                "Tell it: git config user.name NAME; git config user.email ADDRESS",
            )
        return found.rpartition(" ")[0].rpartition(" ")[0]

    def branch(self) -> str | None:
        """The branch that is checked out; None on a detached HEAD."""
        return self.ask("symbolic-ref", "--quiet", "--short", "HEAD")

    def shallow(self) -> bool:
        """Whether the clone lacks part of its history."""
        return self.ask("rev-parse", "--is-shallow-repository") == "true"

    def remote(self) -> str | None:
        """The remote that belongs to the branch, else ``origin``, else the only one."""
        remotes = (self.ask("remote") or "").split()
        branch = self.branch()
        own = self.ask("config", f"branch.{branch}.remote") if branch else None
        for name in (own, "origin"):
            if name in remotes:
                return name
        return remotes[0] if len(remotes) == 1 else None


def _environment() -> dict[str, str]:
    # Messages are read, so they have to be Git's own; a password nobody can type.
    # Another object in an object's place (git replace) would be another history.
    own = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_REPLACE_OBJECTS": "1"}
    return {**os.environ, **own}


def _command(arguments: tuple[str, ...]) -> str:
    """Git's subcommand: what is neither an option nor a setting (``-c key=value``)."""
    settings = {i + 1 for i, a in enumerate(arguments) if a == "-c"}
    words = (a for i, a in enumerate(arguments) if not a.startswith("-") and i not in settings)
    return next(words, "")


def _text(output: bytes) -> str:
    return output.decode("utf-8", errors="replace").replace("\r\n", "\n")
