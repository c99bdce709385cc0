"""Connector: opens connections to checked addresses, not to names."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import TypeAlias

from flowstone_http.deadline import Deadline
from flowstone_http.errors import HttpError, HttpTimeoutError, HttpUnavailableError, RefusedError

SocketAddress: TypeAlias = tuple[str | int | bytes, ...]
Resolve: TypeAlias = Callable[[str, int], Sequence[tuple[int, SocketAddress]]]
"""Maps a host and a port to socket families and addresses, the preferred first."""

_IPV4_IN_IPV6 = (
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),  # mapped
    (ipaddress.IPv6Network("::/96"), 0),  # compatible
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (ipaddress.IPv6Network("64:ff9b:1::/48"), 0),  # NAT64 of one's own network
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), 0),  # SIIT
    (ipaddress.IPv6Network("2002::/16"), 80),  # 6to4
)
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32",  # Azure's metadata service; those of other clouds are link-local
            # From the IANA registries; the ipaddress modules of Python versions differ in these.
            "192.0.0.0/24",
            "3fff::/20",
            "5f00::/16",
        ),
    )
)
_ISATAP = {0x00005EFE, 0x02005EFE}
"""First half of the interface identifier of an address that embeds IPv4 (RFC 5214)."""


def is_public(text: str) -> bool:
    """Return True if an address is on the public internet.

    Loopback, private, link-local, shared, multicast and reserved addresses are not, nor is any
    form of IPv6 that embeds such an IPv4 address.

    Example:
        >>> is_public("9.9.9.9"), is_public("10.0.0.1"), is_public("::ffff:127.0.0.1")
        (True, False, False)
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        for network, shift in _IPV4_IN_IPV6:
            if address in network:
                inner = ipaddress.IPv4Address(int(address) >> shift & 0xFFFFFFFF)
                return is_public(str(inner))
        isatap = int(address) >> 32 & 0xFFFFFFFF in _ISATAP
        if isatap or address.teredo is not None or address.is_site_local:
            return False
    known = any(address in network for network in _NOT_PUBLIC)
    return address.is_global and not address.is_multicast and not known


def resolve(host: str, port: int) -> list[tuple[int, SocketAddress]]:
    """Return the addresses of a host from the system's resolver.

    Raises:
        OSError: If the host is unknown.
    """
    found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


class Connector:
    """Connector for hosts, within a deadline.

    A name is resolved once for each connection, and the checked address is the one connected to,
    which defeats DNS rebinding.

    Args:
        deadline: The deadline of the exchange.
        allowed: Returns True if an address may be connected to.
        resolve: The resolver.
    """

    def __init__(
        self, deadline: Deadline, allowed: Callable[[str], bool], resolve: Resolve = resolve
    ) -> None:
        self.deadline = deadline
        self._allowed = allowed
        self._resolve = resolve

    def connect(self, host: str, port: int) -> socket.socket:
        """Connect to the first address of a host that accepts.

        Raises:
            HttpError: If the host is unknown, or no address accepts or is allowed.
        """
        failure: HttpError | None = None
        found = self._look_up(host, port)
        for number, (family, address) in enumerate(found):
            # After a refused address the next is not tried: a host with both is suspicious.
            if not self._allowed(str(address[0])):
                raise RefusedError(
                    f"{host} has a private address, and allow_private = false",
                    hint="loopback, link-local and local networks are private; set allow_private "
                    "= true to allow them",
                )
            try:
                # An address that never accepts must leave time for the next ones.
                return self._open(family, address, len(found) - number)
            except OSError as error:
                failure = _unreachable(error, host, port)
        raise failure or _no_such_host(host)

    def _look_up(self, host: str, port: int) -> Sequence[tuple[int, SocketAddress]]:
        try:
            found = self._resolve(host.strip("[]"), port)
        except (OSError, UnicodeError):
            found = ()
        # The system's resolver has separate time-outs, and cannot be interrupted.
        self.deadline.remaining()
        return found

    def _open(self, family: int, address: SocketAddress, share: int) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(self.deadline.remaining() / share)
            sock.connect(address)
            sock.settimeout(self.deadline.remaining())
        except BaseException:
            sock.close()
            raise
        return sock


def _unreachable(error: OSError, host: str, port: int) -> HttpError:
    kind, what = HttpUnavailableError, "cannot be reached"
    if isinstance(error, TimeoutError):
        kind, what = HttpTimeoutError, "did not accept a connection in time"
    elif isinstance(error, ConnectionRefusedError):
        what = "refuses connections"
    return kind(
        f"{host} {what}: port {port}",
        hint="check the host and port of url, that the server runs, and the network between",
    )


def _no_such_host(host: str) -> HttpError:
    return HttpUnavailableError(
        f"cannot resolve host {host!r}",
        hint="check the host of url, and the DNS resolver of this machine",
    )
