"""Hostile clones generated from a seed: a real project with mutated files.

Each clone is looked at by the commands by which one looks at a repository that one doesn't trust
yet. They run in a fork of this process, which watches by an audit hook what they open, start and
connect to, and afterwards whether anything beside the clone has changed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from clone_mutations import break_
from fuzzed_projects import isolated_copy, list_surroundings

from mlops_cli.models import bundle as bundles

COMMANDS = (
    ("models",),
    ("models", "show", "v0.1.0"),
    ("status",),
    ("models", "pull", "v0.1.0"),
    ("verify", "v0.1.0"),
    ("predict", "data/rows.csv", "-o", "out.csv", "--version", "v0.1.0", "--force"),
    ("serve", "--version", "v0.1.0", "--no-log"),
    ("pull",),
)
CODES = {0, 1, 2, 3, 4, 5, 6, 7, 8}
SECONDS = 40
MEGABYTES = 1_500


class Fault(NamedTuple):
    """A fault of one clone, with the seed to reproduce it."""

    seed: int
    mutation: str
    command: str
    what: str


_READS = ("open", "os.listdir", "os.scandir", "sqlite3.connect")
_WRITES = (
    "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate",
    "os.chmod", "os.chown", "os.utime", "shutil.rmtree", "shutil.copyfile", "shutil.move",
)  # fmt: skip
_STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "pty.spawn")
_ELSEWHERE = tuple(
    dict.fromkeys(
        os.path.realpath(path)
        for path in (
            sys.prefix, sys.base_prefix, Path(bundles.__file__).parents[1], "/usr", "/lib", "/proc",
            "/sys", "/dev", "/etc/mime.types", "/etc/localtime", "/etc/hosts", "/etc/apache2",
            "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/httpd", "/etc/xdg", "/etc/dvc",
            "/etc/ssl", "/etc/gitconfig",
            "/etc/os-release", "/etc/debian_version", "/etc/lsb-release",
        )
    )
)  # fmt: skip
"""Folders of the interpreter, its libraries, and system files that they read."""


class Watch:
    """Audit hook that records accesses outside of the clone."""

    def __init__(self, clone: Path) -> None:
        self.seen: list[str] = []
        self._own = tuple(
            os.path.realpath(p) for p in (clone, clone.parent / "home", clone.parent / "tmp")
        )
        # Where modules are looked for: also where this one lies.
        self._imports = {os.path.realpath(p) for p in sys.path if p}
        self._busy = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Check one audit event; events of the hook itself are ignored."""
        if self._busy:
            return
        self._busy = True
        try:
            self._look(event, arguments)
        finally:
            self._busy = False

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen":
            executable, words = arguments[0], arguments[1]
            if os.path.basename(os.fsdecode(executable or words[0])) != "git":  # noqa: PTH119
                self.seen.append(f"started {words!r:.200}")
        elif event in _STARTS:
            self.seen.append(f"{event} {arguments!r:.200}")
        elif event == "socket.connect":
            if arguments[1] != ("127.0.0.1", 9):
                self.seen.append(f"connected to {arguments[1]!r}")
        elif event in _READS or event in _WRITES:
            writes = event in _WRITES or (
                event == "open" and isinstance(arguments[2], int) and arguments[2] & 0o103
            )
            for path in arguments[:2] if event in {"os.rename", "os.link"} else arguments[:1]:
                self._path(event, path, bool(writes))

    def _path(self, event: str, path: object, writes: bool) -> None:
        if not isinstance(path, str | bytes | os.PathLike) or not path:
            return
        try:
            real = os.path.realpath(os.fsdecode(path))
        except ValueError:  # a NUL, which the system refuses
            return
        if real == os.devnull or real.startswith(("file:", ":memory:")) or self._is_own(real):
            return
        if not writes and (
            real in self._imports
            or not os.path.exists(real)  # noqa: PTH110
            or any(real == p or real.startswith(p + os.sep) for p in _ELSEWHERE)
        ):
            return
        # What lies above is asked for .git, params.yaml and .dvc.
        if event in {"os.scandir", "os.listdir"} and any(p.startswith(real) for p in self._own):
            return
        place = " < ".join(
            f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_stack()[-9:-3][::-1]
        )
        self.seen.append(f"{event} {'writes' if writes else 'reads'} {real!r:.200} ({place})")

    def _is_own(self, real: str) -> bool:
        return any(real == p or real.startswith(p + os.sep) for p in self._own)


