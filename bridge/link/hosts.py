"""Which hosts an agent's file may be fetched from.

A file's address is chosen by whoever sits at the desk, and we fetch it from inside the operator's
network. So only the server's own origin and listed hosts are asked, and a listed *name* may still
not lead to a private address unless the operator listed that network too. The check sits in the
resolver that the connection itself uses: what was checked is what is connected to, whatever the
name resolves to a moment later.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import SplitResult

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class AddressRefused(OSError):
    """A name leads only to addresses that must not be connected to."""


class AllowedHosts:
    """The operator's list, read once."""

    def __init__(self, own: SplitResult, entries: Iterable[str]) -> None:
        """Take the server's own address and `host`, `host:port` or CIDR entries.

        Raises:
            ValueError: an entry is none of these.
        """
        self._own_scheme = own.scheme
        self.own = (own.hostname or "", port_of(own))
        self._named: set[tuple[str, int | None]] = set()
        self._networks: list[Network] = []
        for entry in entries:
            self._add(entry.strip())

    def _add(self, entry: str) -> None:
        try:
            self._networks.append(ipaddress.ip_network(entry))
        except ValueError:
            parts = SplitResult("", entry, "", "", "")
            if "/" in entry or not parts.hostname or parts.username is not None:
                raise ValueError(f"{entry!r} is no host, host:port or CIDR") from None
            self._named.add((parts.hostname, parts.port))

    def allows(self, url: SplitResult) -> bool:
        """Say whether this address may be asked at all, before its name is resolved."""
        if url.scheme not in _DEFAULT_PORTS or url.username is not None:
            return False
        host, port = url.hostname or "", port_of(url)
        if url.scheme == self._own_scheme and (host, port) == self.own:
            return True
        literal = _literal(host)
        if literal is not None and self._covered(literal):
            return True
        usual = port == _DEFAULT_PORTS[url.scheme]
        named = (host, port) in self._named or (usual and (host, None) in self._named)
        return named and (literal is None or self.connectable(literal))

    def connectable(self, address: Address) -> bool:
        """Say whether a listed host may have this address: public, or in a listed network."""
        return self._covered(address) or all(
            part.is_global and not part.is_multicast for part in _embedded(address)
        )

    def _covered(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


class GuardedResolver(AbstractResolver):
    """Resolves names and keeps only the addresses that may be connected to."""

    def __init__(self, hosts: AllowedHosts, inner: AbstractResolver | None = None) -> None:
        self._hosts = hosts
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the permitted addresses of a name.

        Raises:
            AddressRefused: there are addresses, but none is permitted.
            OSError: it cannot be resolved.
        """
        found = await self._inner.resolve(host, port, family)
        if (host, port) == self._hosts.own:
            return found
        good = [
            result
            for result in found
            if (literal := _literal(result["host"])) is not None
            and self._hosts.connectable(literal)
        ]
        if found and not good:
            raise AddressRefused(f"{host} leads to addresses that are not public")
        return good

    async def close(self) -> None:
        await self._inner.close()


def port_of(url: SplitResult) -> int:
    """Return the port of an address, the usual one of its scheme where it names none."""
    return url.port or _DEFAULT_PORTS.get(url.scheme, 0)


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _embedded(address: Address) -> list[Address]:
    """Return the address and every IPv4 address that it may be a wrapping of."""
    found: list[Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return [address.ipv4_mapped]
        if address.sixtofour is not None:
            found.append(address.sixtofour)
        if address.teredo is not None:
            found.extend(address.teredo)
        if address in _NAT64:
            found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return found
