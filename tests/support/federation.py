"""Homeservers that federate on one machine: keys of homeserver.yaml for each of them.

A server named `localhost:PORT` is found without DNS and .well-known. Federation requires TLS, so
each has a second listener, with a certificate that the others do not verify.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.certificates import signed
from tests.support.ports import free_port


def federating(folder: Path, port: int) -> dict[str, object]:
    """Return the keys for a server whose clients use `port`; its certificate goes into `folder`."""
    secure, certificate = free_port(), folder / "federation.pem"
    certificate.write_bytes(signed("localhost").with_key())
    here = {"type": "http", "bind_addresses": ["127.0.0.1"]}
    return {
        "server_name": f"localhost:{secure}",
        "listeners": [
            {**here, "port": port, "resources": [{"names": ["client"]}]},
            {**here, "port": secure, "tls": True, "resources": [{"names": ["federation"]}]},
        ],
        "tls_certificate_path": str(certificate),
        "tls_private_key_path": str(certificate),
        "federation_verify_certificates": False,
        "send_federation": True,
        "federation_domain_whitelist": None,
        "ip_range_blacklist": [],
    }
