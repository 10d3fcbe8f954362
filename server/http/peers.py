"""Whom a connection comes from, by its address: what headers say of that, anyone can write."""

import asyncio
from ipaddress import IPv4Address, IPv6Address, ip_address

# Of an IPv6 address, what names the network: whoever has one there has them all (RFC 4291, 2.5.4).
_NETWORK_BYTES = 8


def address_of(transport: asyncio.BaseTransport | None) -> IPv4Address | IPv6Address | None:
    """The address at the other end; None where there is none, as once it has gone."""
    peer = transport.get_extra_info("peername") if transport is not None else None
    return parsed(peer[0]) if isinstance(peer, tuple) else None


def parsed(text: str) -> IPv4Address | IPv6Address | None:
    """An address as it is written; one of IPv4 also where it comes mapped (RFC 4291, 2.5.5.2)."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def client_of(transport: asyncio.BaseTransport | None) -> bytes:
    """What a client is told from others by: its address, or its network where that is of IPv6."""
    address = address_of(transport)
    if address is None:
        return b""
    return address.packed[:_NETWORK_BYTES]
