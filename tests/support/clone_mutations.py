"""Mutations of a clone: values in files with matching hashes, links, settings and tags."""

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

import hostile_clones as hostile
import registry_projects as projects
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
    """Replace a file, which may be shared with another clone by a hard link."""
    path = inside(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))


def _yaml(path: Path) -> Any:
    """Parse YAML within limits, because an earlier mutation may have made it explode."""
    return load_yaml(path.read_text(encoding="utf-8"))


def file_(project: Path, rng: random.Random) -> str:
    """Mutate a value or some bytes of a YAML or JSON file."""
    name = rng.choice(
        ["dvc.lock"] * 3
        + ["dvc.yaml"] * 3
        + ["data/rows.csv.dvc"] * 2
        + ["params.yaml"] * 2
        + ["models/registration.json", "reports/metrics.json"]
    )
    path = project / name
    if rng.random() < 0.15:
        content, description = scramble(path.read_bytes(), rng)
        write(project, name, content)
        return f"{name}: {description}"
    tree = _yaml(path)
    description = "; ".join(mutate(tree, rng) for _ in range(rng.choice((1, 1, 1, 2, 4))))
    write(project, name, json.dumps(tree))
    return f"{name}: {description}"


def _object(md5: str) -> Path:
    return Path(hostile.REMOTE_FILES, md5[:2], md5[2:])


def _replace_listing(project: Path, out: str, listing: bytes) -> str:
    """Put another directory listing into the remote, and its hash into dvc.lock."""
    md5 = hashlib.md5(listing, usedforsecurity=False).hexdigest() + ".dir"
    write(project, _object(md5), listing)
    lock = _yaml(project / "dvc.lock")
    hostile.lock_output(lock, out)["md5"] = md5
    write(project, "dvc.lock", json.dumps(lock))
    return md5


def listing_(project: Path, rng: random.Random) -> str:
    """Mutate a directory listing, with a matching hash."""
    out = rng.choice(["models/model", "data/copy"])
    md5 = hostile.lock_output(_yaml(project / "dvc.lock"), out)["md5"]
    content = (project / _object(md5)).read_bytes()
    if rng.random() < 0.2:
        content, description = scramble(content, rng)
    else:
        tree = json.loads(content)
        description = mutate(tree, rng)
        content = json.dumps(tree).encode()
    _replace_listing(project, out, content)
    return f"listing of {out}: {description}"


def bundle_(project: Path, rng: random.Random) -> str:
    """Mutate a file of the bundle, mostly with matching manifest, listing, record and tag."""
    folder = project.parent / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    md5 = hostile.lock_output(_yaml(project / "dvc.lock"), "models/model")["md5"]
    for entry in json.loads((project / _object(md5)).read_bytes()):
        with contextlib.suppress(ValueError):  # an earlier mutation's path
            write(folder, entry["relpath"], (project / _object(entry["md5"])).read_bytes())
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    name = rng.choice([*names, "bundle.json", "program.json", "encoder.json"])
    path = folder / name
    if rng.random() < 0.2:
        content, description = scramble(path.read_bytes(), rng)
    else:
        tree = json.loads(path.read_bytes())
        description = "; ".join(mutate(tree, rng) for _ in range(rng.choice((1, 1, 2))))
        content = json.dumps(tree).encode()
    write(folder, name, content)
    renewed = name != "manifest.json" and rng.random() < 0.9
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
    _replace_listing(project, "models/model", json.dumps(entries).encode())
    shutil.rmtree(folder)
    return f"bundle, {name}: {description}" + ("; with right hashes" if renewed else "")


