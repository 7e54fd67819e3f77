"""The network addresses that a fetch may reach: public ones, and those of networks that the owner opens.

Built around `confine`, an audit hook of the interpreter: from then on this process connects to no other address, sends
no datagram to one, speaks no FTP and starts no program, whichever library tries. The hook checks the address of the
connection itself, so every redirect is checked, and a name cannot lead to one address when it is checked and to another
one when it is used. It cannot be removed. It does not confine a library that connects in C, without Python's sockets.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

Network = IPv4Network | IPv6Network

_TRANSLATED = IPv6Network("64:ff9b::/96")
"""NAT64 (RFC 6052): the last 32 bits are an IPv4 address."""
_ALSO_PRIVATE = (
    IPv4Network("168.63.129.16/32"),  # a cloud's own service, on each of its machines
    IPv4Network("192.88.99.0/24"),  # relays of 6to4 (RFC 7526)
    IPv6Network("2002::/16"),  # 6to4: an IPv4 address within
    IPv6Network("fec0::/10"),  # site-local (RFC 3879)
)
"""Networks that `ipaddress` calls public; the private ones are those of IANA's special-purpose registries."""
_CONNECTIONS = frozenset(("socket.connect", "socket.sendto", "socket.sendmsg"))
_REFUSED = frozenset(
    (
        *("subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile"),
        *("os.system", "ftplib.connect"),
    )
)


class PrivateAddress(OSError):
    """A connection to an address that is neither public nor in an opened network."""


def networks_of(text: str) -> tuple[Network, ...]:
    """Returns the networks in a text such as "192.168.1.0/24, fd00::/8". Raises ValueError."""
    return tuple(ip_network(network, strict=False) for network in text.replace(",", " ").split())


def is_reachable(host: str, opened: Iterable[Network] = ()) -> bool:
    """Whether a numeric address is public or in an opened network; False for a name."""
    try:
        address = _plain(ip_address(host))
    except ValueError:
        return False
    return _is_public(address) or any(address in network for network in opened)


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Returns the IPv4 address inside a mapped or translated IPv6 address; any other one as it is."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _TRANSLATED:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if address.is_multicast or address.is_reserved or address.is_unspecified or not address.is_global:
        return False
    return not any(address in network for network in _ALSO_PRIVATE)


@dataclass
class Confinement:
    """`refused`: the last address to which a connection was refused; None so far."""

    refused: str | None = None


def confine(opened: Sequence[Network] = ()) -> Confinement:
    """Confine this process for as long as it runs. A connection that is refused raises `PrivateAddress`, a program or
    FTP `PermissionError`."""
    state = Confinement()

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in _CONNECTIONS:
            address = args[1]
            if address is None:  # the peer of a socket that is connected
                return
            host = str(address[0]) if isinstance(address, tuple) and address else str(address)
            if not isinstance(address, tuple) or not is_reachable(host, opened):
                state.refused = host
                raise PrivateAddress(f"{host} is not a public address")
        elif event in _REFUSED:
            raise PermissionError(f"a fetch may not do this: {event}")

    sys.addaudithook(hook)
    return state
