"""Count the people behind approvals."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["people"]


def people(names: Iterable[Iterable[str]]) -> int:
    """Count people, each known by some names: addresses, and the keys that they sign with.

    Groups with a name in common are one person, so that a key with several addresses, or an
    address with several keys, doesn't count twice.

    Examples
    --------
    >>> people([{"key 1", "ann@example.org"}, {"key 1", "bo@example.org"}, {"cy@example.org"}])
    2
    """
    persons: list[set[str]] = []
    for group in names:
        person = set(group)
        others = []
        for other in persons:
            if person & other:
                person |= other
            else:
                others.append(other)
        persons = [*others, person]
    return len(persons)
