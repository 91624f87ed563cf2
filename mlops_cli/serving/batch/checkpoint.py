"""A long result in parts: a folder beside the output from which a killed run goes on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import atomic_write, read_json, write_json
from mlops_cli.data.private_files import private_file, private_folder
from mlops_cli.errors import DataRefused, NotFound, Usage

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ENDINGS", "DonePart", "OutputParts", "file_fingerprint", "rejects_path"]

ENDINGS = (".parquet", ".csv", ".jsonl")
"""What can be written."""
_ENDS = 1 << 20
_STATE = "state.json"


@dataclass(frozen=True)
class DonePart:
    """What is done.

    Attributes
    ----------
    slices
        Parts that are complete.
    rows, rejected
        Input rows behind, and how many of them were set aside.
    position
        Where in the input to go on: number of the file, and place in it.
    """

    slices: int = 0
    rows: int = 0
    rejected: int = 0
    position: tuple[int, int] = (0, 0)


class OutputParts:
    """The folder ``.OUT.parts``; who uses it holds a lock.

    Parameters
    ----------
    out
        The output.
    job
        What the result depends on: parts of another job are thrown away.
    """

    def __init__(self, out: Path, job: Mapping[str, Any]) -> None:
        self.out = out
        self.folder = out.parent / f".{out.name}.parts"
        self._job = json.loads(json.dumps(job))

    def found(self) -> DonePart | None:
        """What an earlier run of the same job has done; None if there is none."""
        try:
            state = read_json(self.folder / _STATE)
            if state["job"] != self._job:
                return None
            done = state["done"]
            return DonePart(**{**done, "position": tuple(done["position"])})
        except (NotFound, DataRefused, ValueError, KeyError, TypeError):
            return None

    @property
    def started(self) -> bool:
        """Whether any run, of whatever job, left something."""
        return self.folder.exists()

    def discard(self) -> None:
        """Start over."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(
        self, done: DonePart, made: pl.DataFrame, rejected: Iterable[Mapping[str, Any]]
    ) -> None:
        """Keep one more slice; it counts when the state says so, and not before."""
        private_folder(self.folder)
        number = done.slices - 1
        lines = [json.dumps(line, ensure_ascii=False, default=str) + "\n" for line in rejected]
        aside = self._aside(number)
        aside.unlink(missing_ok=True)
        if lines:
            with atomic_write(aside) as temporary:
                temporary.write_text("".join(lines), encoding="utf-8")
        parquet.write(made, self._part(number))
        write_json(self.folder / _STATE, {"job": self._job, "done": asdict(done)})

    def finish(self, done: DonePart) -> Path | None:
        """Put all parts in the output's place; give the file of what was set aside, if any."""
        import polars as pl

        rejects = rejects_path(self.out)
        asides = [p for i in range(done.slices) if (p := self._aside(i)).is_file()]
        if asides:
            with atomic_write(rejects) as temporary, private_file(temporary, "wb") as file:
                for path in asides:
                    file.write(path.read_bytes())
        else:
            rejects.unlink(missing_ok=True)
        rows = pl.scan_parquet([self._part(i) for i in range(done.slices)], glob=False)
        with atomic_write(self.out) as temporary:
            if self.out.suffix == ".csv":
                rows.sink_csv(temporary, maintain_order=True, engine="streaming")
            elif self.out.suffix == ".jsonl":
                rows.sink_ndjson(temporary, maintain_order=True, engine="streaming")
            else:
                parquet.sink(rows, temporary)
        self.discard()
        return rejects if asides else None

    def _part(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.parquet"

    def _aside(self, number: int) -> Path:
        return self.folder / f"rejected-{number:06d}.jsonl"


def rejects_path(out: Path) -> Path:
    """Where rows go that are set aside.

    Raises
    ------
    Usage
        If the output can't be written: its name says no format, or its folder isn't there.
    """
    if out.suffix not in ENDINGS:
        raise Usage(
            f"the output {out.name!r} ends with none of {', '.join(ENDINGS)}",
            "The ending says the format; rename it.",
        )
    if not out.parent.is_dir():
        raise Usage(f"the folder {out.parent} of the output isn't there", "Make it first.")
    if out.is_dir():
        raise Usage(f"the output {out} is a folder", "Name a file in it.")
    return out.with_name(f"{out.stem}-rejected.jsonl")


def file_fingerprint(path: Path) -> list[Any]:
    """By which a file is known again, without reading it whole: size, time of change, its ends."""
    facts = path.stat()
    with path.open("rb") as file:
        ends = hashlib.sha256(file.read(_ENDS))
        file.seek(max(0, facts.st_size - _ENDS))
        ends.update(file.read())
    return [str(path), facts.st_size, facts.st_mtime_ns, ends.hexdigest()]
