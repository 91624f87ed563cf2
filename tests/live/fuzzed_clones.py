"""Hostile clones, made from a seed: one real project, and every value in its files mutated.

Each clone is looked at by the commands by which one looks at a repository that one doesn't trust
yet. They run in a fork of this process, which watches by an audit hook what they open, start and
connect to, and afterwards whether anything beside the clone has changed.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import delivered_projects as made
import hostile_clones as hostile
from ruamel.yaml import YAML

from mlops_cli.store import bundle as bundles
from mlops_cli.store.files import json_text

COMMANDS = (
    ("models",),
    ("models", "show", "v0.1.0"),
    ("status",),
    ("models", "pull", "v0.1.0"),
    ("verify", "v0.1.0"),
    ("predict", "data/rows.csv", "-o", "out.csv", "--version", "v0.1.0", "--force"),
    ("serve", "--version", "v0.1.0", "--no-log"),
    ("pull",),
)
CODES = {0, 1, 2, 3, 4, 5, 6, 7, 8}
SECONDS = 40
MEGABYTES = 1_500
PARAMS = """\
project: {name: toy, seed: 3}
task: {type: binary}
ingest: {sources: {rows: {uri: data/rows.csv}}}
featurize: {base: rows, target: late > 0, features: {size: size * 2, kind: kind}}
register: {name: toy}
"""
PIPELINE = """\
stages:
  train:
    cmd: python make_model.py
    deps: [make_model.py, data/rows.csv]
    params: [project.seed]
    outs:
      - data/copy
      - models/model
      - models/registration.json: {cache: false}
      - reports/metrics.json: {cache: false}
artifacts:
  toy: {path: models/model, type: model}
