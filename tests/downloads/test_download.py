import base64
import gzip
import http.server
import io
import socket
import threading
import time

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines.downloads import addresses, download, public_hosts
from kerasseg.pipelines.downloads.download import Limits
from kerasseg.pipelines.errors import ImageFileError, InputError

LOCAL = Limits(allow_local=True, timeout=20, max_bytes=10_000)


def png():
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3)).save(buffer, "PNG")
    return buffer.getvalue()


PNG = png()
ANSWERS = {
    "/image.png": (200, {}, PNG),
    "/empty": (200, {}, b""),
    "/gone": (404, {}, b"no"),
    "/large": (200, {}, b"x" * 10_001),
    "/unannounced": (200, {"Content-Length": None}, b"x" * 10_001),
    "/gzip": (200, {"Content-Encoding": "gzip"}, gzip.compress(PNG)),
    "/bomb": (200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(9_000_000))),
    "/brotli": (200, {"Content-Encoding": "br"}, b"x"),
    "/no-gzip": (200, {"Content-Encoding": "gzip"}, b"not compressed"),
    "/short": (200, {"Content-Length": "500"}, b"x" * 400),
    "/to-image": (302, {"Location": "/image.png"}, b""),
    "/to-file": (302, {"Location": "file:///etc/passwd"}, b""),
    "/to-cloud": (307, {"Location": "http://169.254.169.254/latest/meta-data"}, b""),
    "/circle": (301, {"Location": "/circle"}, b""),
    "/nowhere": (302, {}, b""),
}


class Handler(http.server.BaseHTTPRequestHandler):
    requests = []  # noqa: RUF012

    def do_GET(self):
        self.requests.append((self.path, self.headers))
        if self.path in ("/drip", "/drip-headers"):
            return self.drip()
        status, headers, body = ANSWERS[self.path]
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        return None

    def drip(self):
        """Sends a byte now and then, so that no single operation takes long."""
        if self.path == "/drip":
            self.send_response(200)
            self.end_headers()
        for _ in range(200):
            try:
                self.wfile.write(b"x")
                time.sleep(0.05)
            except OSError:
                return

    def log_message(self, format, *args):
        """Prints nothing."""


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


@pytest.fixture
def resolver(monkeypatch):
    """Lets names resolve to what a test says; returns the names that were looked up."""
    looked_up = []

    def answer_with(*numbers):
        def getaddrinfo(host, port, *arguments, **options):
            if host[0].isdigit():
                return usual(host, port, *arguments, **options)
            looked_up.append(host)
            number = numbers[min(len(looked_up), len(numbers)) - 1]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, port))]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return looked_up

    usual = socket.getaddrinfo
    return answer_with


def test_an_image_is_fetched_as_it_is_also_behind_a_redirect_and_gzip(server):
    for path in ("/image.png", "/to-image", "/gzip"):
        assert download.fetch(server + path, LOCAL) == PNG
    headers = Handler.requests[-1][1]
    assert headers["User-Agent"].startswith("kerasseg/")
    assert headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/empty", "must lead to an image, got no content"),
        ("/gone", r"must answer with HTTP status 200, got 404 \(Not Found\)"),
        ("/nowhere", "must answer with HTTP status 200, got 302"),
        ("/large", "must have at most 10000 bytes, got more"),
        ("/unannounced", "must have at most 10000 bytes, got more"),
        ("/bomb", "must have at most 10000 bytes, got more"),
        ("/brotli", "without compression or with gzip, got br"),
        ("/no-gzip", "cannot be read"),
        ("/short", r"cannot be read \(the connection was cut before the end"),
        ("/to-file", "must lead to http or https, got a redirect"),
        ("/circle", "got more than 5 redirects"),
    ],
)
def test_what_a_server_does_wrong_is_said(server, path, message):
    with pytest.raises(ImageFileError, match=message):
        download.fetch(server + path, LOCAL)


