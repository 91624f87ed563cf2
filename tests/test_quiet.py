"""No command sends usage data, and no process that it starts does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
WATCH = """\
import ipaddress, os, sys

def _local(host):
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host if isinstance(host, str) else host.decode()).is_loopback
    except ValueError:
        return False

def _hook(event, arguments):
    said = None
    if event == "socket.getaddrinfo" and not _local(arguments[0]):
        said = f"look-up of {arguments[0]}"
    elif event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        if isinstance(address, tuple) and not _local(address[0]):
            said = f"{event} {address}"
    elif event == "subprocess.Popen" and "daemon" in map(str, arguments[1] or ()):
        # What DVC leaves behind to send, or to look for updates.
        said = f"process {arguments[1]}"
    if said:
        with open(os.environ["TOLD"], "a") as file:
            file.write(said + "\\n")
        if event.startswith("socket."):
            raise OSError("not from here")

sys.addaudithook(_hook)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run a command of this environment with a watch over its sockets; give what it reached."""
    folder = tmp_path_factory.mktemp("quiet")
    (folder / "hook").mkdir()
    (folder / "hook/sitecustomize.py").write_text(WATCH)
    rows = [f"{i},{i % 7},{'yes' if (i * 37) % 11 > 4 else 'no'}" for i in range(400)]
    (folder / "rows.csv").write_text("\n".join(["a,b,late", *rows]) + "\n")
    told = folder / "told"
    # As on a machine of somebody who has set nothing.
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("DVC_", "BENTOML_", "CI", "GITHUB_", "MLOPS_", "PYTEST"))
    }
    kept |= {
        "HOME": str(folder), "TOLD": str(told), "PYTHONPATH": str(folder / "hook"),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "GIT_AUTHOR_NAME": "a",
        "GIT_COMMITTER_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_EMAIL": "a@b",
    }  # fmt: skip

    def call(*words, cwd="shop", **more):
        told.write_text("")
        done = subprocess.run(
            words, cwd=folder / cwd, env=kept | more, capture_output=True, text=True, check=False,
            timeout=120,
        )  # fmt: skip
        return done, told.read_text()

    done, reached = call("mlops", "init", "shop", "--data", "rows.csv", "--target", "late", cwd=".")
    assert done.returncode == 0, done.stderr
    assert reached == ""
    return call


def test_the_network_audit_hook_detects_a_connection(run) -> None:
    code = "import socket; socket.getaddrinfo('example.invalid', 80)"
    assert run(sys.executable, "-c", code)[1] == "look-up of example.invalid\n"


@pytest.mark.parametrize("words", ["status", "models", "stage ingest"])
def test_mlops_commands_open_no_connection(run, words: str) -> None:
    assert run("mlops", *words.split())[1] == ""


def test_dvc_commands_in_a_new_project_open_no_connection(run) -> None:
    done, reached = run("dvc", "version")
    assert done.returncode == 0, done.stderr
    assert reached == ""
    run("dvc", "config", "--local", "core.check_update", "true")
    assert "updater" in run("dvc", "version")[1], "so it would else"
    run("dvc", "config", "--local", "--unset", "core.check_update")


def test_the_printed_bentoml_command_opens_no_connection(run) -> None:
    source = (Path(__file__).parents[1] / "mlops_cli/cli/deploy.py").read_text()
    (line,) = re.findall(r'f"(\S+) BENTOML_HOME=\{store\} bentoml serve', source)
    name, _, value = line.partition("=")
    assert "t.bentoml.com" in run("bentoml", "list", BENTOML_HOME="bento")[1], "so it does else"
    done, reached = run("bentoml", "list", BENTOML_HOME="bento", **{name: value})
    assert done.returncode == 0, done.stderr
    assert reached == ""


def test_a_stage_passes_the_opt_out_of_usage_data_on(run) -> None:
    code = (
        "import os, sys; from mlops_cli.cli.app import main; main(['--help']); "
        "sys.exit(os.system('test $DVC_NO_ANALYTICS$BENTOML_DO_NOT_TRACK = truetrue') != 0)"
    )
    assert run(sys.executable, "-c", code)[0].returncode == 0