"""
SCRIPT = '''\
"""Fits a straight line: a real bundle with a feature program, made in a moment."""

import json
from pathlib import Path

import polars as pl
from mlops_cli.core.encoding import Encoder
from mlops_cli.core.labels import LabelCodec
from mlops_cli.core.learners import FAMILIES, TaskInfo
from mlops_cli.core.program import FeatureProgram
from mlops_cli.params import load
from mlops_cli.store.bundle import Bundle, Member, extend, save
from mlops_cli.store.files import write_json

params = load(Path("params.yaml"))
rows = pl.read_csv("data/rows.csv")
Path("data/copy/deep").mkdir(parents=True)
rows.write_csv("data/copy/deep/rows.csv")
rows.head(3).write_csv("data/copy/few.csv")
program = FeatureProgram.compile(params.featurize, params.ingest, {"rows": rows.schema})
features = program.transform(rows, {"rows": rows.lazy()})
target = rows.select(program.target.expr.alias("y"))["y"]
labels, encoder = LabelCodec.fit(target, "binary"), Encoder.fit(features, program.kinds)
family = FAMILIES["linear"]
settings = {key: setting.default for key, setting in family.space.items()}
fitted = family.fit(
    encoder.transform(features),
    labels.encode(target),
    TaskInfo("binary", 2, encoder.categorical),
    settings,
    seed=0,
)
bundle = Bundle(
    (Member("linear", fitted, settings=settings),),
    encoder,
    labels,
    "binary",
    threshold=0.5,
    program={**program.to_json(), "example": {"size": 1.5, "kind": "b"}},
    signature={"inputs": {"size": {"kind": "number"},
                          "kind": {"kind": "category", "categories": ["a", "b"]}}},
    facts={"versions": {"toy": "1"}},
)
save(bundle, Path("models/fitted"))
metrics = {"model": {"roc_auc": {"value": 0.8, "low": 0.7, "high": 0.9}}}
schema = {"base": "rows", "sources": {"rows": {"time": None, "rules": {"columns": {}}}}}
more = {"metrics.json": metrics, "schema.json": schema, "lineage.json": {"clock": "2024"}}
manifest = extend(
    Path("models/fitted"), Path("models/model"), {n: json.dumps(t) for n, t in more.items()}
)
record = {"name": "toy", "decision": "approved", "gates": [], "metrics": metrics["model"],
          "bundle_sha256": manifest["bundle_sha256"]}
write_json(Path("models/registration.json"), record)
write_json(Path("reports/metrics.json"), metrics)
'''


class Fault(NamedTuple):
    """What went wrong with one clone: enough to make it again."""

    seed: int
    mutation: str
    command: str
    what: str


# ---------------------------------------------------------------- the project


def make(folder: Path) -> Path:
    """A project with one version in production; its data in a DVC remote that is committed."""
    # The stage calls `python`: this one.
    own = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([own, os.environ["PATH"]])
    project = folder / "clone"
    project.mkdir(parents=True)
    made.run(project, "git", "init", "-q", "-b", "main")
    settings = {
        "user.name": "Ann",
        "user.email": "ann@example.org",
        "remote.origin.url": ".",
        "remote.origin.fetch": "+refs/heads/*:refs/remotes/origin/*",
        "branch.main.remote": "origin",
        "branch.main.merge": "refs/heads/theirs",
        "gc.auto": "0",
    }
    for key, value in settings.items():
        made.run(project, "git", "config", key, value)
    made.run(project, *made.DVC, "init", "-q")
    made.run(project, *made.DVC, "remote", "add", "--default", "kept", "remote")
    texts = {
        ".gitignore": ".mlops/\n__pycache__/\n/models/fitted\n",
        "params.yaml": PARAMS,
        "dvc.yaml": PIPELINE,
        "make_model.py": SCRIPT,
    }
    for name, text in texts.items():
        (project / name).write_text(text)
    (project / "data").mkdir()
    rows = "".join(f"{i / 7:.3f},{'ab'[i % 2]},{int(i % 5 + i > 30)}\n" for i in range(60))
    (project / "data" / "rows.csv").write_text("size,kind,late\n" + rows)
    made.run(project, *made.DVC, "add", "-q", "data/rows.csv")
    made.run(project, *made.DVC, "repro", "-q")
    made.run(project, *made.DVC, "push", "-q")
    made.commit(project, "First")
    made.tag(project, "v0.1.0")
    made.run(project, "git", "tag", "-a", "toy#production#1", "-m", "Promote\n\nVersion: v0.1.0")
    made.run(project, "git", "branch", "theirs")
    for name in (".dvc/cache", ".dvc/tmp", "models/fitted"):
        shutil.rmtree(project / name, ignore_errors=True)
    return project


def box(template: Path, folder: Path) -> Path:
    """A copy to break, among files that must stay as they are; give the copy."""

    def copy(source: str, target: str) -> None:
        # What is never changed in place may be one file on the disk.
        if "/.git/objects/" in source or "/remote/" in source:
            os.link(source, target)
        else:
            shutil.copyfile(source, target)

    for name in ("home", "tmp"):
        (folder / name).mkdir(parents=True)
    for name in ("canary", ".canary.yaml", "canary.json"):
        (folder / name).write_text("a: secret\n")
    shutil.copytree(template, folder / "clone", symlinks=True, copy_function=copy)
    return folder / "clone"


def listing(folder: Path) -> dict[str, Any]:
    """What lies beside the clone, and what of it Git would obey."""
    found = {}
    for path in [*folder.iterdir(), *(folder / "clone" / ".git" / "hooks").iterdir()]:
        if path.name not in {"clone", "home", "tmp"}:
            found[str(path)] = path.read_bytes() if path.is_file() else "folder"
    return found | {"config": (folder / "clone" / ".git" / "config").read_bytes()}


# ---------------------------------------------------------------- values

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


def value(random_: random.Random) -> Any:
    """A value that nobody expects."""
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


def mutate(tree: Any, random_: random.Random) -> str:
    """Change one place of a tree of plain values; give it in words."""
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
        node[key] = new = value(random_)
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
    ) = value(random_)
    return f"beside {name}: {new!r:.200}"


# ---------------------------------------------------------------- mutations


def write(path: Path, content: bytes | str) -> None:
    """Write anew: the file that is there may be another clone's as well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))


def _yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def scramble(content: bytes, random_: random.Random) -> tuple[bytes, str]:
    """Bytes changed without an idea of what they mean."""
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


