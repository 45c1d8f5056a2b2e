"""`python -m bridge` and the console script `matrix-webchat`: the same program."""

from __future__ import annotations

from bridge.cli.program import program


def main() -> None:
    """Run the command line; ends with an exit code of `cli.console`."""
    program(prog_name="matrix-webchat")


if __name__ == "__main__":
    main()
