"""Findings of `doctor` and `check`: verdicts, with a fix for each failure; shared checks."""

from __future__ import annotations

import ssl
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path

import aiohttp

from bridge.cli.console import Files, exposed
from bridge.config.model import Config
from bridge.link.login import shared
from bridge.link.settings import unverified
from bridge.rooms.ports import describe
from bridge.webchat.codes import LoginType

_BROKEN = "see the lines above and the bridge's log for a cause; else report this line as a fault"
MOST_SKEW = 60.0
"""Maximum clock skew in seconds: the clock stamps frames and decides when a token expires."""


class Verdict(StrEnum):
    """Result of a check. `SKIP`: it could not be tried, and the detail says why."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    SKIP = "SKIP"


@dataclass(frozen=True)
class Finding:
    verdict: Verdict
    what: str
    detail: str
    fix: str = ""


class Failed(Exception):
    """A check failed; the message is the finding's detail."""

    def __init__(self, detail: str, fix: str, what: str = "") -> None:
        super().__init__(detail)
        self.fix = fix
        self.what = what
        """The finding's subject, if it differs from the check's; else empty."""


@dataclass
class Findings:
    on_finding: Callable[[Finding], None] = field(default=lambda _finding: None)
    """Called with each finding as soon as it is made, because some checks take long."""
    all: list[Finding] = field(default_factory=list)

    def about(self, enterprise: str) -> Findings:
        """Return findings that are prefixed with the enterprise's id; itself if that is empty."""
        if not enterprise:
            return self
        return Findings(lambda item: self.add(replace(item, what=f"{enterprise}: {item.what}")))

    async def of(self, what: str, check: Awaitable[str | None]) -> bool:
        """Await a check, add its answer (unless None) or failure; return False if it failed."""
        detail, done = None, False
        with self.alone(what):
            detail, done = await check, True
        if detail is not None:
            self.passed(what, detail)
        return done

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Add a failure for whatever the body raises, so that the checks after it still run."""
        try:
            yield
        except Failed as failure:
            self.failed(failure.what or what, str(failure), failure.fix)
        except Exception as error:  # noqa: BLE001 - foreseen by no check: told with its place
            *_, raised = traceback.extract_tb(error.__traceback__)
            place = f"{Path(raised.filename).name} line {raised.lineno}"
            self.failed(what, f"the check broke off: {describe(error)} ({place})", _BROKEN)

    def passed(self, what: str, detail: str) -> None:
        self.add(Finding(Verdict.PASS, what, detail))

    def failed(self, what: str, detail: str, fix: str) -> None:
        self.add(Finding(Verdict.FAIL, what, detail, fix))

    def skipped(self, what: str, why: str) -> None:
        self.add(Finding(Verdict.SKIP, what, why))

    def count(self, verdict: Verdict) -> int:
        return sum(finding.verdict is verdict for finding in self.all)

    def add(self, finding: Finding) -> None:
        self.all.append(finding)
        self.on_finding(finding)


def check_clock(findings: Findings, date: str, whose: str) -> None:
    what = f"clock, against {whose}"
    try:
        theirs = parsedate_to_datetime(date)
    except ValueError:
        findings.skipped(what, "its responses have no valid Date header")
        return
    # The Date header is cut to whole seconds: assume half a second more.
    skew = datetime.now(theirs.tzinfo).timestamp() - theirs.timestamp() - 0.5
    detail = f"{abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
    if abs(skew) > MOST_SKEW:
        findings.failed(
            what, f"this machine's clock is {detail}", "run an NTP client on both machines"
        )
    else:
        findings.passed(what, "the same" if abs(skew) < 2 else f"this machine's clock is {detail}")


# --- valid settings that are probably mistakes ---------------------------------------------------


def lacks_tokens(config: Config) -> bool:
    return not (config.appservice.as_token and config.appservice.hs_token)


def check_slips(findings: Findings, files: Files, config: Config) -> None:
    """Add findings on valid settings that are probably mistakes."""
    for enterprise, part in config.parts().items():
        _check_part(findings.about(enterprise), part)
    if bare := exposed(files, config):
        detail = f"any user of this machine can read {bare}"
        findings.failed("secrets", detail, f"`chmod o= {bare}`")


def _check_part(findings: Findings, config: Config) -> None:
    server = config.webchat
    login = server.login
    if login.type is LoginType.PASSWORD and not (login.password or server.accounts):
        detail = "webchat.login.type is password, but no password is set"
        fix = "set webchat.login.password, or list accounts in webchat.accounts"
        findings.failed("WebChat login", detail, fix)
    for pattern in shared(server.accounts, config.bridge.limits.rooms_per_user):
        findings.failed(
            "WebChat accounts",
            f'webchat.accounts."{pattern}": several rooms could use this account at the same time,'
            " but the server allows one chat per account",
            "put {room_key} into its name, list rooms (!…) instead of people or patterns, or set"
            " bridge.limits.rooms_per_user to 1",
        )
    if warning := unverified(server):
        findings.skipped("WebChat certificate", warning)


# --- TLS -----------------------------------------------------------------------------------------
# The numbers are OpenSSL's (`X509_V_ERR_…`, x509_vfy.h), the reasons those of `ssl.SSLError`.

_NO_TLS_REASONS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL"}
)
_NO_TLS = "the server does not use TLS on this port: write http:// in {key}, or its https port"


def tls_fault(error: BaseException, key: str) -> Failed | None:
    """Return the TLS failure behind an aiohttp error, in OpenSSL's words; None if not TLS.

    `key`: configuration key of the address.
    """
    reason, fix = "", _OTHER
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        certificate = error.certificate_error
        reason = str(certificate)
        if isinstance(certificate, ssl.SSLCertVerificationError):
            reason = certificate.verify_message
            fix = _CERTIFICATE_FIXES.get(certificate.verify_code, _OTHER_CERTIFICATE)
    elif isinstance(error, aiohttp.ClientConnectorSSLError):
        cause = error.os_error
        reason = (cause.reason if isinstance(cause, ssl.SSLError) else None) or describe(cause)
        if reason in _NO_TLS_REASONS:
            fix = _NO_TLS
    else:
        return None
    file = " or webchat.ca_file" if key.startswith("webchat") else ""
    return Failed(f"TLS: {reason}", fix.format(key=key, file=file))


_OTHER = (
    "ask the server's operator which TLS versions it accepts, and whether it requires a client"
    " certificate"
)
_TRUST = (
    "set the environment variable SSL_CERT_FILE{file} (docs/call-centre.md, Private certificates)"
)
_UNKNOWN_ISSUER = (
    f"if a private authority has issued it, trust that authority's certificate: {_TRUST};"
    " otherwise have the server send its complete certificate chain"
)
_OTHER_NAME = (
    "use a name from the certificate in {key}, or get a certificate for the name that is there"
)
_OTHER_CERTIFICATE = "ask the server's operator for a certificate that can be verified"
_CERTIFICATE_FIXES = {
    9: "check this machine's clock: the server's certificate is not valid yet",
    10: "have the server's certificate renewed, or correct this machine's clock if it is ahead",
    18: f"if you trust this self-signed certificate, declare it: {_TRUST}",
    # Unknown root, or an intermediate certificate that the server does not send.
    **dict.fromkeys((19, 20, 21), _UNKNOWN_ISSUER),
    # Mismatch of host name, of IP address.
    **dict.fromkeys((62, 64), _OTHER_NAME),
}