def file_(project: Path, random_: random.Random) -> str:
    """A file of YAML or JSON, one value or some bytes of it."""
    name = random_.choice(
        ["dvc.lock"] * 3
        + ["dvc.yaml"] * 3
        + ["data/rows.csv.dvc"] * 2
        + ["params.yaml"] * 2
        + ["models/registration.json", "reports/metrics.json"]
    )
    path = project / name
    if random_.random() < 0.15:
        content, said = scramble(path.read_bytes(), random_)
        write(path, content)
        return f"{name}: {said}"
    tree = _yaml(path)
    said = "; ".join(mutate(tree, random_) for _ in range(random_.choice((1, 1, 1, 2, 4))))
    write(path, json.dumps(tree))
    return f"{name}: {said}"


def _object(project: Path, md5: str) -> Path:
    return project / hostile.KEPT / md5[:2] / md5[2:]


def _relisted(project: Path, out: str, listed: bytes) -> str:
    """Let dvc.lock name another listing of a folder, which is in the remote."""
    md5 = hashlib.md5(listed, usedforsecurity=False).hexdigest() + ".dir"
    write(_object(project, md5), listed)
    lock = _yaml(project / "dvc.lock")
    hostile.output(lock, out)["md5"] = md5
    write(project / "dvc.lock", json.dumps(lock))
    return md5


def listing_(project: Path, random_: random.Random) -> str:
    """The listing of a folder, under its right hash."""
    out = random_.choice(["models/model", "data/copy"])
    md5 = hostile.output(_yaml(project / "dvc.lock"), out)["md5"]
    content = _object(project, md5).read_bytes()
    if random_.random() < 0.2:
        content, said = scramble(content, random_)
    else:
        tree = json.loads(content)
        said = mutate(tree, random_)
        content = json.dumps(tree).encode()
    _relisted(project, out, content)
    return f"listing of {out}: {said}"


def bundle_(project: Path, random_: random.Random) -> str:
    """A file of the bundle; mostly with manifest, listing, record and tag made anew."""
    folder = project.parent / "bundle"
    md5 = hostile.output(_yaml(project / "dvc.lock"), "models/model")["md5"]
    for entry in json.loads(_object(project, md5).read_bytes()):
        target = folder / entry["relpath"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_object(project, entry["md5"]), target)
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    name = random_.choice([*names, "bundle.json", "program.json", "encoder.json"])
    path = folder / name
    if random_.random() < 0.2:
        content, said = scramble(path.read_bytes(), random_)
    else:
        tree = json.loads(path.read_bytes())
        said = "; ".join(mutate(tree, random_) for _ in range(random_.choice((1, 1, 2))))
        content = json.dumps(tree).encode()
    path.write_bytes(content)
    renewed = name != "manifest.json" and random_.random() < 0.9
    if renewed:
        manifest = bundles._manifest(bundles._files(folder))
        (folder / "manifest.json").write_text(json_text(manifest))
        record = json.loads((project / "models/registration.json").read_bytes())
        record["bundle_sha256"] = manifest["bundle_sha256"]
        write(project / "models/registration.json", json_text(record))
    entries = []
    for one in sorted(p for p in folder.rglob("*") if p.is_file()):
        own = hashlib.md5(one.read_bytes(), usedforsecurity=False).hexdigest()
        write(_object(project, own), one.read_bytes())
        entries.append({"md5": own, "relpath": one.relative_to(folder).as_posix()})
    _relisted(project, "models/model", json.dumps(entries).encode())
    shutil.rmtree(folder)
    return f"bundle, {name}: {said}" + ("; with right hashes" if renewed else "")


def config_(project: Path, random_: random.Random) -> str:
    """DVC's settings."""
    path = random_.choice(PATHS)
    text = str(path).replace("\0", "")
    lines = random_.choice(
        (
            f"[cache]\n    dir = {text}\n",
            "[cache]\n    dir = ../../elsewhere\n",
            "[CACHE]\n    Dir = ../../elsewhere\n",
            f"[core]\n    remote = kept\n    site_cache_dir = {text}\n",
            "[core]\n    remote = kept\n    site_cache_dir = ../tmp2\n    no_scm = true\n",
            f"['remote \"kept\"']\n    url = {text}\n",
            "['remote \"kept\"']\n    url = http://127.0.0.1:9/x\n    password = secret\n",
            (
                "['remote \"kept\"']\n    url = webdav://127.0.0.1:9/x\n"
                "    bearer_token_command = touch ../../PWNED\n"
            ),
            f"['remote \"kept\"']\n    url = ../remote\n    keyfile = {text}\n",
            "['remote \"kept\"']\n    url = ../remote\n    worktree = true\n",
            "['remote \"kept\"']\n    url = ../remote\n    version_aware = true\n",
            f"[state]\n    dir = {text}\n[index]\n    dir = {text}\n",
            "[core]\n    hardlink_lock = true\n    autostage = true\n",
            "[[[x]]]\n",
            "[core]\n    remote = %(x)s\n",
            "[hydra]\n    enabled = true\n    plugins_path = ../..\n",
        )
    )
    old = (project / ".dvc/config").read_text()
    write(project / ".dvc/config", lines + (old if random_.random() < 0.5 else ""))
    return f".dvc/config: {lines!r}"


