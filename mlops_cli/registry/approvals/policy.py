"""How many people approvals are of."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["people"]


def people(names: Iterable[Iterable[str]]) -> int:
    """Count people, each known by some names: addresses, and the key that was signed with.

    Whoever shares a name is one person, so that a key of several addresses, or an address with
    several keys, doesn't count twice.

    Examples
    --------
    >>> people([{"key 1", "ann@example.org"}, {"key 1", "bo@example.org"}, {"cy@example.org"}])
    2
    """
    found: list[set[str]] = []
    for each in names:
        person = set(each)
        others = []
        for other in found:
            if person & other:
                person |= other
            else:
                others.append(other)
        found = [*others, person]
    return len(found)
