"""Fetches what is at an http or https address, within limits that hold whatever the server does."""

import contextlib
import http.client
import ssl
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote, urljoin

import certifi
import urllib3
from urllib3.util import Url, parse_url

import kerasseg

from ..errors import ImageFileError, InputError
from . import public_hosts

PORTS = {"http": 80, "https": 443}
_REDIRECTS, _MOST_REDIRECTS = (301, 302, 303, 307, 308), 5
_OK = 200
_PART = 2**16  # bytes that are read at a time
_ENCODINGS = {"": None, "identity": None, "gzip": 47, "x-gzip": 47, "deflate": 47}  # zlib's wbits
_ACCEPT = {"Accept": "image/*, */*;q=0.5", "Accept-Encoding": "identity"}


class AddressError(InputError):
    """A text is no address of http or https; the message does not repeat it."""


@dataclass(frozen=True)
class Limits:
    """What a download may take and reach.

    Attributes:
        max_bytes: Most bytes of an image, also after decompression.
        timeout: Most seconds from the first look-up of a name to the last byte.
        allow_local: Whether hosts may be reached that are not public, such as this machine.

    Raises:
        InputError: If one is not above 0.
    """

    max_bytes: int = 10**8
    timeout: float = 60
    allow_local: bool = False

    def __post_init__(self) -> None:
        """Checks the range."""
        if self.max_bytes < 1:
            raise InputError(f"max_download must be above 0 bytes, got {self.max_bytes}.")
        if not 0 < self.timeout < threading.TIMEOUT_MAX:
            raise InputError(f"download_timeout must be above 0 seconds, got {self.timeout:g}.")


def fetch(url: str, limits: Limits) -> bytes:
    """Fetches the content at an address; redirects are followed, each checked like the address.

    The connection is direct; proxies of the environment are not used, as nobody could check which
    host they reach.

    Args:
        url: The address. A name and password in it are sent to its host only.
        limits: What the download may take and reach.

    Raises:
        ImageFileError: If it cannot be fetched within the limits.
    """
    job = _Job(limits)
    thread = threading.Thread(target=job.run, args=(url,), daemon=True)
    thread.start()
    # A timeout of a socket is that of each operation: a server that sends a byte now and then
    # would hold a download forever, and the look-up of a name has none at all.
    thread.join(limits.timeout)
    if thread.is_alive():
        job.give_up()
        raise ImageFileError(
            f"address must answer completely within {limits.timeout:g} seconds, got {job.told}",
            "slow, or blocked by a firewall; --download-timeout gives it more time",
        )
    if job.error is not None:
        raise job.error
    return bytes(job.content)