LINKED = (
    ".mlops", ".mlops/models", ".dvc/tmp", ".dvc/cache", ".dvc/config.local", ".dvc/config",
    "models", "models/model", "models/registration.json", "reports", "data", "data/validated",
    "data/copy", "data/rows.csv.dvc", "params.yaml", "dvc.yaml", "dvc.lock", "make_model.py",
    "remote", "out.csv", "sub/dvc.yaml", ".dvcignore", ".gitattributes", ".gitignore",
)  # fmt: skip
TARGETS = (
    "..", "../..", "../canary", "../../canary", "/etc/passwd", "/etc", "/", ".git", ".git/hooks",
    ".git/config", ".", "remote", "params.yaml", "nowhere", "../nowhere", "remote/../../canary",
    "data", ".dvc", "../../../../../../etc/passwd", "../clone", "models",
)  # fmt: skip


def link_(project: Path, random_: random.Random) -> str:
    """A link where the project has a file or folder, or where a command would make one."""
    name, target = random_.choice(LINKED), random_.choice(TARGETS)
    path = project / name
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return f"link {name} -> {target}"


def state_(project: Path, random_: random.Random) -> str:
    """Files in folders that are a clone's own, and others that tools look for."""
    name = random_.choice(
        (
            ".mlops/models/toy@v0.1.0/manifest.json", ".mlops/retrain/attempt.json",
            ".mlops/runs/train.json", ".mlops/failure.json", ".dvc/tmp/rwlock", ".dvc/tmp/btime",
            ".dvc/tmp/lock", ".dvc/config.local", "data/ingested/manifest.json", "sub/dvc.yaml",
            "sub/x.dvc", ".dvcignore", "reports/evaluation.json", "sub/.dvc/config", "configobj.py",
            "ruamel.py", "sitecustomize.py", "dvc/__init__.py", "make_model.py",
        )
    )  # fmt: skip
    text = random_.choice(
        (
            "{}", "[1]", "{", "raise SystemExit('ran')", "x" * 9, "*a*a*a*a*a*b\n",
            "outs:\n- path: ../../canary\n  md5: 0123456789abcdef0123456789abcdef\n",
            "stages:\n  x:\n    cmd: touch ../PWNED\n    deps: [../../canary]\n",
            "stages:\n  x:\n    cmd: y\n    outs: [../../new]\n",
            "vars: [../../canary.json]\nstages: {}\n",
            "stages:\n  x:\n    wdir: ../..\n    cmd: y\n    params: [a]\n",
            "stages:\n  x:\n    cmd: y\n    params: [../../.canary.yaml:]\n",
            "stages:\n  x:\n    matrix: {a: [1, 2], b: '${l}'}\n    cmd: y\n",
            "deps:\n- path: x\n  repo: {url: ../..}\nouts:\n- path: y\n",
            "deps:\n- path: http://127.0.0.1:9/x\nouts:\n- path: y\n",
        )
    )  # fmt: skip
    write(project / name, text)
    return f"{name}: {text!r}"


