"""`matrix-webchat doctor`: test every part of an installation and say how to fix failures.

It works whether the bridge runs or not.
"""

from __future__ import annotations

import asyncio
import io

import click
import msgspec
from rich.console import Console
from rich.text import Text

from bridge.cli.call_centre import check_webchat
from bridge.cli.console import ExitCode, Files
from bridge.cli.findings import Finding, Findings, Verdict
from bridge.cli.homeserver import check_homeserver
from bridge.cli.installation import (
    ENCRYPTION,
    READABLE,
    check_database,
    check_encryption,
    check_registration,
    check_replicas,
)
from bridge.cli.running import lacks_tokens, slips
from bridge.config import Config, ConfigInvalid, ConfigUnreadable
from bridge.ops.logging import configure_logging

_COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.SKIP: "yellow"}
_WIDTH = 28


def doctor(files: Files, *, as_json: bool = False) -> int:
    """Run and print all checks; return exit code 1 if one failed."""
    # Log lines of the parts would only interrupt the report.
    configure_logging("ERROR", "text", stream=io.StringIO())
    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
    findings = Findings() if as_json else Findings(told=lambda one: _print(console, one))
    config = _load(findings, files)
    if config is not None:
        asyncio.run(_round(findings, files, config))
    passed, failed, skipped = (findings.count(verdict) for verdict in Verdict)
    if as_json:
        told = {"passed": passed, "failed": failed, "skipped": skipped, "findings": findings.all}
        click.echo(msgspec.json.format(msgspec.json.encode(told)))
    else:
        click.echo(f"{passed} passed, {failed} failed, {skipped} not tried")
    return ExitCode.FAILED if failed else ExitCode.OK


def _load(findings: Findings, files: Files) -> Config | None:
    try:
        config = files.load()
    except ConfigUnreadable as error:
        fix = "correct that file"
        if isinstance(error.__cause__, FileNotFoundError):
            fix = "`matrix-webchat example-config > config.yaml`"
        elif isinstance(error.__cause__, OSError):
            fix = READABLE
        findings.failed("config", str(error), fix)
    except ConfigInvalid as error:
        for problem in error.problems:
            findings.failed("config", str(problem), "correct that line")
    else:
        findings.passed("config", f"{files.config} is valid")
        return config
    return None


async def _round(findings: Findings, files: Files, config: Config) -> None:
    if lacks_tokens(config):
        findings.failed(
            "tokens",
            "appservice.as_token and hs_token are empty",
            f"run `matrix-webchat register -c {files.config} -r {files.registration}`",
        )
    else:
        check_registration(findings, config, files.registration)
    for slip in slips(files, config):
        findings.add(slip)
    usable = await findings.of("database", check_database(config))
    await findings.of("replicas", check_replicas(config))
    if not lacks_tokens(config):
        known = await check_homeserver(findings, config)
        if known and usable:
            await check_encryption(findings, config)
        elif known:
            findings.skipped(ENCRYPTION, "the database cannot be used")
    for enterprise, part in config.parts().items():
        await check_webchat(findings.about(enterprise), part)


def _print(console: Console, finding: Finding) -> None:
    line = Text(f"{finding.verdict:4}", style=_COLOURS[finding.verdict])
    console.print(line, f" {finding.what:{_WIDTH}}  {finding.detail}")
    if finding.fix:
        console.print(Text(f"{'':4}  {'':{_WIDTH}}  fix: {finding.fix}"))
