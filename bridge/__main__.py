"""Entry point of `python -m bridge` and of the console script `matrix-webchat`."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Run the command line and exit with a code of `cli.console`."""
    # Linux drops a signal without handler for process 1. An exception would not always end it:
    # Python ignores those in callbacks, of which each import has some.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller; else a socket would take its place
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - for the whole run
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Like stderr: a terminal without UTF-8 shows escapes.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        from bridge.cli.program import program  # takes a second on a busy machine
    except KeyboardInterrupt:
        sys.exit("Aborted!")
    # From here on with an exception, so that temporary files are deleted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    program(prog_name="matrix-webchat")


if __name__ == "__main__":
    main()