def tags_(project: Path, random_: random.Random) -> str:
    """Tags, by Git itself, of names and contents that the registry doesn't write."""
    name = random_.choice(
        (
            "toy@v0.1.0", "toy@v0.1.1", "toy@x", "toy@", "toy@v01.0.0", "toy@v9999999999.0.0",
            "toy#production#2", "toy#production#99999999999999999999999", "toy#production!#3",
            "toy#x", "toy/approvals/v0.1.0/production/ann=example.org", "toy@v0.1.0!",
            "toy#pro/duction#4", "toy@v1.0.0-x", "toysome@v0.1.0",
        )
    )  # fmt: skip
    target = random_.choice(("HEAD", "HEAD^{tree}", "HEAD:params.yaml", "toy@v0.1.0"))
    message = random_.choice(
        (
            "Bundle: 00", "x\n\nBundle: " + "f" * 64, "\x1b[2J:warning: [bold]", "Bundle: ../../x",
            "Version: v9.9.9\n\nVersion: v0.1.0", "é" * 5_000, "Action: rollback",
        )
    )  # fmt: skip
    made_by = random_.random()
    if made_by < 0.3:
        made.run(project, "git", "tag", "-f", name, target)
        return f"tag {name} of {target}, lightweight"
    if made_by < 0.6:
        made.run(project, "git", "tag", "-f", "-a", name, target, "-m", message)
        return f"tag {name} of {target}: {message!r:.80}"
    who = random_.choice(
        (
            "Ann <ann@example.org> 99999999999999 +0000", "Ann <ann@example.org> -1 +0000", "",
            "\x1b[31mAnn <a@b> 1700000000 +9999", "Ann 1700000000", "<> 0 +0000",
            "Ann <ann@example.org> 1700000000 +0000",
        )
    )  # fmt: skip
    kind = random_.choice(("commit", "tree", "blob", "tag"))
    spot = made.run(project, "git", "rev-parse", target).strip()
    text = f"object {spot}\ntype {kind}\ntag {name}\n" + (f"tagger {who}\n" if who else "")
    done = subprocess.run(
        ["git", "hash-object", "-t", "tag", "-w", "--stdin", "--literally"],
        cwd=project,
        input=f"{text}\n{message}\n".encode(),
        capture_output=True,
        check=True,
    )
    ref = project / ".git" / "refs" / "tags" / name
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.unlink(missing_ok=True)
    ref.write_text(done.stdout.decode())
    return f"tag {name} by hand: {text!r}"


MUTATIONS: tuple[Callable[[Path, random.Random], str], ...] = (
    *[file_] * 5, *[bundle_] * 5, *[listing_] * 3, config_, link_, link_, state_, tags_, tags_,
)  # fmt: skip


def break_(project: Path, random_: random.Random) -> str:
    """Make one clone hostile, by one to three mutations; say how."""
    chosen = [random_.choice(MUTATIONS) for _ in range(random_.choice((1, 1, 1, 2, 3)))]
    before = [change for change in chosen if change is not tags_]
    words = []
    for change in before:
        # A mutation may leave nothing for the next one to be made of.
        with contextlib.suppress(OSError, KeyError, TypeError, ValueError, IndexError):
            words.append(change(project, random_))
        if not words:
            words.append("nothing")
    git = ("git", "-c", "core.fsmonitor=false", "-c", "core.symlinks=true")
    try:
        made.run(project, *git, "add", "-A", "-f")
        made.run(project, *git, "commit", "-q", "--allow-empty", "-m", "Changed")
        sha256 = json.loads((project / "models/registration.json").read_bytes())["bundle_sha256"]
        text = f"Register\n\nBundle: {sha256}".replace("\0", "")
        made.run(project, "git", "tag", "-f", "-a", "toy@v0.1.0", "-m", text[:300])
        made.run(project, "git", "tag", "-f", "-a", "toy#production#1", "-m", "Promote")
    except (OSError, ValueError, KeyError, TypeError, AssertionError):
        words.append("(not tagged anew)")
    # Either it is what somebody has cloned, or what a pull brings.
    made.run(project, "git", "branch", "-f", "theirs")
    if random_.random() < 0.2:
        made.run(project, *git, "reset", "-q", "--hard", "HEAD~1")
        words.append("(to be pulled)")
    words += [tags_(project, random_) for change in chosen if change is tags_]
    return "; ".join(words)


# ---------------------------------------------------------------- looking at a clone

