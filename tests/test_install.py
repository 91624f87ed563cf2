"""No document, workflow or hint installs this package from a package index.

The name isn't registered there. Whoever registers it could run code on machines that install it.
"""

import json
import re
import subprocess
from pathlib import Path

import pytest

from mlops_cli.errors import install_hint
from mlops_cli.serving.deployment.requirements import serving

ROOT = Path(__file__).parents[1]
OURS = re.compile(r"mlops[-_.]cli", re.IGNORECASE)
COMMAND = re.compile(r"\b(pipx?3?|uvx?|poetry|conda|pdm)\b.*\b(install|add|run|download|wheel)\b")
DIRECT = re.compile(r"mlops-cli(\[[\w,]+\])? @ |[./]\S*mlops[-_]cli|\s'?\.(\[[\w,]+\])?['` ]")
"""From a URL, a path, or the folder that one is in."""


def texts():
    """Every text file that Git keeps, but for tests."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if name.startswith(("tests/", "data/")) or not path.is_file():
            continue
        try:
            yield name, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def test_no_command_in_code_or_documents_installs_it_by_its_name() -> None:
    found = [
        f"{name}: {line.strip()}"
        for name, text in texts()
        for line in text.splitlines()
        if OURS.search(line) and COMMAND.search(line) and not DIRECT.search(line)
    ]
    assert found == []


def test_no_text_states_it_as_a_requirement_of_an_index() -> None:
    stated = re.compile(r"mlops[-_]cli(\[[\w,]+\])?\s*(==|>=|~=|<=)", re.IGNORECASE)
    assert [name for name, text in texts() if stated.search(text)] == []


def test_the_lock_of_this_repository_has_a_hash_for_each_version_that_is_tested() -> None:
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(lines) > 100
    for line in lines:
        found = re.match(
            r"([a-z0-9._-]+)(?:\[[\w, -]+\])?==([\w.!+]+)(?: ; [^-]+)? +--hash=sha256:", line
        )
        assert found, line[:80]
        assert pins.get(found[1], found[2]) == found[2], line[:80]
    for name in ("pipeline", "retrain", "delivery"):
        own = (ROOT / f".github/workflows/{name}.yml").read_text()
        installs = re.findall(r"(?m)^ *(?:run: )?((?:pip|make) .*)$", own)
        assert installs == [
            "pip install --require-hashes -r requirements.lock",
            "pip install --no-deps --no-build-isolation --editable .",
        ]


def test_a_bento_installs_exact_versions_and_not_the_package_itself() -> None:
    wanted = serving(["lightgbm", "linear", "xgboost"], tokens=True)
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.+!]+", line) for line in wanted)
    assert not [line for line in wanted if OURS.search(line)]


@pytest.mark.parametrize(
    ("facts", "command"),
    [
        ({"url": "file:///a%20b", "dir_info": {"editable": True}}, "pip install -e '/a b[jwt]'."),
        ({"url": "file:///srv/mlops", "dir_info": {}}, "pip install '/srv/mlops[jwt]'."),
        ({"url": "file:///v/m-1-py3-none-any.whl", "archive_info": {}},
         "pip install '/v/m-1-py3-none-any.whl[jwt]'."),
        ({"url": "https://example.org/m.git", "vcs_info": {"vcs": "git", "commit_id": "ab12"}},
         "pip install 'mlops-cli[jwt] @ git+https://example.org/m.git@ab12'."),
        ({"url": "https://example.org/m.whl", "archive_info": {}},
         "pip install 'mlops-cli[jwt] @ https://example.org/m.whl'."),
        ({"url": "https://u:s3cret@example.org/m.whl", "archive_info": {}}, None),
        ({}, None),
        ([], None),
        ({"url": 5}, None),
        (None, None),
    ],
)  # fmt: skip
def test_an_extra_is_installed_as_the_package_was(
    facts: object, command: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mlops_cli-9.9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: mlops-cli\nVersion: 9.9\n")
    if facts is not None:
        (folder / "direct_url.json").write_text(json.dumps(facts))
    monkeypatch.syspath_prepend(str(tmp_path))
    hint = install_hint("jwt")
    expected = f"came from: {command}" if command else "in its clone: pip install '.[jwt]'."
    assert hint.endswith(expected)
    assert hint.startswith("Install the extra 'jwt' from where mlops-cli came from")
    assert "s3cret" not in hint