def _look(clone: Path, out: Path, commands: tuple[tuple[str, ...], ...]) -> None:
    """Run the commands in this process; write the faults to a file, one a line."""
    from mlops_cli.cli.app import main
    from mlops_cli.serving.service import run

    async def end(*_: Any) -> None:
        """Replaces the server: the service ends where it would listen."""

    run._bind = lambda *_: contextlib.nullcontext()  # type: ignore[assignment]
    run._serve = end  # type: ignore[assignment]
    os.chdir(clone)
    box_ = clone.parent
    os.environ |= {"HOME": str(box_ / "home"), "TMPDIR": str(box_ / "tmp")}
    os.environ |= {"XDG_CACHE_HOME": str(box_ / "home"), "XDG_CONFIG_HOME": str(box_ / "home")}
    os.environ.pop("DVC_SITE_CACHE_DIR", None)
    tempfile.tempdir = None
    before = list_surroundings(box_)
    watch = Watch(clone)
    sys.addaudithook(watch)
    for words in commands:
        with out.open("a") as file:
            file.write(json.dumps(["begun", *words]) + "\n")
        output, started = io.StringIO(), time.monotonic()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                code: object = main(list(words))
            except BaseException as error:  # noqa: BLE001 - nothing may come out of it
                code = f"{type(error).__name__}: {error}"
        text = " ".join(output.getvalue().split())
        command_faults = [*watch.seen]
        if code not in CODES or "error: unexpected" in text or "Traceback" in text:
            command_faults.append(f"ended with {code}: {text[-300:]}")
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if memory > MEGABYTES:
            command_faults.append(f"took {memory:,.0f} MB")
        if list_surroundings(box_) != before:
            command_faults.append("changed what lies beside the clone")
            before = list_surroundings(box_)
        watch.seen.clear()
        with out.open("a") as file:
            took = time.monotonic() - started
            file.write(json.dumps(["ended", " ".join(words), code, took, command_faults]) + "\n")


_IMPORTED = (
    "configobj", "dulwich.porcelain", "dulwich.server", "dvc.api", "dvc.cachemgr",
    "dvc.data_cloud", "dvc.repo.artifacts", "dvc.repo.brancher", "dvc.repo.datasets",
    "dvc.repo.index", "dvc.repo.plots", "dvc.repo.stage", "dvc.utils.strictyaml",
    "dvc_data.hashfile.db.local", "dvc_data.index.checkout", "dvc_render", "filelock",
    "flatten_dict", "httptools", "mlops_cli.cli.output.progress",
    "mlops_cli.models.families.constant", "mlops_cli.project.attempts",
    "mlops_cli.registry.provenance", "mlops_cli.registry.rebuild",
    "mlops_cli.registry.sync.push_pull", "mlops_cli.registry.verify",
    "mlops_cli.serving.batch.predict", "mlops_cli.serving.prepare",
    "mlops_cli.serving.row_files.csv_rows", "mlops_cli.serving.service.app",
    "mlops_cli.serving.service.run", "numpy.ma", "platformdirs.unix", "polars._utils.parquet",
    "pygit2", "rich.console", "rich.table", "rich.tree", "scmrepo.fs",
    "scmrepo.git.backend.pygit2.filter", "tarfile", "typer._adapters", "uvloop",
)  # fmt: skip


def import_commands() -> None:
    """Import the commands' modules once, before the forks; no thread may start here."""
    import typer

    import mlops_cli.cli.app as application

    for name in _IMPORTED:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    if isinstance(application.app, typer.Typer):
        # Made of the functions' signatures, which takes longer than a command.
        application.app = typer.main.get_command(application.app)  # type: ignore[assignment]
    gc.collect()
    gc.freeze()


def run_in_fork(clone: Path, commands: tuple[tuple[str, ...], ...] = COMMANDS) -> list[Any]:
    """Run the commands in a fork; return (command, code, seconds, faults) of each."""
    out = clone.parent / "tmp" / "log"
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setsid()
            quiet = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(quiet, number)
            _look(clone, out, commands)
            status = 0
        except BaseException:  # noqa: BLE001 - told by the file
            with out.open("a") as file:
                file.write(json.dumps(["ended", "?", 1, 0, [traceback.format_exc()[-500:]]]) + "\n")
        finally:
            os._exit(status)
    limit = time.monotonic() + SECONDS * 2
    status = None
    while status is None and time.monotonic() < limit:
        done, how = os.waitpid(child, os.WNOHANG)
        status = how if done else None
        if status is None:
            time.sleep(0.005)
    if status is None:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    results = [line[1:] for line in lines if line[0] == "ended"]
    if len(results) < len(commands):
        last = " ".join(next((line[1:] for line in reversed(lines) if line[0] == "begun"), ["?"]))
        fault = "hangs" if status is None else f"ended the process: status {status}"
        results.append([last, None, 0.0, [fault]])
    return results


def find_faults(template: Path, folder: Path, seed: int) -> tuple[list[Fault], dict[str, float]]:
    """Make the clone of a seed, and run the commands; return faults and exit codes."""
    place = folder / f"clone-{seed}"
    clone = isolated_copy(template, place)
    try:
        mutation = break_(clone, random.Random(seed))  # noqa: S311
        results = run_in_fork(clone)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    faults = [
        Fault(seed, mutation, words, fault)
        for words, _, _, command_faults in results
        for fault in command_faults
    ]
    faults += [
        Fault(seed, mutation, words, f"took {took:.1f} s")
        for words, _, took, _ in results
        if took > SECONDS
    ]
    return faults, {words.split(" v0")[0].split(" data")[0]: code for words, code, _, _ in results}


def fuzz_seeds(template: Path, seeds: range) -> Iterator[tuple[list[Fault], dict[str, float]]]:
    """Yield faults and exit codes of several seeds."""
    import_commands()
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        for seed in seeds:
            yield find_faults(template, Path(folder), seed)
