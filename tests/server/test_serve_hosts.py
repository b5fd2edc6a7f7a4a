"""Which hosts and origins a server answers: a page of another site must not reach it."""

import re
import socket

import pytest
import requests
from served_models import serving_process, write_models

from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.serve import Server

pytest.importorskip("tensorflow_serving.apis", reason="needs the extra 'serving'")
from kerasseg.pipelines.server.hosts import Hosts

HERE = ("127.0.0.1", 8501)
MACHINE = socket.gethostname()


def refusal(hosts, host=None, origin=None, server=HERE):
    pairs = ((b"host", host), (b"origin", origin))
    headers = [(name, value.encode("latin1")) for name, value in pairs if value is not None]
    return hosts.refusal({"headers": headers, "server": server})


@pytest.mark.parametrize(
    ("bound", "host", "is_answered"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.1:8501", True),
        ("127.0.0.1", "127.0.0.1:9000", True),  # as where a port is forwarded
        ("127.0.0.1", "localhost:8501", True),
        ("127.0.0.1", "LocalHost.:8501", True),
        ("127.0.0.1", "[::1]:8501", True),
        ("127.0.0.1", "[0:0:0:0:0:0:0:1]", True),
        ("127.0.0.1", f"{MACHINE}:8501", True),
        ("127.0.0.1", None, True),  # HTTP/1.0
        ("127.0.0.1", "evil.example", False),
        ("127.0.0.1", "evil.example:8501", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "localhost.evil.example", False),
        ("127.0.0.1", "127.0.0.1:8501.evil.example", False),
        ("127.0.0.1", "127.0.0.1@evil.example", False),
        ("127.0.0.1", "evil.example/127.0.0.1", False),
        ("127.0.0.1", "evil.example:80:127.0.0.1", False),
        ("127.0.0.1", "serving", False),
        ("127.0.0.1", "192.168.7.7", False),
        ("127.0.0.1", "[::2]", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "\xff", False),
        ("localhost", "127.0.0.1", True),
        ("localhost", "evil.example", False),
        # Beyond this machine: what a foreign site's name cannot be.
        ("0.0.0.0", "192.168.7.7:8501", True),
        ("0.0.0.0", "[fe80::7]:8501", True),
        ("0.0.0.0", "serving:8501", True),
        ("0.0.0.0", "localhost", True),
        ("0.0.0.0", "evil.example", False),
        ("0.0.0.0", "serving.evil.example", False),
        ("::", "192.168.7.7", True),
        ("::", "evil.example", False),
    ],
)
def test_only_this_machines_hosts_are_answered(bound, host, is_answered):
    said = refusal(Hosts(bound), host)
    assert (said is None) == is_answered, said
    if said:
        assert said.startswith("Host must be of ")
        assert f"got {host.lower()}; --allow-host " in said


def test_the_address_at_which_a_connection_came_in_is_answered():
    hosts = Hosts("127.0.0.1")
    assert refusal(hosts, "127.0.0.7:8501", server=("127.0.0.7", 8501)) is None
    assert refusal(hosts, "127.0.0.7", server=("::ffff:127.0.0.7", 8501, 0, 0)) is None
    assert refusal(hosts, "127.0.0.8", server=("127.0.0.7", 8501))


@pytest.mark.parametrize(
    ("origin", "host", "is_answered"),
    [
        ("http://127.0.0.1:8501", "127.0.0.1:8501", True),
        ("http://LOCALHOST:8501", "localhost:8501", True),
        ("http://localhost", "localhost:80", True),
        ("https://localhost", "localhost:443", True),
        ("https://localhost", "localhost", True),
        ("http://[::1]:8501", "[0::1]:8501", True),
        ("http://localhost:3000", "localhost:8501", False),
        ("http://localhost:8501", "127.0.0.1:8501", False),
        ("http://evil.example", "127.0.0.1:8501", False),
        ("http://evil.example:8501", "127.0.0.1:8501", False),
        ("http://127.0.0.1:8501@evil.example", "127.0.0.1:8501", False),
        ("http://127.0.0.1:8501/evil.example", "127.0.0.1:8501", False),
        ("file://", "127.0.0.1:8501", False),
        ("null", "127.0.0.1:8501", False),
        ("", "127.0.0.1:8501", False),
        ("http://localhost:8501", None, False),
    ],
)
def test_only_pages_of_this_server_may_ask(origin, host, is_answered):
    said = refusal(Hosts("127.0.0.1"), host, origin)
    assert (said is None) == is_answered, said
    if said:
        assert said.startswith("Origin must be the same as Host")


def test_names_that_are_allowed_are_answered_and_no_others():
    hosts = Hosts("127.0.0.1", ("Seg.Example.com", "2001:db8::1"))
    for host in ("seg.example.com", "seg.example.com.:80", "[2001:db8:0::1]:8501", "localhost"):
        assert refusal(hosts, host) is None
    assert refusal(hosts, "127.0.0.1:8501", "https://seg.example.com") is None
    for host in ("example.com", "www.seg.example.com", "evil.example"):
        assert refusal(hosts, host)
    assert refusal(hosts, "127.0.0.1:8501", "https://example.com")
    every = Hosts("127.0.0.1", ("*",))
    assert refusal(every, "evil.example", "null") is None


@pytest.mark.parametrize("name", ["http://a.b", "a.b:80", "a/b", "", "a b", "[::1]:80", "*.a.b"])
def test_what_is_no_name_cannot_be_allowed(name):
    with pytest.raises(InputError, match="allow_host must be a name or an address"):
        Hosts("127.0.0.1", (name,))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("served"))


def test_a_foreign_page_gets_no_answer_from_any_address(models):
    with Server(models, rest_port=0, grpc_port=0) as server:
        url = server.rest_address
        for method, path in (
            ("GET", "/"),
            ("GET", "/models.json"),
            ("GET", "/v1/models/street"),
            ("GET", "/nonsense"),
            ("POST", "/v1/models/street:predict"),
        ):
            own = requests.request(method, url + path, json={}, headers={"Origin": url}, timeout=10)
            assert own.status_code != 403
            for header in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
                answer = requests.request(method, url + path, json={}, headers=header, timeout=10)
                assert answer.status_code == 403
                assert list(answer.json()) == ["error"]
                assert "--allow-host evil.example" in answer.json()["error"]
                assert "street" not in answer.text


def test_the_option_allows_a_name(models, run_cli):
    with serving_process(models, "--allow-host", "a.example", "--allow-host", "b.c") as process:
        (url,) = re.findall(r"serving at (http://\S+) and", process.said)
        statuses = [
            requests.get(url, headers={"Host": host}, timeout=10).status_code
            for host in ("a.example", "b.c:80", "c.example")
        ]
    assert statuses == [200, 200, 403]
    result = run_cli("serve", models, "--allow-host", "http://a.example")
    assert result.exit_code == 1
    assert "got http://a.example" in " ".join(result.output.split())
