"""Every fault of a certificate has a fix of its own, with real servers and real certificates."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from bridge.cli.call_centre import check_webchat
from bridge.cli.console import Files
from bridge.cli.findings import Finding, Findings, Verdict, tls_fault
from bridge.cli.homeserver import check_homeserver
from bridge.config.document import ConfigInvalid
from bridge.rooms.ports import describe
from tests.support.certificates import Signed, signed, tls_before
from tests.unit.cli.doctor.installation import FakeHomeserver, configured, serving, slips, the, told
from tests.unit.link.simulated import simulated

pytestmark = pytest.mark.asyncio

DAY = timedelta(days=1)
AUTHORITY = signed("Our Own Authority", authority=True)
FAULTS: dict[str, tuple[Signed | None, str, str]] = {
    "self-signed": (
        signed("localhost"),
        "self-signed certificate",
        "self-signed certificate, declare it: set",
    ),
    "unknown authority": (
        signed("localhost", AUTHORITY),
        "unable to get local issuer certificate",
        "trust that authority's certificate: set the environment variable SSL_CERT_FILE",
    ),
    "expired": (
        signed("localhost", AUTHORITY, age=9 * DAY),
        "certificate has expired",
        "have the server's certificate renewed",
    ),
    "not yet valid": (
        signed("localhost", AUTHORITY, age=-DAY),
        "certificate is not yet valid",
        "check this machine's clock",
    ),
    "another name": (
        signed("other.test", AUTHORITY),
        "Hostname mismatch, certificate is not valid for 'localhost'",
        "use a name from the certificate in {key}",
    ),
    "no TLS": (None, "TLS: ", "write http:// in {key}"),
}


def known(folder: Path) -> str:
    """Write the test authority's certificate beside config.yaml; return the file's name."""
    (folder / "ca.pem").write_bytes(AUTHORITY.pem())
    return "ca.pem"


@pytest.fixture
def trusting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the test authority, so that only other faults of its certificates are left."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / known(tmp_path)))


async def found(folder: Path, kind: str, peer: str) -> Finding:
    certificate = FAULTS[kind][0]
    tls = certificate.server(folder) if certificate is not None else None
    findings, fake = Findings(), FakeHomeserver()
    ours = "" if kind == "unknown authority" else f"  ca_file: {known(folder)}"
    async with serving(fake.routes(), tls=tls) as port:
        address = f"https://localhost:{port}"
        if peer == "WebChat server":
            config = configured(folder, webchat=f"{address}/webchat", login=ours)
            await check_webchat(findings, config, None)
        else:
            config = configured(folder, homeserver=address)
            await check_homeserver(findings, config, None)
    return the(findings, peer)


@pytest.mark.parametrize(
    ("peer", "key"), [("WebChat server", "webchat.base_url"), ("homeserver", "homeserver.address")]
)
@pytest.mark.parametrize("kind", FAULTS)
async def test_each_fault_has_its_own_fix(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str, peer: str, key: str
) -> None:
    if kind != "unknown authority":
        request.getfixturevalue("trusting")
    finding = await found(tmp_path, kind, peer)
    _, what, fix = FAULTS[kind]
    assert finding.verdict is Verdict.FAIL
    assert what in finding.detail
    assert fix.format(key=key) in finding.fix
    others = [other.format(key=key) for name, (_, _, other) in FAULTS.items() if name != kind]
    assert not any(other in finding.fix for other in others)
    if "SSL_CERT_FILE" in fix:
        assert ("or webchat.ca_file" in finding.fix) == (peer == "WebChat server")


async def test_server_with_other_tls_versions_or_ciphers(tmp_path: Path) -> None:
    tls = signed("localhost", AUTHORITY).server(tmp_path)
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    tls.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")  # its key is of another kind
    findings = Findings()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)

        def refuse() -> None:
            """Refuse by OpenSSL itself: asyncio's servers disconnect without an alert."""
            taken, _ = server.accept()
            with taken, suppress(OSError):
                tls.wrap_socket(taken, server_side=True)

        answering = asyncio.get_running_loop().run_in_executor(None, refuse)
        address = f"https://127.0.0.1:{server.getsockname()[1]}/webchat"
        config = configured(tmp_path, webchat=address, login=f"  ca_file: {known(tmp_path)}")
        await check_webchat(findings, config, None)
        await answering
    finding = the(findings, "WebChat server")
    assert "TLS: " in finding.detail
    assert "which TLS versions it accepts" in finding.fix


