"""Which network addresses a stranger may make us connect to. Pure.

An address is public only if it, and every IPv4 address hidden inside it, is. Python's own `is_global` is the base; the
lists add what its 3.11 versions miss.

Source: the IANA special-purpose address registries (RFC 6890); OWASP, "Server-Side Request Forgery Prevention".
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_REFUSED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "168.63.129.16/32",  # the Azure host's own services, on a public address
    )
)
_PUBLIC_V6 = IPv6Network("2000::/3")  # all that IANA has given out as global unicast
_REFUSED_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: IPv4Address | IPv6Address | str) -> bool:
    """Whether an image may be fetched from there."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv4Address):
        return found.is_global and not found.is_multicast and not any(found in net for net in _REFUSED_V4)
    if found.scope_id is not None:
        return False
    inner = found.ipv4_mapped or found.sixtofour
    if inner is None and found in _NAT64:
        inner = IPv4Address(int(found) & 0xFFFF_FFFF)
    if inner is not None:
        return is_public(inner)
    return found in _PUBLIC_V6 and found.is_global and not any(found in net for net in _REFUSED_V6)