@pytest.mark.parametrize("path", ["/drip", "/drip-headers"])
def test_a_server_that_sends_a_byte_now_and_then_is_given_up(server, path):
    begun = time.monotonic()
    with pytest.raises(ImageFileError, match=r"completely within 0\.3 seconds"):
        download.fetch(server + path, Limits(allow_local=True, timeout=0.3))
    assert time.monotonic() - begun < 3


def test_a_look_up_that_takes_forever_is_given_up(monkeypatch):
    done = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: done.wait() and [])
    with pytest.raises(ImageFileError, match="got no answer"):
        download.fetch("http://example.org/a.png", Limits(timeout=0.2))
    done.set()


def test_a_host_that_cannot_be_reached_is_named(free_port):
    with pytest.raises(ImageFileError, match=r"cannot be reached \(Connection refused"):
        download.fetch(f"http://127.0.0.1:{free_port()}/?key=secret", LOCAL)
    with pytest.raises(ImageFileError, match="no-such-host"):
        download.fetch("http://no-such-host.invalid/", Limits(timeout=20))


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost"),
        *("0.0.0.0", "10.1.2.3", "172.31.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[fe80::1]"),
        *("[fd00::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "224.0.0.1", "255.255.255.255"),
    ],
)
def test_hosts_that_are_not_public_are_refused_in_every_form(host):
    with pytest.raises(ImageFileError, match="must be on a public host") as caught:
        download.fetch(f"http://{host}:1/a.png", Limits(timeout=20))
    assert "--allow-local" in caught.value.cause


def test_public_addresses_are_public():
    for number in ("93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8"):
        assert public_hosts.is_public(number)


def test_a_name_that_resolves_to_a_local_address_is_refused(resolver):
    resolver("10.0.0.7")
    with pytest.raises(ImageFileError, match=r"got images\.example at 10\.0\.0\.7"):
        download.fetch("http://images.example/a.png", Limits(timeout=20))


def test_a_redirect_is_checked_like_the_address(server, monkeypatch):
    here = server.removeprefix("http://").split(":")[0]
    usual = public_hosts.is_public
    monkeypatch.setattr(public_hosts, "is_public", lambda number: number == here or usual(number))
    with pytest.raises(ImageFileError, match=r"public host, got 169\.254\.169\.254"):
        download.fetch(server + "/to-cloud", Limits(timeout=20))


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(server, resolver):
    looked_up = resolver("127.0.0.1", "10.0.0.7")  # a second look-up would find another
    port = server.rpartition(":")[2]
    assert download.fetch(f"http://images.example:{port}/image.png", LOCAL) == PNG
    assert looked_up == ["images.example"]
    assert Handler.requests[-1][1]["Host"] == f"images.example:{port}"


def test_a_password_goes_to_the_host_of_the_address_only(server):
    other = server.replace("127.0.0.1", "localhost")
    ANSWERS["/to-other"] = (302, {"Location": f"{other}/image.png"}, b"")
    download.fetch(server.replace("//", "//me:p%40ss@") + "/to-other", LOCAL)
    first, second = (headers for _, headers in Handler.requests[-2:])
    assert base64.b64decode(first["Authorization"].removeprefix("Basic ")) == b"me:p@ss"
    assert "Authorization" not in second


def test_characters_that_would_begin_another_request_are_escaped(server):
    with pytest.raises(ImageFileError):
        download.fetch(f"{server}/image.png HTTP/1.1\r\nX-Evil: yes\r\n\r\n", LOCAL)
    assert all("X-Evil" not in headers for _, headers in Handler.requests)


def test_limits_are_checked():
    with pytest.raises(InputError, match="max_download must be above 0"):
        Limits(max_bytes=0)
    for timeout in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="download_timeout must be"):
            Limits(timeout=timeout)


def test_an_address_reads_within_its_limits(server):
    assert addresses.at(f"{server}/image.png", LOCAL).read() == PNG
    with pytest.raises(ImageFileError, match="at most 10 bytes"):
        addresses.at(f"{server}/image.png", Limits(allow_local=True, max_bytes=10)).read()