async def test_other_errors_are_no_tls_fault() -> None:
    assert tls_fault(aiohttp.ClientConnectionError(), "x") is None
    assert tls_fault(ConnectionRefusedError(), "x") is None


async def test_log_of_the_link_names_the_tls_fault(tmp_path: Path) -> None:
    tls = signed("localhost").server(tmp_path)
    async with serving([], tls=tls) as port, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError) as caught:
            await session.get(f"https://localhost:{port}/")
        told = describe(caught.value)
        assert told == "certificate not accepted: self-signed certificate"
    async with serving([]) as port, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorSSLError) as plain:
            await session.get(f"https://localhost:{port}/")
        assert "_VERSION_NUMBER" in describe(plain.value)
    assert describe(TimeoutError()) == "no answer in time"


@pytest.mark.parametrize("told", [True, False])
async def test_ssl_cert_file_holds_for_everything(tmp_path: Path, *, told: bool) -> None:
    """Homeserver, HTTP and WebSocket of the link, in a process as an operator starts it."""
    tls = signed("localhost", AUTHORITY).server(tmp_path)
    authority = tmp_path / known(tmp_path)
    environment = {key: value for key, value in os.environ.items() if key != "SSL_CERT_FILE"}
    if told:
        environment["SSL_CERT_FILE"] = str(authority)
    fake = FakeHomeserver()
    async with (
        simulated() as simulator,
        tls_before(urlsplit(simulator.base_url).port or 0, tls) as port,
        serving(fake.routes(), tls=tls) as fake.port,
    ):
        configured(
            tmp_path,
            homeserver=f"https://localhost:{fake.port}",
            webchat=f"https://localhost:{port}/webchat",
            port=fake.bridge_port,
        )
        arguments = ("-m", "bridge", "doctor", "-c", str(tmp_path / "config.yaml"))
        doctor = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, env=environment
        )
        output = (await doctor.communicate())[0].decode()
    passed = ["homeserver", "WebChat server", "WebChat login", "WebChat socket", "WebChat command"]
    if told:
        assert all(f"PASS  {what} " in output for what in passed), output
    else:
        assert output.count("SSL_CERT_FILE") == 2, output
        assert not any(f"PASS  {what} " in output for what in passed), output


@pytest.mark.parametrize(
    ("key", "certificate"),
    [("ca_file: ca.pem", signed("localhost", AUTHORITY)), ("verify_ssl: false", signed("b.test"))],
)
async def test_tls_keys_of_webchat(tmp_path: Path, key: str, certificate: Signed) -> None:
    """For HTTP, the socket and the download of files alike."""
    known(tmp_path)
    findings = Findings()
    tls = certificate.server(tmp_path)
    async with (
        simulated() as simulator,
        tls_before(urlsplit(simulator.base_url).port or 0, tls) as port,
    ):
        address = f"https://localhost:{port}/webchat"
        config = configured(tmp_path, webchat=address, login=f"  {key}")
        await check_webchat(findings, config, None)
    lines = told(findings)
    assert [line[5:] for line in lines if line.startswith("PASS WebChat")] == [
        f"WebChat {what}" for what in ("server", "login", "socket", "upload", "command")
    ]
    found = [slip.detail for slip in slips(config, tmp_path)]
    unchecked = any(
        "anyone on the network path can read and change everything" in one for one in found
    )
    assert unchecked == (key == "verify_ssl: false")


@pytest.mark.parametrize(
    ("text", "why"),
    [(None, "No such file or directory"), ("no certificate", "it contains no certificate")],
)
async def test_a_ca_file_that_cannot_be_used(tmp_path: Path, text: str | None, why: str) -> None:
    if text is not None:
        (tmp_path / "ours.pem").write_text(text)
    configured(tmp_path, login="  ca_file: ours.pem")
    with pytest.raises(ConfigInvalid) as caught:
        Files(tmp_path / "config.yaml").load()
    said = f"config.yaml line 9: webchat.ca_file: cannot be used: {tmp_path}/ours.pem: {why}"
    assert str(caught.value) == said