@dataclass
class _Job:
    """A download that runs in a thread of its own."""

    limits: Limits
    content: bytearray = field(default_factory=bytearray)
    error: BaseException | None = None
    response: urllib3.BaseHTTPResponse | None = None
    is_given_up: bool = False

    @property
    def told(self) -> str:
        return f"{len(self.content)} bytes so far" if self.response else "no answer"

    def give_up(self) -> None:
        self.is_given_up = True
        if self.response is not None:
            with contextlib.suppress(Exception):  # the thread may be closing it
                self.response.close()

    def run(self, url: str) -> None:
        try:
            self._follow(parse(url))
        except (ImageFileError, InputError) as error:
            self.error = error
        except Exception as error:  # urllib3 and http.client raise many kinds
            self.error = ImageFileError("address cannot be read", _reason(error))
            self.error.__cause__ = error

    def _follow(self, target: Url) -> None:
        for _ in range(_MOST_REDIRECTS + 1):
            with self._answer(target) as response:
                place = response.headers.get("location")
                if response.status not in _REDIRECTS or place is None:
                    self._receive(response)
                    return
            try:
                target = parse(urljoin(target.url, place))
            except InputError as error:
                raise ImageFileError(
                    "address must lead to http or https, got a redirect to another",
                    str(error).removesuffix("."),
                ) from error
        raise ImageFileError(
            f"address must lead to an image, got more than {_MOST_REDIRECTS} redirects",
            "a circle, or a page that asks for a login",
        )

    @contextlib.contextmanager
    def _answer(self, target: Url) -> Iterator[urllib3.BaseHTTPResponse]:
        """Connects to one of the addresses of a host that were checked; yields the answer."""
        scheme, host = str(target.scheme), str(target.host).strip("[]")
        port = target.port or PORTS[scheme]
        numbers = public_hosts.resolve(host, port, allow_local=self.limits.allow_local)
        last: Exception | None = None
        for number in numbers:
            with _pool(scheme, host, number, port, self.limits.timeout) as pool:
                try:
                    response = pool.urlopen(
                        "GET",
                        target.request_uri,
                        headers=_headers(target),
                        redirect=False,
                        retries=False,
                        preload_content=False,
                        decode_content=False,
                    )
                except (
                    urllib3.exceptions.NewConnectionError,
                    urllib3.exceptions.ConnectTimeoutError,
                ) as error:
                    last = error
                    continue
                self.response = response
                try:
                    yield response
                finally:
                    response.close()
                return
        raise ImageFileError(f"{host} cannot be reached", _reason(last)) from last

    def _receive(self, response: urllib3.BaseHTTPResponse) -> None:
        if response.status != _OK:
            reason = f" ({response.reason[:60]})" if response.reason else ""
            raise ImageFileError(
                f"address must answer with HTTP status {_OK}, got {response.status}{reason}",
                "a wrong address, or one that needs a login",
            )
        length = response.headers.get("content-length", "")
        self._check(int(length) if length.isascii() and length.isdecimal() else 0)
        decode = _decoder(response.headers.get("content-encoding", ""))
        while part := response.read1(_PART):
            if self.is_given_up:
                return
            # One byte more than allowed suffices to know that it is too much.
            self.content += decode(part, self.limits.max_bytes - len(self.content) + 1)
            self._check(len(self.content))
        if not self.content:
            raise ImageFileError("address must lead to an image, got no content", "a wrong address")

    def _check(self, size: int) -> None:
        if size > self.limits.max_bytes:
            raise ImageFileError(
                f"image at an address must have at most {self.limits.max_bytes} bytes, got more",
                "--max-download allows more",
            )


def parse(url: str) -> Url:
    """Takes an address apart; characters that must not stand in one are escaped.

    Raises:
        AddressError: If it is no address of http or https. The message does not repeat it, as it
            may hold a password.
    """
    try:
        target = parse_url(url)
    except urllib3.exceptions.LocationParseError as error:
        raise AddressError("address must be one such as https://host/image.jpg.") from error
    if target.scheme not in PORTS:
        raise AddressError(f"address must begin with http:// or https://, got {target.scheme}:.")
    if not target.host:
        raise AddressError("address must have a host, such as https://host/image.jpg.")
    return target


def _pool(scheme: str, host: str, number: str, port: int, timeout: float):
    """Returns a pool of connections to a number, which checks the certificate of the host."""
    limit = urllib3.Timeout(connect=timeout, read=timeout)
    if scheme == "http":
        return urllib3.HTTPConnectionPool(number, port, timeout=limit)
    context = ssl.create_default_context()  # those of the system, to which companies add theirs
    context.load_verify_locations(certifi.where())
    return urllib3.HTTPSConnectionPool(
        number,
        port,
        timeout=limit,
        ssl_context=context,
        server_hostname=host,
        assert_hostname=host,
    )


def _headers(target: Url) -> dict[str, str]:
    agent = {"User-Agent": f"kerasseg/{kerasseg.__version__}", "Host": target.netloc or ""}
    auth = urllib3.make_headers(basic_auth=unquote(target.auth)) if target.auth else {}
    return {**_ACCEPT, **agent, **auth}


def _decoder(encoding: str):
    """Returns the function from received bytes and a most number of bytes to decoded bytes."""
    encoding = encoding.strip().lower()
    if encoding not in _ENCODINGS:
        raise ImageFileError(
            f"address must answer without compression or with gzip, got {encoding[:20]}",
            "download it with another program",
        )
    if (bits := _ENCODINGS[encoding]) is None:
        return lambda part, most: part
    return zlib.decompressobj(bits).decompress


def _reason(error: BaseException | None) -> str:
    """Describes an error without the address, which may hold a password or a key."""
    while error is not None and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection was cut before the end"
    strerror = getattr(error, "strerror", None)
    return str(strerror or type(error).__name__)
