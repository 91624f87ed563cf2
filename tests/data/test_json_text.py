"""Depth and size of a JSON text, measured without a parser."""

from __future__ import annotations

import json
import random
from typing import Any

from mlops_cli.data import json_text
from mlops_cli.data.json_text import measure, text_is_deep

MARKS = 'a"\\,[{}]é'


def content(rng: random.Random, depth: int) -> Any:
    kind = rng.random()
    text = "".join(rng.choices(MARKS, k=rng.randrange(6)))
    if depth and kind < 0.3:
        return [content(rng, depth - 1) for _ in range(rng.randrange(4))]
    if depth and kind < 0.6:
        return {text + str(i): content(rng, depth - 1) for i in range(rng.randrange(4))}
    return rng.choice([1, None, text])


def sizes(value: Any) -> tuple[int, int, int]:
    """Members, containers, depth."""
    if not isinstance(value, (dict, list)):
        return 0, 0, 0
    inner = list(value.values()) if isinstance(value, dict) else value
    found = [sizes(v) for v in inner]
    return (
        len(inner) + sum(f[0] for f in found),
        1 + sum(f[1] for f in found),
        1 + max((f[2] for f in found), default=0),
    )


def test_a_text_is_measured_as_it_is_parsed(monkeypatch) -> None:
    rng = random.Random(1)  # noqa: S311 - texts, not secrets
    monkeypatch.setattr(json_text, "_CHUNK", 7)
    for _ in range(2_000):
        value = content(rng, 6)
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5).encode()
        values, containers, depth = sizes(value)
        found = measure(text)
        assert (found.containers, found.depth) == (containers, depth)
        assert values <= found.values <= values + containers


def test_depth_counts_from_65_on() -> None:
    assert not text_is_deep(b"[" * 64 + b"]" * 64)
    assert text_is_deep(b"[" * 65 + b"]" * 65)
    assert not text_is_deep(b'"' + b"[" * 65 + b'"')
    assert text_is_deep(b'{"a":' * 10_000 + b"1" + b"}" * 10_000)