_READS = ("open", "os.listdir", "os.scandir", "sqlite3.connect")
_WRITES = (
    "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate",
    "os.chmod", "os.chown", "os.utime", "shutil.rmtree", "shutil.copyfile", "shutil.move",
)  # fmt: skip
_STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "pty.spawn")
_ELSEWHERE = tuple(
    dict.fromkeys(
        os.path.realpath(path)
        for path in (
            sys.prefix, sys.base_prefix, Path(bundles.__file__).parents[1], "/usr", "/lib", "/proc",
            "/sys", "/dev", "/etc/mime.types", "/etc/localtime", "/etc/hosts", "/etc/apache2",
            "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/httpd", "/etc/xdg", "/etc/dvc",
            "/etc/ssl", "/etc/gitconfig", "/etc/os-release", "/etc/debian_version", "/etc/lsb-release",
        )
    )
)  # fmt: skip
"""The interpreter, its libraries, and what they read of the system."""


class Watch:
    """An audit hook: what goes on outside of the clone."""

    def __init__(self, clone: Path) -> None:
        self.seen: list[str] = []
        self._own = tuple(
            os.path.realpath(p) for p in (clone, clone.parent / "home", clone.parent / "tmp")
        )
        self._busy = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            self._look(event, arguments)
        finally:
            self._busy = False

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen":
            executable, words = arguments[0], arguments[1]
            if os.path.basename(os.fsdecode(executable or words[0])) != "git":  # noqa: PTH119
                self.seen.append(f"started {words!r:.200}")
        elif event in _STARTS:
            self.seen.append(f"{event} {arguments!r:.200}")
        elif event == "socket.connect":
            if arguments[1] != ("127.0.0.1", 9):
                self.seen.append(f"connected to {arguments[1]!r}")
        elif event in _READS or event in _WRITES:
            writes = event in _WRITES or (
                event == "open" and isinstance(arguments[2], int) and arguments[2] & 0o103
            )
            for path in arguments[:2] if event in {"os.rename", "os.link"} else arguments[:1]:
                self._path(event, path, bool(writes))

    def _path(self, event: str, path: object, writes: bool) -> None:
        if not isinstance(path, str | bytes | os.PathLike) or not path:
            return
        try:
            real = os.path.realpath(os.fsdecode(path))
        except ValueError:  # a NUL, which the system refuses
            return
        if real.startswith(("file:", ":memory:")) or self._is_own(real):
            return
        if not writes and (
            not os.path.exists(real)  # noqa: PTH110
            or any(real == p or real.startswith(p + os.sep) for p in _ELSEWHERE)
        ):
            return
        if event in {"os.scandir", "os.listdir"}:
            # What lies above is asked for .git, params.yaml and .dvc.
            if any(p.startswith(real) for p in self._own):
                return
        place = " < ".join(
            f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_stack()[-9:-3][::-1]
        )
        self.seen.append(f"{event} {'writes' if writes else 'reads'} {real!r:.200} ({place})")

    def _is_own(self, real: str) -> bool:
        return any(real == p or real.startswith(p + os.sep) for p in self._own)


def _look(clone: Path, out: Path, commands: tuple[tuple[str, ...], ...]) -> None:
    """Run the commands, in this process; write what was wrong to a file, line by line."""
    from mlops_cli.cli.app import main
    from mlops_cli.live.service import running

    async def end(*_: Any) -> None:
        """Up to here a service would start; nothing is listened at."""

    running._taken = lambda *_: contextlib.nullcontext()  # type: ignore[assignment]
    running._serve = end  # type: ignore[assignment]
    os.chdir(clone)
    box_ = clone.parent
    os.environ |= {"HOME": str(box_ / "home"), "TMPDIR": str(box_ / "tmp")}
    os.environ |= {"XDG_CACHE_HOME": str(box_ / "home"), "XDG_CONFIG_HOME": str(box_ / "home")}
    os.environ.pop("DVC_SITE_CACHE_DIR", None)
    tempfile.tempdir = None
    before = listing(box_)
    watch = Watch(clone)
    sys.addaudithook(watch)
    for words in commands:
        with out.open("a") as file:
            file.write(json.dumps(["begun", *words]) + "\n")
        said, began = io.StringIO(), time.monotonic()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                code: object = main(list(words))
            except BaseException as error:  # noqa: BLE001 - nothing may come out of it
                code = f"{type(error).__name__}: {error}"
        text = " ".join(said.getvalue().split())
        wrong = [*watch.seen]
        if code not in CODES or "unexpected" in text or "Traceback" in text:
            wrong.append(f"ended with {code}: {text[-300:]}")
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if memory > MEGABYTES:
            wrong.append(f"took {memory:,.0f} MB")
        if listing(box_) != before:
            wrong.append("changed what lies beside the clone")
            before = listing(box_)
        watch.seen.clear()
        with out.open("a") as file:
            took = time.monotonic() - began
            file.write(json.dumps(["ended", " ".join(words), code, took, wrong]) + "\n")


