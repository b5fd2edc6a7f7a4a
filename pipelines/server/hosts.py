"""The hosts and origins that requests may name.

A page of any site can let its own name lead to 127.0.0.1 and then use the server there as if it
were the site's (DNS rebinding), or post a form to it. The browser sends the name in `Host` and the
page's site in `Origin`.
"""

import ipaddress
import re
import socket
from collections.abc import Collection

from ..errors import InputError

ANY = "*"
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^\s:/?#@\[\]]+)(?::(?P<port>[0-9]{1,5}))?")
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>[^\s/?#@]+)")
_PORTS = {"http": "80", "https": "443"}
_HERE = ("localhost", "127.0.0.1", "::1")


class Hosts:
    """Tells whether a request is meant for this server.

    `Host` must be an address that is served, a name of this machine, or one that is allowed. If
    the server listens beyond this machine, it may also be any IP address, and any name without a
    dot, such as a service has in Docker and Kubernetes: no site has such a name. `Origin`, if there
    is one, must be the address that the request is sent to, or of a host that is allowed.

    Args:
        bound: Name or address that the server listens on.
        allowed: Further names; `*` for all.

    Raises:
        InputError: If one of the names is not a host name.
    """

    def __init__(self, bound: str, allowed: Collection[str] = ()):
        self._allowed = {_normal_name(name) for name in allowed}
        machine = socket.gethostname()
        self._own = {_normal(name) for name in (*_HERE, bound, machine, machine.split(".")[0])}
        self._beyond = not _is_loopback(bound)

    def refusal(self, scope) -> str | None:
        """Describes what is wrong with the headers of a request; None if nothing is."""
        if ANY in self._allowed:
            return None
        headers = [(name, value.decode("latin1").lower()) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == b"host"]
        for host in hosts:  # HTTP/1.0 without it does not come from a browser
            if not self._is_known(host, scope):
                return self._message("Host", host, _HOST.fullmatch(host))
        for origin in (value for name, value in headers if name == b"origin"):
            match = _ORIGIN.fullmatch(origin)
            if not (match and self._is_same(match, hosts)):
                host = match and _HOST.fullmatch(match["host"])
                return self._message("Origin", origin, host)
        return None

    def _is_known(self, host: str, scope) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name, server = _normal(match["name"]), scope.get("server")
        if name in self._own | self._allowed or (server and name == _normal(server[0])):
            return True
        return self._beyond and ("." not in name or _is_address(name))

    def _is_same(self, origin: re.Match, hosts: list[str]) -> bool:
        default = _PORTS[origin["scheme"]]
        match = _HOST.fullmatch(origin["host"])
        if match is None:
            return False
        if _normal(match["name"]) in self._allowed:
            return True
        wanted = [_HOST.fullmatch(host) for host in hosts]
        return any(
            host
            and _normal(host["name"]) == _normal(match["name"])
            and (host["port"] or default) == (match["port"] or default)
            for host in wanted
        )

    def _message(self, header: str, value: str, match: re.Match | None) -> str:
        names = ", ".join(sorted(self._own | self._allowed))
        wanted = f"of {names}" if header == "Host" else f"the same as Host, or of {names}"
        name = _normal(match["name"]) if match else "NAME"
        return f"{header} must be {wanted}, got {value}; --allow-host {name} allows it."


def _normal_name(name: str) -> str:
    if name == ANY:
        return name
    normal = _normal(name)
    if not (_is_address(normal) or _NAME.fullmatch(normal)):
        raise InputError(
            f"allow_host must be a name or an address without a port, or {ANY}, got {name}."
        )
    return normal


def _normal(name: str) -> str:
    """Writes an address in its canonical form, and a name in lower case without the last dot."""
    name = name.lower().strip("[]").removesuffix(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(bound: str) -> bool:
    try:
        found = {info[4][0] for info in socket.getaddrinfo(bound, None)}
    except OSError:  # said when it is listened on
        return True
    return all(ipaddress.ip_address(str(address)).is_loopback for address in found)