def config_(project: Path, rng: random.Random) -> str:
    """Mutate DVC's settings."""
    path = rng.choice(PATHS)
    text = str(path).replace("\0", "")
    lines = rng.choice(
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
    write(project, ".dvc/config", lines + (old if rng.random() < 0.5 else ""))
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


def link_(project: Path, rng: random.Random) -> str:
    """Put a link where the project has a file or folder, or where a command would write."""
    name, target = rng.choice(LINKED), rng.choice(TARGETS)
    path = inside(project, name)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return f"link {name} -> {target}"


def state_(project: Path, rng: random.Random) -> str:
    """Add files in folders that belong to a clone, and files that tools look for."""
    name = rng.choice(
        (
            ".mlops/models/toy@v0.1.0/manifest.json", ".mlops/retrain/attempt.json",
            ".mlops/runs/train.json", ".mlops/failure.json", ".dvc/tmp/rwlock", ".dvc/tmp/btime",
            ".dvc/tmp/lock", ".dvc/config.local", "data/ingested/manifest.json", "sub/dvc.yaml",
            "sub/x.dvc", ".dvcignore", "reports/evaluation.json", "sub/.dvc/config", "configobj.py",
            "ruamel.py", "sitecustomize.py", "dvc/__init__.py", "make_model.py",
        )
    )  # fmt: skip
    text = rng.choice(
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


def tags_(project: Path, rng: random.Random) -> str:
    """Create tags with names and contents that the registry doesn't write."""
    name = rng.choice(
        (
            "toy@v0.1.0", "toy@v0.1.1", "toy@x", "toy@", "toy@v01.0.0", "toy@v9999999999.0.0",
            "toy#production#2", "toy#production#99999999999999999999999", "toy#production!#3",
            "toy#x", "toy/approvals/v0.1.0/production/ann=example.org", "toy@v0.1.0!",
            "toy#pro/duction#4", "toy@v1.0.0-x", "toysome@v0.1.0",
        )
    )  # fmt: skip
    target = rng.choice(("HEAD", "HEAD^{tree}", "HEAD:params.yaml", "toy@v0.1.0"))
    message = rng.choice(
        (
            "Bundle: 00", "x\n\nBundle: " + "f" * 64, "\x1b[2J:warning: [bold]", "Bundle: ../../x",
            "Version: v9.9.9\n\nVersion: v0.1.0", "é" * 5_000, "Action: rollback",
        )
    )  # fmt: skip
    made_by = rng.random()
    if made_by < 0.3:
        projects.run(project, "git", "tag", "-f", name, target)
        return f"tag {name} of {target}, lightweight"
    if made_by < 0.6:
        projects.run(project, "git", "tag", "-f", "-a", name, target, "-m", message)
        return f"tag {name} of {target}: {message!r:.80}"
    who = rng.choice(
        (
            "Ann <ann@example.org> 99999999999999 +0000", "Ann <ann@example.org> -1 +0000", "",
            "\x1b[31mAnn <a@b> 1700000000 +9999", "Ann 1700000000", "<> 0 +0000",
            "Ann <ann@example.org> 1700000000 +0000",
        )
    )  # fmt: skip
    kind = rng.choice(("commit", "tree", "blob", "tag"))
    spot = projects.run(project, "git", "rev-parse", target).strip()
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


def break_(project: Path, rng: random.Random) -> str:
    """Make a clone hostile with one to three mutations; describe them."""
    chosen = [rng.choice(MUTATIONS) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
    before = [change for change in chosen if change is not tags_]
    words = []
    for change in before:
        # A mutation may leave nothing for the next one to be made of.
        with contextlib.suppress(Exception):
            words.append(change(project, rng))
        if not words:
            words.append("nothing")
    git = ("git", "-c", "core.fsmonitor=false", "-c", "core.symlinks=true")
    try:
        projects.run(project, *git, "add", "-A", "-f")
        projects.run(project, *git, "commit", "-q", "--allow-empty", "-m", "Changed")
        sha256 = json.loads((project / "models/registration.json").read_bytes())["bundle_sha256"]
        text = f"Register\n\nBundle: {sha256}".replace("\0", "")
        projects.run(project, "git", "tag", "-f", "-a", "toy@v0.1.0", "-m", text[:300])
        projects.run(project, "git", "tag", "-f", "-a", "toy#production#1", "-m", "Promote")
    except (OSError, ValueError, KeyError, TypeError, RecursionError, AssertionError):
        words.append("(not tagged anew)")
    # Either it is what somebody has cloned, or what a pull brings.
    projects.run(project, "git", "branch", "-f", "theirs")
    if rng.random() < 0.2:
        projects.run(project, *git, "reset", "-q", "--hard", "HEAD~1")
        words.append("(to be pulled)")
    words += [tags_(project, rng) for change in chosen if change is tags_]
    return "; ".join(words)
