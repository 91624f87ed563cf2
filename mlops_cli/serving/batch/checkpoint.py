"""Checkpoints of a batch prediction: complete slices beside the output, to resume a killed run."""

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
"""File name endings of the output formats."""
_END_BYTES = 1 << 20
"""Bytes at each end of a file that its fingerprint covers."""
_STATE = "state.json"


@dataclass(frozen=True)
class DonePart:
    """Progress of a batch prediction, up to the last complete slice.

    Attributes
    ----------
    slices
        How many slices are complete.
    rows, rejected
        How many input rows they cover, and how many of these were rejected.
    position
        Where to resume reading the input: number of the file, and position in it.
    """

    slices: int = 0
    rows: int = 0
    rejected: int = 0
    position: tuple[int, int] = (0, 0)


class OutputParts:
    """The checkpoint folder ``.OUT.parts``, with one file for each slice; the caller holds a lock.

    Parameters
    ----------
    out
        The output file.
    job
        Everything that the result depends on. Slices of another job aren't used.
    """

    def __init__(self, out: Path, job: Mapping[str, Any]) -> None:
        self.out = out
        self.folder = out.parent / f".{out.name}.parts"
        self._job = json.loads(json.dumps(job))

    def load_progress(self) -> DonePart | None:
        """Return the progress of an earlier run of the same job; None if there is none."""
        try:
            state = read_json(self.folder / _STATE)
            if state["job"] != self._job:
                return None
            done = state["done"]
            return DonePart(**{**done, "position": tuple(done["position"])})
        except (NotFound, DataRefused, ValueError, KeyError, TypeError):
            return None

    @property
    def exists(self) -> bool:
        """Whether an earlier run, of any job, left a checkpoint."""
        return self.folder.exists()

    def discard(self) -> None:
        """Delete the checkpoint, to start over."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(
        self, done: DonePart, predictions: pl.DataFrame, rejected: Iterable[Mapping[str, Any]]
    ) -> None:
        """Save one more slice. It counts only once the state file, written last, includes it."""
        private_folder(self.folder)
        number = done.slices - 1
        lines = [json.dumps(line, ensure_ascii=False, default=str) + "\n" for line in rejected]
        rejects = self._rejects_file(number)
        rejects.unlink(missing_ok=True)
        if lines:
            with atomic_write(rejects) as temporary:
                temporary.write_text("".join(lines), encoding="utf-8")
        parquet.write(predictions, self._slice_file(number))
        write_json(self.folder / _STATE, {"job": self._job, "done": asdict(done)})

    def finish(self, done: DonePart) -> Path | None:
        """Combine the slices into the output; return the file of rejected rows, if any."""
        import polars as pl

        rejects = rejects_path(self.out)
        rejects_files = [p for i in range(done.slices) if (p := self._rejects_file(i)).is_file()]
        if rejects_files:
            with atomic_write(rejects) as temporary, private_file(temporary, "wb") as file:
                for path in rejects_files:
                    file.write(path.read_bytes())
        else:
            rejects.unlink(missing_ok=True)
        rows = pl.scan_parquet([self._slice_file(i) for i in range(done.slices)], glob=False)
        with atomic_write(self.out) as temporary:
            if self.out.suffix == ".csv":
                rows.sink_csv(temporary, maintain_order=True, engine="streaming")
            elif self.out.suffix == ".jsonl":
                rows.sink_ndjson(temporary, maintain_order=True, engine="streaming")
            else:
                parquet.sink(rows, temporary)
        self.discard()
        return rejects if rejects_files else None

    def _slice_file(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.parquet"

    def _rejects_file(self, number: int) -> Path:
        return self.folder / f"rejected-{number:06d}.jsonl"


def rejects_path(out: Path) -> Path:
    """Check the name of the output; return the path of the file for rejected rows.

    Raises
    ------
    Usage
        If the output's format is unknown, its folder doesn't exist, or it is a folder.
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
    """Fingerprint of a file: path, size, modification time, hash of its first and last bytes."""
    stat = path.stat()
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_END_BYTES))
        file.seek(max(0, stat.st_size - _END_BYTES))
        digest.update(file.read())
    return [str(path), stat.st_size, stat.st_mtime_ns, digest.hexdigest()]
