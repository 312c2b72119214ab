"""`python -m thinkube` and the `thinkube` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command with the process's arguments and exit with 0, 1 (a refusal) or 2 (a wrong call)."""
    from thinkube.cli.app import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
