"""Which hosts are public: neither this machine nor something in its own networks.

Whoever lets a program fetch addresses that others wrote, such as those of a list from the web, lets
them look at what only this machine can reach: services on it, routers, the metadata of clouds with
their keys. So the check is made on the numbers to connect to, not on the name, and the connection
is then made to these numbers: a name may resolve to others a moment later.
"""

import ipaddress
import socket

from ..errors import ImageFileError

_IPV4_IN_LAST_BITS = tuple(map(ipaddress.IPv6Network, ("::/96", "64:ff9b::/96", "64:ff9b:1::/48")))
_BITS = 0xFFFFFFFF


def is_public(number: str) -> bool:
    """Tells whether the whole internet reaches the same host by an IPv4 or IPv6 address.

    Loopback, private, link-local, shared, reserved, unspecified and multicast addresses are not
    public, nor are IPv6 addresses that hold an IPv4 address of this kind (mapped, compatible, 6to4,
    Teredo, NAT64).
    """
    address = ipaddress.ip_address(number)
    inner = _ipv4_in(address) if isinstance(address, ipaddress.IPv6Address) else ()
    return all(each.is_global and not each.is_multicast for each in inner or (address,))


def _ipv4_in(address: ipaddress.IPv6Address) -> tuple[ipaddress.IPv4Address, ...]:
    if address.ipv4_mapped:
        return (address.ipv4_mapped,)
    if address.sixtofour:
        return (address.sixtofour,)
    if address.teredo:
        return address.teredo
    if any(address in network for network in _IPV4_IN_LAST_BITS):
        return (ipaddress.IPv4Address(int(address) & _BITS),)
    return ()


def resolve(host: str, port: int, *, allow_local: bool) -> list[str]:
    """Returns the numeric addresses of a host, to be connected to.

    Args:
        host: A name, or an address in any of the forms that the system takes, such as `127.1`.
        port: The port.
        allow_local: Whether hosts that are not public are allowed.

    Raises:
        ImageFileError: If there is no such host, or one of its addresses is not public.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # a name that is too long or of no known characters
        raise ImageFileError(f"{host} is not found", str(error)) from error
    numbers = list(dict.fromkeys(str(place[0]) for *_, place in found))
    local = [number for number in numbers if not is_public(number)]
    if local and not allow_local:
        at = "" if host == local[0] else f" at {local[0]}"
        raise ImageFileError(
            f"address must be on a public host, got {host}{at}",
            "this machine and its own networks are allowed only with --allow-local",
        )
    return numbers
