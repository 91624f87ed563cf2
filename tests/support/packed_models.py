"""A model's Bento, made once by the command line, and the image's build context of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from served_models import INGEST, RULES, TARGETS, Made

BIN = Path(sys.executable).parent
MLOPS = str(BIN / "mlops")
PARAMS = {
    "project": {"name": "shop", "seed": 1},
    "task": {"type": "binary"},
    "ingest": INGEST,
    "featurize": {**RULES, "target": TARGETS["binary"]},
    "register": {"name": "team/shop"},
    "serve": {"limits": {"seconds": 7.5}},
}
DOCKER = """\
#!/bin/sh
# Stands where Docker would: it keeps the build context that it is given.
if [ "$1" = version ]; then echo 28.0.1; exit; fi
echo "$@" > "$KEPT/said"
for last; do :; done
cp -r "$last" "$KEPT/context"
"""


@dataclass(frozen=True)
class Packed:
    """A project whose Bento is in its store.

    Attributes
    ----------
    context
        The folder from which BentoML lets an engine make the image.
    asked
        How it called the engine.
    said
        What `mlops serve containerize` printed.
    """

    project: Path
    context: Path
    asked: str
    said: str

    @property
    def home(self) -> Path:
        """The project's BentoML store."""
        return self.project / ".mlops" / "bentoml"

    @property
    def bento(self) -> Path:
        """The Bento's folder."""
        (found,) = (p for p in (self.home / "bentos" / "team-shop").iterdir() if p.is_dir())
        return found

    @property
    def tag(self) -> str:
        """As BentoML's commands take it."""
        return f"team-shop:{self.bento.name}"

    def started(self, work: Path) -> tuple[dict[str, str], list[str]]:
        """What the image's Dockerfile starts, with its paths where they are here.

        Parameters
        ----------
        work
            In the place of the folder that the image keeps for what is written.
        """
        text = (self.context / "env/docker/Dockerfile").read_text()
        places = {"/home/bentoml/bento": str(self.context), "/home/bentoml/data": str(work)}

        def here(words: str) -> str:
            return re.sub("|".join(places), lambda found: places[found[0]], words)

        given = dict(re.findall(r"^ENV ((?:MLOPS|PYTHON)\w+)=(.+)$", text, flags=re.MULTILINE))
        values = {k: json.loads(v) if v.startswith('"') else v for k, v in given.items()}
        last = {
            word: json.loads(re.findall(rf"^{word} (\[.+\])$", text, flags=re.MULTILINE)[-1])
            for word in ("ENTRYPOINT", "CMD")
        }
        command = ["bash", *last["ENTRYPOINT"], *last["CMD"]]
        environment = {k: here(v) for k, v in values.items()}
        return {"PATH": os.environ["PATH"], **environment}, [here(word) for word in command]


def outside(**more: str) -> dict[str, str]:
    """The environment without what a service is told."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "BENTOML_"))}
    return {**kept, **more}


def mlops(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`mlops` in its own process."""
    return subprocess.run(
        [MLOPS, *words],
        cwd=folder,
        env=outside(**more),
        capture_output=True,
        text=True,
        check=False,
    )


def pack(made: Made, folder: Path) -> Packed:
    """Make the model's folder a project, and its Bento and image's context by the command."""
    project = made.layout.root
    (project / "params.yaml").write_text(json.dumps(PARAMS))  # YAML, too
    kept, tools = folder / "kept", folder / "tools"
    kept.mkdir()
    tools.mkdir()
    (tools / "docker").write_text(DOCKER)
    (tools / "docker").chmod(0o755)
    path = f"{tools}{os.pathsep}{BIN}{os.pathsep}{os.environ['PATH']}"
    words = ["serve", "containerize", "-v", "workspace", "--image", "example.org:5000/a/shop"]
    done = mlops(project, *words, PATH=path, KEPT=str(kept))
    assert done.returncode == 0, done.stdout + done.stderr
    return Packed(project, kept / "context", (kept / "said").read_text(), done.stdout)
