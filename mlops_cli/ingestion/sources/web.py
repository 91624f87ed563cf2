"""Files at http(s) URLs: downloaded to a temporary file, then read like a local one."""

from __future__ import annotations

import shutil
import ssl
from importlib import import_module
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mlops_cli.data.file_formats import format_of_name
from mlops_cli.data.urls import check_url, mask_url, scrub
from mlops_cli.errors import SourceUnreadable
from mlops_cli.ingestion.sources.files import open_files

if TYPE_CHECKING:
    from pathlib import Path

    import requests

    from mlops_cli.ingestion.sources.request import OpenedSource, SourceRequest

__all__ = ["open_table"]

_TRIES = 3
_TIMEOUT = 30.0
"""Seconds without a byte after which a try is given up."""
_MAX_RETRY_AFTER = 60
"""Maximum seconds to wait for a server that names a time in `Retry-After`."""
_PASSING = (408, 429, *range(500, 600))
"""Statuses after which a request is repeated."""


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
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    kind = request.source.format or format_of_name(name)
    if kind is None:
        raise SourceUnreadable(
            f"the format of {mask_url(url)} cannot be told by its name",
            f"Set `{request.setting}.format` to csv, parquet or jsonl.",
        )
    target = request.scratch / f"{request.name}-download"
    _download(request, target)
    # By name: the table of kinds is in the package above, which isn't imported from here.
    reader = import_module(f"mlops_cli.ingestion.sources.{kind}_files")
    return open_files(request, reader, [target], lambda _: mask_url(url))


def _download(request: SourceRequest, target: Path) -> None:
    import requests
    from urllib3.exceptions import HTTPError

    url = request.source.uri
    try:
        with _session(url) as session:
            for tries_left in reversed(range(_TRIES)):
                try:
                    with session.get(url, stream=True, timeout=_TIMEOUT) as response:
                        if response.ok:
                            with target.open("wb") as file:
                                shutil.copyfileobj(response.raw, file, 1 << 20)
                            return
                        reason = f"status {response.status_code} {response.reason}"
                        break
                except HTTPError:  # the body broke off; what fails before it is repeated by urllib3
                    if not tries_left:
                        raise
    except (requests.RequestException, HTTPError) as error:
        cause: BaseException = error
        while under := cause.__cause__ or cause.__context__:
            cause = under
        reason = str(cause) or type(cause).__name__
    raise SourceUnreadable(
        f"{mask_url(url)} of source {request.name!r} cannot be fetched: {scrub(reason, url)}",
        f"Check the address under `{request.setting}.uri`, and that this machine may reach it.",
    )


def _session(url: str) -> requests.Session:
    """Session with the URL's credentials, which aren't sent to another host after a redirect."""
    import requests
    from requests.adapters import HTTPAdapter
    from requests.auth import HTTPBasicAuth
    from urllib3 import Retry

    session = requests.Session()
    user, _, password = urlsplit(url).netloc.rpartition("@")[0].partition(":")
    if user or password:
        session.auth = HTTPBasicAuth(unquote(user).encode(), unquote(password).encode())
    session.headers.update({"User-Agent": "mlops-cli", "Accept-Encoding": "identity"})
    session.max_redirects = 10
    # The system's certificates, to which companies add theirs; by default requests has its own.
    trusted = ssl.get_default_verify_paths()
    session.verify = trusted.cafile or trusted.capath or True
    retry = Retry(
        _TRIES - 1,
        status_forcelist=_PASSING,
        raise_on_status=False,
        backoff_factor=0.5,
        retry_after_max=_MAX_RETRY_AFTER,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session
