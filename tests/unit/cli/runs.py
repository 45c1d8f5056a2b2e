"""Runs the command line in this process, on files of the test's own folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from click.testing import CliRunner, Result

from bridge.cli.program import program
from tests.unit.config.configs import SMALLEST


@dataclass
class Folder:
    path: Path
    environment: dict[str, str | None] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def registration(self) -> Path:
        return self.path / "registration.yaml"

    def write(self, text: str = SMALLEST) -> None:
        self.config.write_text(
            text + f'database: {{url: "sqlite:///{self.path}/bridge.db"}}\n', encoding="utf-8"
        )

    def run(self, *arguments: str) -> Result:
        """`matrix-webchat …`; `-c` and `-r` must be given by the test."""
        return CliRunner().invoke(program, arguments, env=self.environment)

    def run_here(self, *arguments: str) -> Result:
        """The same with `-c` for this folder's configuration at the end."""
        return self.run(*arguments, "-c", str(self.config))
