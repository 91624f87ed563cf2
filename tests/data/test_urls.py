"""Passwords in URLs are masked, however they are written."""

from __future__ import annotations

import pytest

from mlops_cli.data.urls import check_url, mask_url, scrub, sqlite_path
from mlops_cli.errors import BadParams, SourceUnreadable
from mlops_cli.ingestion.sources import open_table
from mlops_cli.ingestion.sources.request import SourceRequest
from mlops_cli.params.ingest import Source
from mlops_cli.training.search.shared_study import _database

BROKEN = [
    "postgresql://u:hun@ter2@h/db", "postgresql://u:hun/ter2@h/db", "redis://:hun/ter2@h",
    "redis://:hun?ter2@h", "redis://:hun#ter2@h", "http://u:hun:ter2@x@h/", "http://u:hun ter2@h/",
    "postgresql://u:hun[ter2@h/db", "postgresql://u:hunter2@h:port/db", "http://h:hunter2",
    "http://h:hunter2/x", "http://u:hun\nter2@h", "http://u:hun\\ter2@x:y@h/", "http://h:99999/hunter2@",
    "postgresql://h/db?password=hun@ter2", "s3://key:hun/ter2@bucket/x",
]  # fmt: skip
NO_URL = [
    "host=127.0.0.1 port=5999 password=hunter2", "password=hunter2", "password = 'hunter2' host=h",
    "u:hunter2@host/db", "u:hun/ter2@host", "postgresql:/u:hunter2@h/db", "postgresql:u:hunter2@h",
    "jdbc:postgresql://h/db?user=u&password=hunter2", "u:hunter2@host:/db", "//u:hunter2@h/db",
    " postgresql://u:hunter2@h/db", "sqlite://u:hunter2@h/db", "sqlite:hunter2", "hunter2?",
]  # fmt: skip


def shows(text: str) -> bool:
    return "hun" in text or "ter2" in text


@pytest.mark.parametrize("url", BROKEN)
def test_a_url_that_may_be_read_in_two_ways_is_hidden_and_refused(url) -> None:
    assert not shows(mask_url(url))
    assert not shows(scrub(f"can't reach {url} as hunter2", url))
    with pytest.raises(BadParams, match=r"THE_URL") as caught:
        check_url(url, "THE_URL", "http://USER:PASSWORD@HOST")
    assert not shows(caught.value.message + caught.value.hint)
    assert "%40" in caught.value.hint


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://deploy:hunter2@127.0.0.1:80/x", "http://***@127.0.0.1:80/x"),
        ("postgresql://u:hun%40ter2@h1:1,h2:2/db", "postgresql://***@h1:1,h2:2/db"),
        ("postgresql://u:hunter2@[::1]:5432/db?sslmode=x", "postgresql://***@[::1]:5432/db?***"),
        ("s3://bucket/a b/c", "s3://bucket/a b/c"),
        ("git@github.com:o/r.git", "***@github.com:o/r.git"),
        ("../remote", "../remote"),
        ("file:///a/b", "file:///a/b"),
        ("/home/u@h/x", "/home/u@h/x"),
        ("http://h/x#hunter2", "http://h/x"),
    ],
)
def test_a_plain_url_is_shown_without_its_secrets(url, shown) -> None:
    assert mask_url(url) == shown
    if "://" in url:
        check_url(url, "THE_URL", "")


@pytest.mark.parametrize("text", NO_URL)
def test_what_is_neither_a_url_nor_a_file_is_no_file(text) -> None:
    with pytest.raises(BadParams, match="THE_URL is") as caught:
        sqlite_path(text, "THE_URL", "a path")
    assert not shows(caught.value.message + caught.value.hint)


@pytest.mark.parametrize(
    "path", ["a.sqlite", "my events.sqlite", "/home/u@h/a=b c.sqlite", "./a=b.sqlite", "../x:y"]
)
def test_a_file_is_named_by_its_path(path) -> None:
    assert str(sqlite_path(path, "THE_URL", "")) == path.removeprefix("./")


def test_a_library_s_words_are_shown_without_secrets() -> None:
    url = "http://deploy:hun%2Fter2@h/x?token=abc123"
    text = f"no {url} for 'deploy' with hun/ter2, hun%2Fter2 or abc123; see https://a:b@c/d."
    assert scrub(text, url) == (
        "no http://***@h/x?*** for '***' with ***, *** or ***; see https://***@c/d."
    )


@pytest.mark.parametrize("uri", ["http://u:hun/ter2@h/x.csv", "ftp://u:hun/ter2@h/x.csv"])
def test_a_source_s_url_is_not_shown(uri, tmp_path) -> None:
    with pytest.raises((BadParams, SourceUnreadable)) as caught:
        open_table(SourceRequest("s", Source(uri=uri), tmp_path, tmp_path))
    assert not shows(caught.value.message + caught.value.hint)


@pytest.mark.parametrize("url", ["u:hunter2@h/db", "postgresql://u:hun/ter2@h/db"])
def test_a_search_s_database_is_not_shown(url) -> None:
    with pytest.raises(BadParams) as caught:
        _database(url)
    assert not shows(caught.value.message + caught.value.hint)
