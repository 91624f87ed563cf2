"""Entry point of the command `mlops`, and of ``python -m mlops_cli``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit with its exit code."""
    from mlops_cli.cli.app import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
