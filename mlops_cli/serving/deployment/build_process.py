"""Puts a bundle into the project's BentoML store and builds the Bento: a process of its own.

`python -m mlops_cli.serving.deployment.build_process ORDER`, with BENTOML_HOME and the folder to
build from in the environment: BentoML reads its settings when it is imported, imports the service
from the folder, and sets up logging; none of that should reach the command line's process.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from mlops_cli.project.locks import wait_for_lock

__all__ = ["pack"]


def pack(order: dict[str, Any]) -> None:
    """Import the model, then build the Bento; both replace what an interrupted call left.

    Parameters
    ----------
    order
        ``home``, ``context`` and ``bundle`` (folders), ``name``, ``tag`` (BentoML's), ``labels``,
        ``requirements``, ``python`` (its version).
    """
    import bentoml

    name, tag = order["name"], f"{order['name']}:{order['tag']}"
    home = Path(order["home"])
    for left in (*home.glob("tmp/*"), *home.glob(f"*/{name}/{order['tag']}")):
        shutil.rmtree(left, ignore_errors=True)
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
        # They are exact, and a lock would ask an index.
        python={"packages": order["requirements"], "lock_packages": False},
        docker={
            "distro": "debian",
            "python_version": order["python"],
            # LightGBM's wheel doesn't bring it.
            "system_packages": ["libgomp1"],
            "dockerfile_template": "Dockerfile.template",
        },
        build_ctx=order["context"],
    )


def main() -> None:
    """Carry out the order in a file."""
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    # Who gave it may have been killed since, and given the same order again.
    with wait_for_lock(Path(order["home"]) / "packing.lock", lambda _: None):
        pack(order)


if __name__ == "__main__":
    main()
