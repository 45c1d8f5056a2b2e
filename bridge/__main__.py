"""Entry point of `python -m bridge` and of the console script `matrix-webchat`."""

from __future__ import annotations

from bridge.cli.program import program


def main() -> None:
    """Run the command line and exit with a code of `cli.console`."""
    program(prog_name="matrix-webchat")


if __name__ == "__main__":
    main()
