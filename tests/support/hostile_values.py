"""Hostile values, and mutations that put them into files."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

MD5 = "0123456789abcdef0123456789abcdef"
PATHS: tuple[Any, ...] = (
    "../canary", "../../canary", "/etc/passwd", "..", ".", "", "./..", "a/../../canary", "~/x",
    ".git/config", ".git/hooks/post-checkout", ".GIT/config", ".git /config", ".dvc/config",
    ".dvc/tmp/x", ".mlops/x", "x\0y", "\ud800", "a" * 300, "a/" * 3000, "C:\\x", "..\\..\\x",
    "file:///etc/passwd", "http://127.0.0.1:9/x", "remote://kept/x", "ssh://h/x", "s3://b/x",
    "ds://x", "${x}", "${project.name}", "../.canary.yaml", "models/model", "models", "data",
    "data/rows.csv/x", "\x1b[31m", "a\nb", "-rf", "--help", "dvc.lock", "params.yaml",
)  # fmt: skip
HASHES: tuple[Any, ...] = (
    "./../../../PWNED", "./../../.git/config", "../../../../PWNED.dir", "/etc/passwd", MD5,
    MD5 + ".dir", MD5.upper(), MD5[:-1], MD5 + "\n", MD5 + ".dir.dir", "", "..", ".dir",
)  # fmt: skip
NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 10**30, 2**63, 1e308, -1e308, 5e-324, float("nan"), float("inf"), 10**4000,
    0.1, -0.0, 1_000_000_000,
)  # fmt: skip
TEXTS: tuple[Any, ...] = (
    "COUNT(*)", "x'); --", "(SELECT 1)", "size * 0", "late", "os:system", "antigravity:x",
    "make_model:x", "../canary:x", "linear", "lightgbm", "../../linear", "v9.9.9", "text",
    "category", "\x1b]0;x\x07", ":warning:", "[bold]", "{", "%s", "é" * 1000, "9" * 5000,
)  # fmt: skip


def _deep(depth: int) -> Any:
    value: Any = 1
    for number in range(depth):
        value = [value] if number % 2 else {"a": value}
    return value


def hostile_value(random_: random.Random) -> Any:
    """Draw a hostile value."""
    pool = random_.choice(
        (PATHS, PATHS, HASHES, NUMBERS, TEXTS, (None, True, False, [], {}, [[]], {"": None}), ())
    )
    if pool:
        return random_.choice(pool)
    return random_.choice(
        (lambda: _deep(60), lambda: _deep(400), lambda: ["x"] * 20_000, lambda: "x" * 200_000,
         lambda: {str(n): n for n in range(5_000)}, lambda: [random_.choice(PATHS)],
         lambda: {random_.choice(PATHS): random_.choice(HASHES)})
    )()  # fmt: skip


def mutate(tree: Any, random_: random.Random) -> str:  # noqa: PLR0911
    """Change one place of a tree of plain values; describe the change."""
    places: list[tuple[Any, Any, str]] = []
    nodes: list[tuple[Any, str]] = [(tree, "")]
    while nodes:
        node, name = nodes.pop()
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for key, inner in list(pairs):
            places.append((node, key, f"{name}/{key}"))
            if isinstance(inner, dict | list):
                nodes.append((inner, f"{name}/{key}"))
    if not places:
        return "nothing"
    node, key, name = random_.choice(places)
    how = random_.random()
    if how < 0.65:
        node[key] = new = hostile_value(random_)
        return f"{name} = {new!r:.200}"
    if how < 0.75:
        del node[key]
        return f"{name} deleted"
    if how < 0.85 and isinstance(node, dict):
        new = random_.choice(PATHS + TEXTS)
        node[new if isinstance(new, str) else str(new)] = node.pop(key)
        return f"{name} called {new!r:.200}"
    if how < 0.93:
        other, there, called = random_.choice(places)
        node[key] = json.loads(json.dumps(other[there]))
        return f"{name} = that of {called}"
    if isinstance(node, list):
        node.insert(0, node[key])
        return f"{name} twice"
    node[random_.choice(["wdir", "path", "md5", "relpath", "vars", "frozen", "repo", "folder"])] = (
        new
    ) = hostile_value(random_)
    return f"beside {name}: {new!r:.200}"


def scramble(content: bytes, random_: random.Random) -> tuple[bytes, str]:
    """Change bytes at random; describe the change."""
    place = random_.randrange(len(content) or 1)
    bomb = "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]\n" for i in range(10)
    )
    merged = "".join(
        f"b{i}: &b{i}\n  <<: [{', '.join([f'*b{i - 1}'] * 9)}]\n" if i else "b0: &b0 {x: 1}\n"
        for i in range(10)
    )
    changes: tuple[Callable[[], bytes], ...] = (
        lambda: content[:place],
        lambda: content[:place] + bytes([random_.randrange(256)]) + content[place + 1 :],
        lambda: content[:place] + bytes(random_.randrange(256) for _ in range(9)) + content[place:],
        lambda: b"",
        lambda: b"\xff\xfe" + content,
        lambda: content + b"\n" + bomb.encode(),
        lambda: content + b"\n" + merged.encode(),
        lambda: b"[" * 100_000,
        lambda: b"{" + b'"a":[' * 50_000,
        lambda: content + content,
        lambda: content + b"\n? [a]\n: 2001-99-99\n",
        lambda: b"x: !!python/object/apply:os.system [id]\n" + content,
        lambda: b"a: " + b"9" * 9_000,
        lambda: content.replace(b"\n", b"\r", 3),
        lambda: b"null",
        lambda: b"7",
    )
    number = random_.randrange(len(changes))
    return changes[number](), f"bytes changed in way {number} at {place}"
