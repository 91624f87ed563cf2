"""Promotion and rollback in a stage that others have changed."""

import datetime as dt

import pytest

from mlops_cli.errors import Busy, NotFound
from mlops_cli.promotion.stale_stage import refuse_unseen
from mlops_cli.registry.tags import Tag
from mlops_cli.registry.versions import Registry

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
VERSIONS = ("m@v0.5.0:a", "m@v0.6.0:b", "m@v0.7.0:c", "m@v0.10.0:d")
HELD = ("m#production#1:b", "m#production#2:c")


def registry(*entries):
    tags = []
    for i, entry in enumerate((*VERSIONS, *HELD, *entries)):
        name, _, commit = entry.lstrip("<").partition(":")
        action = "Action: rollback" if entry.startswith("<") else "Action: promotion"
        message = f"Changed\n\n{action}"
        tags.append(Tag(name, commit, START + dt.timedelta(hours=i), "Ann <ann@a.org>", message))
    return Registry.from_tags("m", tags)


def allowed(entries, *, seen=HELD, since=None, promoted=None):
    found = registry(*entries)
    version = promoted and found.find(promoted)
    names = {name.partition(":")[0] for name in seen}
    try:
        refuse_unseen(found, "production", names, since, version)
    except Busy:
        return False
    return True


def test_a_rollback_is_of_what_the_caller_saw():
    assert allowed([])
    assert not allowed(["<m#production#3:b"])
    assert not allowed(["m#production#3:d"])
    assert not allowed([], seen=HELD[:1])
    assert not allowed([], seen=())
    assert not allowed(["m#production!#3:c"])
    assert allowed(["<m#production#3:b", "m#production#4:c"])
    assert allowed(["<m#staging#3:b"])


def test_a_version_that_is_named_is_compared_with_what_is_there():
    assert allowed(["<m#production#3:b"], since="v0.6.0")
    assert allowed([], seen=(), since="production")
    assert not allowed(["<m#production#3:b"], since="v0.7.0")
    assert not allowed(["m#production!#3:c"], since="v0.7.0")
    with pytest.raises(NotFound, match="v9"):
        allowed([], since="v9.0.0")


def test_a_promotion_may_follow_older_versions_that_were_not_seen():
    assert allowed([], seen=HELD[:1], promoted="v0.10.0")
    assert allowed(["m#production#3:c"], seen=(), promoted="v0.10.0")
    assert not allowed(["m#production#3:d"], promoted="v0.5.0")
    assert not allowed(["<m#production#3:b"], promoted="v0.10.0")
    assert not allowed(["m#production!#3:c"], promoted="v0.10.0")


def test_the_refusal_names_the_one_who_changed_it_and_the_next_command():
    with pytest.raises(Busy) as caught:
        refuse_unseen(registry("<m#production#3:b"), "production", {"m#production#2"}, None)
    assert caught.value.message == (
        "production has v0.6.0, since Ann <ann@a.org> changed it (m#production#3), and when this "
        "clone last looked it was v0.7.0; nothing was done"
    )
    assert caught.value.hint.endswith("mlops rollback --from v0.6.0")
