"""Downloads that exceed their stated size are stopped, for every kind of remote."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from dvc_objects.fs.local import localfs

from mlops_cli.errors import DataRefused
from mlops_cli.project.transfers import receive


class Endless(http.server.BaseHTTPRequestHandler):
    """Sends zeros until the other side has gone, and doesn't say how many."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(1 << 20))
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def endless() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/object"
    server.shutdown()
    server.server_close()


def test_an_endless_answer_is_stopped_and_nothing_stays(endless: str, tmp_path: Path) -> None:
    target = tmp_path / "object"
    with pytest.raises(DataRefused, match=r"rows\.csv is larger .* than the 5,000,000 bytes"):
        receive(fsspec.filesystem("http"), endless, target, "rows.csv", 5_000_000)
    assert not target.exists()


@pytest.mark.parametrize("size", [11, 3_000_000])
def test_a_larger_file_of_a_folder_is_refused(tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(size))
    with pytest.raises(DataRefused, match="larger"):
        receive(localfs, str(source), target, "rows.csv", 10)
    assert not target.exists()
    receive(localfs, str(source), target, "rows.csv", size)
    assert target.stat().st_size == size
