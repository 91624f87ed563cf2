"""Files at http(s) URLs: downloaded to a temporary file, then read like a local one."""

from __future__ import annotations

import base64
import http.client
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from importlib import import_module
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mlops_cli.data.file_formats import format_of_name
from mlops_cli.data.urls import check_url, mask_url, scrub
from mlops_cli.errors import SourceUnreadable
from mlops_cli.ingestion.sources.files import open_files

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.ingestion.sources.request import OpenedSource, SourceRequest

__all__ = ["open_table"]

TRIES = 3
PAUSE = 0.5
"""Seconds before the second try; twice that before the third."""
TIMEOUT = 30.0
"""Seconds without a byte after which a try is given up."""
_CLIENT_ERRORS = range(400, 500)
_RETRIED = (408, 429)


def open_table(request: SourceRequest) -> OpenedSource:
    """Download a URL, and open the file.

    Raises
    ------
    BadParams
        If a password in it has characters that aren't escaped.
    SourceUnreadable
        If it can't be downloaded (with the status), or its format is unknown.
    """
    url = request.source.uri
    check_url(url, f"`{request.setting}.uri`", "https://USER:PASSWORD@HOST/FILE")
    name = PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name
    kind = request.source.format or format_of_name(name)
    if kind is None:
        raise SourceUnreadable(
            f"the format of {mask_url(url)} cannot be told by its name",
            f"Set `{request.setting}.format` to csv, parquet or jsonl.",
        )
    target = request.scratch / f"{request.name}-download"
    _download_with_retries(url, target, request)
    # By name: the table of kinds is in the package above, which isn't imported from here.
    reader = import_module(f"mlops_cli.ingestion.sources.{kind}_files")
    return open_files(request, reader, [target], lambda _: mask_url(url))


def _download_with_retries(url: str, target: Path, request: SourceRequest) -> None:
    reason = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            _download(url, target)
        except urllib.error.HTTPError as error:
            reason = f"status {error.code} {error.reason}"
            if error.code in _CLIENT_ERRORS and error.code not in _RETRIED:
                break
        except (
            urllib.error.URLError,
            http.client.HTTPException,
            ConnectionError,
            TimeoutError,
        ) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        else:
            return
    raise SourceUnreadable(
        f"{mask_url(url)} of source {request.name!r} cannot be fetched: {scrub(reason, url)}",
        f"Check the address under `{request.setting}.uri`, and that this machine may reach it.",
    )


def _download(url: str, target: Path) -> None:
    parts = urllib.parse.urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    plain = urllib.parse.urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    request = urllib.request.Request(plain, headers={"User-Agent": "mlops-cli"})  # noqa: S310 - http(s) only
    if user:
        token = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        # Not sent after a redirect: another host must not see it.
        request.add_unredirected_header("Authorization", f"Basic {token}")
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response, target.open("wb") as file:  # noqa: S310
        shutil.copyfileobj(response, file, 1 << 20)
        length = response.headers.get("Content-Length")
        if length is not None and file.tell() != int(length):
            raise ConnectionError(f"{file.tell()} of {length} bytes came")
