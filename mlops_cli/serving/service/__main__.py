"""`python -m mlops_cli.serving.service`: the start command of a container."""

from __future__ import annotations

import argparse
import sys

from mlops_cli.errors import MlopsError
from mlops_cli.serving.service.run import run
from mlops_cli.serving.service.settings import Settings

__all__ = ["main"]


def main() -> int:
    """Serve the model that the environment names."""
    parser = argparse.ArgumentParser(prog="python -m mlops_cli.serving.service")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    arguments = parser.parse_args()
    try:
        run(Settings.from_environment(), arguments.host, arguments.port)
    except MlopsError as error:
        sys.stderr.write(f"{error.message}\n{error.hint or ''}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
