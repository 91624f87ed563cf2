"""Child process that imports a bundle into the project's BentoML store and builds the Bento.

It is started as `python -m mlops_cli.serving.deployment.build_process ORDER`, with BENTOML_HOME and
the folder to build from in the environment. It is a separate process because BentoML reads its
settings when it is imported, imports the service from the folder, and sets up logging. None of that
should affect the process of the command line.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

__all__ = ["pack"]


def pack(order: dict[str, Any]) -> None:
    """Import the model and build the Bento; what an interrupted call left is replaced.

    Parameters
    ----------
    order
        The folders ``home`` (of the BentoML store), ``context`` and ``bundle``; ``name`` and
        ``tag`` of the Bento; ``labels``; ``requirements``; ``python`` (the version).
    """
    import bentoml

    name, tag = order["name"], f"{order['name']}:{order['tag']}"
    home = Path(order["home"])
    for leftover in (*home.glob("tmp/*"), *home.glob(f"*/{name}/{order['tag']}")):
        shutil.rmtree(leftover, ignore_errors=True)
    labels = order["labels"]
    with bentoml.models.create(tag, module="mlops_cli", labels=labels) as model:
        shutil.copytree(order["bundle"], Path(model.path) / "bundle", copy_function=shutil.copyfile)
    bentoml.build(
        "service:service",
        name=name,
        version=order["tag"],
        labels=labels,
        description="file:README.md",
        models=[tag],
        # The versions are exact already, and locking would query a package index.
        python={"packages": order["requirements"], "lock_packages": False},
        docker={
            "distro": "debian",
            "python_version": order["python"],
            # LightGBM needs it, and its wheel doesn't include it.
            "system_packages": ["libgomp1"],
            "dockerfile_template": "Dockerfile.template",
        },
        build_ctx=order["context"],
    )


def main() -> None:
    """Read the order from a file and build the Bento."""
    # Not mlops_cli.project.locks: the folder to build from has only what a service needs.
    from filelock import FileLock

    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    # If the parent process was killed and started again, the first child may still be running.
    with FileLock(Path(order["home"]) / "packing.lock"):
        pack(order)


if __name__ == "__main__":
    main()
