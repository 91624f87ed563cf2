"""The commands of docs/team.md, run from first to last as they are written."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "team.md"
LONGEST = 900


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.slow
def test_a_team_of_two_comes_from_init_to_production(tmp_path):
    blocks = re.findall(
        r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    # Should a command fail, the service must not outlive the shell.
    script = "set -eo pipefail\ntrap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n" + "".join(
        blocks
    )
    (tmp_path / "page.sh").write_text(script)
    own = str(Path(sys.executable).parent)
    environment = {**os.environ, "PORT": free_port(), "PATH": f"{own}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "page.sh"], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=LONGEST,
    )  # fmt: skip
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "197 predictions, 197 labels" in told
    for words in (
        "registered shop@v0.1.0",
        "verified: all",
        "promoted: production is now shop@v0.2.0",
        "exit code 8",
        "Bo <bo@example.org> registered shop@v0.2.0",
        "your edits are kept: params.yaml",
        "rolled back: production is now shop@v0.1.0",
    ):
        assert words in " ".join(told.split()), told
    # The service in Bo's clone answers from what Ann has rolled back to.
    last = told[told.rindex('{"ready"') :]
    assert '"version":"v0.1.0"' in last
