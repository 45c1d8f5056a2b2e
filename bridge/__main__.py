"""Entry point of `python -m bridge` and of the console script `matrix-webchat`."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line and exit with a code of `cli.console`."""
    if os.getpid() == 1:  # in a container, where Linux drops signals that have no handler
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    from bridge.cli.program import program  # takes a second on a busy machine

    program(prog_name="matrix-webchat")


if __name__ == "__main__":
    main()