_IMPORTED = (
    "configobj", "dulwich.porcelain", "dulwich.server", "dvc.api", "dvc.cachemgr",
    "dvc.data_cloud", "dvc.repo.artifacts", "dvc.repo.brancher", "dvc.repo.datasets",
    "dvc.repo.index", "dvc.repo.plots", "dvc.repo.stage", "dvc.utils.strictyaml",
    "dvc_data.hashfile.db.local", "dvc_data.index.checkout", "dvc_render", "filelock",
    "flatten_dict", "httptools", "mlops_cli.cli.progress", "mlops_cli.core.learners.constant",
    "mlops_cli.live.batch", "mlops_cli.live.exchange", "mlops_cli.live.proving",
    "mlops_cli.live.rebuilding", "mlops_cli.live.service.app", "mlops_cli.live.service.running",
    "mlops_cli.live.serving", "mlops_cli.store.attempts", "mlops_cli.store.provenance",
    "mlops_cli.store.streams.csv_rows", "numpy.ma", "platformdirs.unix", "polars._utils.parquet",
    "pygit2", "rich.console", "rich.table", "rich.tree", "scmrepo.fs",
    "scmrepo.git.backend.pygit2.filter", "tarfile", "typer._adapters", "uvloop",
)  # fmt: skip


def warm() -> None:
    """Import what the commands import, once for all forks; nothing may start a thread here."""
    import typer

    import mlops_cli.cli.app as application

    for name in _IMPORTED:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    if isinstance(application.app, typer.Typer):
        # Made of the functions' signatures, which takes longer than a command.
        application.app = typer.main.get_command(application.app)  # type: ignore[assignment]
    gc.collect()
    gc.freeze()


def looked_at(clone: Path, commands: tuple[tuple[str, ...], ...] = COMMANDS) -> list[Any]:
    """Run the commands in a fork; give (command, code, seconds, faults) of each."""
    out = clone.parent / "tmp" / "log"
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setsid()
            quiet = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(quiet, number)
            _look(clone, out, commands)
            status = 0
        except BaseException:  # noqa: BLE001 - told by the file
            with out.open("a") as file:
                file.write(json.dumps(["ended", "?", 1, 0, [traceback.format_exc()[-500:]]]) + "\n")
        finally:
            os._exit(status)
    limit = time.monotonic() + SECONDS * 2
    status = None
    while status is None and time.monotonic() < limit:
        done, how = os.waitpid(child, os.WNOHANG)
        status = how if done else None
        if status is None:
            time.sleep(0.005)
    if status is None:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    ended = [line[1:] for line in lines if line[0] == "ended"]
    if len(ended) < len(commands):
        last = " ".join(next((line[1:] for line in reversed(lines) if line[0] == "begun"), ["?"]))
        what = "hangs" if status is None else f"ended the process: status {status}"
        ended.append([last, None, 0.0, [what]])
    return ended


def faults(template: Path, folder: Path, seed: int) -> tuple[list[Fault], dict[str, float]]:
    """Make the clone of a seed, look at it, and give what went wrong, and each command's code."""
    place = folder / f"clone-{seed}"
    clone = box(template, place)
    try:
        mutation = break_(clone, random.Random(seed))
        ended = looked_at(clone)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    found = [Fault(seed, mutation, words, what) for words, _, _, wrong in ended for what in wrong]
    found += [
        Fault(seed, mutation, words, f"took {took:.1f} s")
        for words, _, took, _ in ended
        if took > SECONDS
    ]
    return found, {words.split(" v0")[0].split(" data")[0]: code for words, code, _, _ in ended}


def many(template: Path, seeds: range) -> Iterator[tuple[list[Fault], dict[str, float]]]:
    """The same for many seeds."""
    warm()
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        for seed in seeds:
            yield faults(template, Path(folder), seed)
