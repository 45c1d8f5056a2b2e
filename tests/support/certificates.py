"""Valid and invalid TLS certificates for servers on the loopback interface."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = timedelta(days=1)
_load_default_certs = ssl.SSLContext.load_default_certs


def trust_no_authority() -> None:
    """Trust no authority of the system in this process, only those of `SSL_CERT_FILE`.

    Reading them takes 10 ms, in each of thousands of TLS contexts: a bridge has four.
    """
    setattr(ssl.SSLContext, "load_default_certs", _load_named_certs)  # noqa: B010 - a method


def _load_named_certs(
    context: ssl.SSLContext, purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH
) -> None:
    if "SSL_CERT_FILE" in os.environ:
        _load_default_certs(context, purpose)


@dataclass(frozen=True)
class Signed:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def with_key(self) -> bytes:
        """Return key and certificate as PEM."""
        key = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return key + self.pem()

    def server(self, folder: Path) -> ssl.SSLContext:
        """Return the TLS context of a server with this certificate."""
        path = folder / f"{self.certificate.serial_number}.pem"
        path.write_bytes(self.with_key())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


def signed(
    name: str, issuer: Signed | None = None, *, authority: bool = False, age: timedelta = _DAY
) -> Signed:
    """Return a certificate that is valid for two days.

    Args:
        name: of the host or authority; "localhost" includes 127.0.0.1.
        issuer: signs the certificate; self-signed if None.
        authority: whether it may sign other certificates.
        age: time since it became valid; negative if it is not valid yet.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    if name == "localhost":
        names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    by = issuer.certificate.subject if issuer else subject
    signer = issuer.key if issuer else key
    begins = datetime.now(UTC) - age
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + 2 * _DAY)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    return Signed(builder.sign(signer, hashes.SHA256()), key)


@asynccontextmanager
async def tls_before(port: int, tls: ssl.SSLContext) -> AsyncIterator[int]:
    """Run a reverse proxy that terminates TLS and forwards to `port`; yield its own port."""

    async def pour(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await source.read(65536):
                target.write(piece)
                await target.drain()
        target.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pour(reader, inner_writer), pour(inner_reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
