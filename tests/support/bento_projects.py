"""A project with a Bento that the command line has built, and the build context of its image."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from model_services import INGEST, RULES, TARGETS, ServedModel

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
# Replaces Docker: copies the build context that it gets.
if [ "$1" = version ]; then echo 28.0.1; exit; fi
echo "$@" > "$KEPT/said"
for last; do :; done
cp -r "$last" "$KEPT/context"
"""


@dataclass(frozen=True)
class BentoProject:
    """A project with a Bento in its store.

    Attributes
    ----------
    context
        The build context of the image.
    asked
        Arguments with which BentoML called the engine.
    said
        Output of `mlops serve containerize`.
    """

    project: Path
    context: Path
    engine_arguments: str
    output: str

    @property
    def store_folder(self) -> Path:
        """The project's BentoML store."""
        return self.project / ".mlops" / "bentoml"

    @property
    def bento(self) -> Path:
        """The Bento's folder."""
        (bento,) = (p for p in (self.store_folder / "bentos" / "team-shop").iterdir() if p.is_dir())
        return bento

    @property
    def tag(self) -> str:
        """Tag of the Bento, for BentoML's commands."""
        return f"team-shop:{self.bento.name}"

    def start_command(self, data_folder: Path) -> tuple[dict[str, str], list[str]]:
        """Environment and command of the image's Dockerfile, with local paths.

        Parameters
        ----------
        work
            Replaces the image's folder for data.
        """
        text = (self.context / "env/docker/Dockerfile").read_text()
        local_paths = {
            "/home/bentoml/bento": str(self.context),
            "/home/bentoml/data": str(data_folder),
        }

        def with_local_paths(words: str) -> str:
            return re.sub("|".join(local_paths), lambda bento: local_paths[bento[0]], words)

        variables = dict(re.findall(r"^ENV ((?:MLOPS|PYTHON)\w+)=(.+)$", text, flags=re.MULTILINE))
        values = {k: json.loads(v) if v.startswith('"') else v for k, v in variables.items()}
        last_lines = {
            word: json.loads(re.findall(rf"^{word} (\[.+\])$", text, flags=re.MULTILINE)[-1])
            for word in ("ENTRYPOINT", "CMD")
        }
        command = ["bash", *last_lines["ENTRYPOINT"], *last_lines["CMD"]]
        environment = {k: with_local_paths(v) for k, v in values.items()}
        return {"PATH": os.environ["PATH"], **environment}, [
            with_local_paths(word) for word in command
        ]


def clean_environment(**more: str) -> dict[str, str]:
    """Environment without settings of a service."""
    results = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "BENTOML_"))}
    return {**results, **more}


def mlops(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `mlops` in its own process."""
    return subprocess.run(
        [MLOPS, *words],
        cwd=folder,
        env=clean_environment(**more),
        capture_output=True,
        text=True,
        check=False,
    )


def build_bento(model: ServedModel, folder: Path) -> BentoProject:
    """Make a project of the model's folder, and build its Bento and the image's build context."""
    project = model.layout.root
    (project / "params.yaml").write_text(json.dumps(PARAMS))  # YAML, too
    results, tools = folder / "kept", folder / "tools"
    results.mkdir()
    tools.mkdir()
    (tools / "docker").write_text(DOCKER)
    (tools / "docker").chmod(0o755)
    path = f"{tools}{os.pathsep}{BIN}{os.pathsep}{os.environ['PATH']}"
    words = ["serve", "containerize", "-v", "workspace", "--image", "example.org:5000/a/shop"]
    completed = mlops(project, *words, PATH=path, KEPT=str(results))
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return BentoProject(
        project, results / "context", (results / "said").read_text(), completed.stdout
    )
