"""Mutations of a clone: values in its files, with right hashes, links, settings and tags."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import delivered_projects as made
import hostile_clones as hostile
from hostile_values import PATHS, mutate, scramble

from mlops_cli.data.atomic_files import json_text
from mlops_cli.models import bundle as bundles
from mlops_cli.params.reading import load_yaml


def inside(folder: Path, name: str | Path) -> Path:
    """The path of a name in a folder, where no link of an earlier mutation leads out of it.

    The mutations must not do to this machine what the product is tried for. Another name is a
    ValueError.
    """
    path = folder / name
    if ".." in path.parts or not path.parent.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name} leads out of {folder}")
    return path


def write(folder: Path, name: str | Path, content: bytes | str) -> None:
    """Write a file of a folder anew: the one that is there may be another clone's as well."""
    path = inside(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))


def _yaml(path: Path) -> Any:
    """A tree within limits: an earlier mutation may have made a bomb of the file."""
    return load_yaml(path.read_text(encoding="utf-8"))


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
        write(project, name, content)
        return f"{name}: {said}"
    tree = _yaml(path)
    said = "; ".join(mutate(tree, random_) for _ in range(random_.choice((1, 1, 1, 2, 4))))
    write(project, name, json.dumps(tree))
    return f"{name}: {said}"


def _object(md5: str) -> Path:
    return Path(hostile.KEPT, md5[:2], md5[2:])


def _relisted(project: Path, out: str, listed: bytes) -> str:
    """Let dvc.lock name another listing of a folder, which is in the remote."""
    md5 = hashlib.md5(listed, usedforsecurity=False).hexdigest() + ".dir"
    write(project, _object(md5), listed)
    lock = _yaml(project / "dvc.lock")
    hostile.output(lock, out)["md5"] = md5
    write(project, "dvc.lock", json.dumps(lock))
    return md5


def listing_(project: Path, random_: random.Random) -> str:
    """The listing of a folder, under its right hash."""
    out = random_.choice(["models/model", "data/copy"])
    md5 = hostile.output(_yaml(project / "dvc.lock"), out)["md5"]
    content = (project / _object(md5)).read_bytes()
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
    shutil.rmtree(folder, ignore_errors=True)
    md5 = hostile.output(_yaml(project / "dvc.lock"), "models/model")["md5"]
    for entry in json.loads((project / _object(md5)).read_bytes()):
        with contextlib.suppress(ValueError):  # an earlier mutation's path
            write(folder, entry["relpath"], (project / _object(entry["md5"])).read_bytes())
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    name = random_.choice([*names, "bundle.json", "program.json", "encoder.json"])
    path = folder / name
    if random_.random() < 0.2:
        content, said = scramble(path.read_bytes(), random_)
    else:
        tree = json.loads(path.read_bytes())
        said = "; ".join(mutate(tree, random_) for _ in range(random_.choice((1, 1, 2))))
        content = json.dumps(tree).encode()
    write(folder, name, content)
    renewed = name != "manifest.json" and random_.random() < 0.9
    if renewed:
        manifest = bundles._manifest(bundles._hash_files(folder))
        (folder / "manifest.json").write_text(json_text(manifest))
        record = json.loads((project / "models/registration.json").read_bytes())
        record["bundle_sha256"] = manifest["bundle_sha256"]
        write(project, "models/registration.json", json_text(record))
    entries = []
    for one in sorted(p for p in folder.rglob("*") if p.is_file()):
        own = hashlib.md5(one.read_bytes(), usedforsecurity=False).hexdigest()
        write(project, _object(own), one.read_bytes())
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
    write(project, ".dvc/config", lines + (old if random_.random() < 0.5 else ""))
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
    path = inside(project, name)
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
    write(project, name, text)
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
        with contextlib.suppress(Exception):
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
    except (OSError, ValueError, KeyError, TypeError, RecursionError, AssertionError):
        words.append("(not tagged anew)")
    # Either it is what somebody has cloned, or what a pull brings.
    made.run(project, "git", "branch", "-f", "theirs")
    if random_.random() < 0.2:
        made.run(project, *git, "reset", "-q", "--hard", "HEAD~1")
        words.append("(to be pulled)")
    words += [tags_(project, random_) for change in chosen if change is tags_]
    return "; ".join(words)
