import ipaddress
import socket
from urllib.parse import urlsplit

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from bridge.link.files import AddressRefused, AllowedHosts, GuardedResolver

OWN = urlsplit("https://crm.example.org/webchat")


def allowed(url: str, *entries: str) -> bool:
    return AllowedHosts(OWN, entries).allows(urlsplit(url))


@pytest.mark.parametrize(
    "url",
    [
        "https://crm.example.org/up/a.jpg",
        "https://CRM.example.org:443/a",
        "https://cdn.example.net/a",
        "http://cdn.example.net/a",
        "https://files.example.net:8443/a",
        "http://10.1.2.3:9000/a",
    ],
)
def test_allowed(url: str) -> None:
    assert allowed(url, "CDN.example.net", "files.example.net:8443", "10.1.0.0/16")


@pytest.mark.parametrize(
    "url",
    [
        "http://crm.example.org/a",  # another origin: not https
        "https://crm.example.org:8443/a",
        "https://evil.example/a",
        "https://crm.example.org.evil.example/a",
        "https://crm.example.org@evil.example/a",
        "https://user@crm.example.org/a",
        "https://cdn.example.net:8080/a",
        "https://files.example.net/a",
        "http://10.2.2.3/a",
        "http://127.0.0.1/a",
        "http://[::1]/a",
        "file:///etc/passwd",
        "ftp://crm.example.org/a",
        "//crm.example.org/a",
        "",
    ],
)
def test_not_allowed(url: str) -> None:
    assert not allowed(url, "cdn.example.net", "files.example.net:8443", "10.1.0.0/16")


def test_a_listed_private_address_needs_its_network_too() -> None:
    assert not allowed("http://192.168.1.5/a", "192.168.1.5:80")
    assert allowed("http://192.168.1.5/a", "192.168.1.5/32")


@pytest.mark.parametrize("entry", ["", "a b/c", "http://x/", "user@host", "10.0.0.1/8"])
def test_entries_that_cannot_be_read(entry: str) -> None:
    with pytest.raises(ValueError, match="no host"):
        AllowedHosts(OWN, [entry])


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - refused, not bound
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("10.5.0.1", True),  # listed below
    ],
)
def test_connectable(address: str, good: bool) -> None:
    hosts = AllowedHosts(OWN, ["10.5.0.0/16"])
    assert hosts.connectable(ipaddress.ip_address(address)) is good


class Names(AbstractResolver):
    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=at, port=port, family=family, proto=0, flags=0)
            for at in self.addresses
        ]

    async def close(self) -> None:
        self.addresses = ()


@pytest.mark.asyncio
async def test_the_resolver_keeps_only_what_may_be_connected() -> None:
    hosts = AllowedHosts(OWN, ["cdn.example.net"])
    found = await GuardedResolver(hosts, Names("10.0.0.1", "93.184.216.34")).resolve("cdn", 443)
    assert [result["host"] for result in found] == ["93.184.216.34"]
    with pytest.raises(AddressRefused, match="not public"):
        await GuardedResolver(hosts, Names("10.0.0.1")).resolve("cdn.example.net", 443)


@pytest.mark.asyncio
async def test_the_own_server_may_be_private_on_its_own_port_only() -> None:
    hosts = AllowedHosts(OWN, ["crm.example.org:9000"])
    resolver = GuardedResolver(hosts, Names("10.0.0.1"))
    assert await resolver.resolve("crm.example.org", 443)
    with pytest.raises(AddressRefused):
        await resolver.resolve("crm.example.org", 9000)
    await resolver.close()
