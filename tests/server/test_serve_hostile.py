"""What is meant to harm a server, or sent by a broken program: it refuses, and goes on."""

import base64
import contextlib
import gzip
import hashlib
import io
import json
import re
import shutil
import socket
import threading
import time
import tracemalloc

import grpc
import numpy as np
import PIL.Image
import pytest
import requests
import tensorflow as tf
from served_models import decode, encode, random_pixels, serving_process, write_models

from kerasseg.pipelines import client
from kerasseg.pipelines.serve import Server
from kerasseg.pipelines.serving.connections import RequestError

pytest.importorskip("tensorflow_serving.apis", reason="needs the extra 'serving'")
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from kerasseg.pipelines.server import body as body_of_requests
from kerasseg.pipelines.server import connection, image_sizes
from kerasseg.pipelines.server.refusals import ServingError

PREDICT = "/v1/models/street:predict"
IMAGE = encode(random_pixels(7))


# `test_serve_versions.py` is about trials.
pytestmark = pytest.mark.usefixtures("untried")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def server(models):
    # A MiB, so that what is too large need not be large.
    with Server(models, rest_port=0, grpc_port=0, max_request_mib=1) as server:
        yield server


@pytest.fixture(autouse=True)
def _goes_on(request):
    """After each test on the shared server it answers."""
    yield
    if "server" in request.fixturenames:
        body = {"signature_name": "labels", "inputs": [[[[9, 0, 0]]]]}
        server = request.getfixturevalue("server")
        answer = requests.post(server.rest_address + PREDICT, json=body, timeout=10)
        assert answer.json() == {"outputs": [[[1]]]}


def connect(server):
    host, port = server.rest_address.removeprefix("http://").split(":")
    opened = socket.create_connection((host, int(port)), 20)
    opened.settimeout(20)
    return opened


def exchange(server, content):
    """Sends bytes as they are; returns all that comes back until the server closes."""
    received = b""
    with connect(server) as opened:
        with contextlib.suppress(ConnectionError):  # it may close before it has read all
            opened.sendall(content)
        with contextlib.suppress(ConnectionError):
            while part := opened.recv(65536):
                received += part
    return received


def http(path=PREDICT, body=b"{}", *headers, method="POST", length=True):
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin1") + body


def statuses(received):
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", received)]


def error_of(received):
    return json.loads(received.partition(b"\r\n\r\n")[2])["error"]


NAMES = (
    *("..", ".", "../../etc/passwd", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd"),
    *("/etc/passwd", "%00", "street%00", "street%2f2", "street/2", "..%5c..%5cstreet", ".hidden"),
    *("street/versions/..", "street/versions/-1", "street/versions/2%2f..", "street/versions/1e1"),
    *("street/versions/99999999999999999999", "street/versions/0x2", "a" * 5000, "%ff%fe", "~"),
)


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:40])
def test_names_that_are_paths_are_refused_over_rest(server, name):
    for method, path in (
        ("POST", f"/v1/models/{name}:predict"),
        ("GET", f"/v1/models/{name}"),
        ("GET", f"/v1/models/{name}/metadata"),
    ):
        received = exchange(server, http(path, b'{"instances": []}', method=method))
        assert statuses(received) in ([400], [404]), received
        assert len(error_of(received)) < 1100
        assert "root:" not in received.decode()


@pytest.mark.parametrize("path", ["//etc/passwd", "/../x", "/models.json/..", "*", "http://x/y"])
def test_other_paths_are_refused(server, path):
    received = exchange(server, http(path, method="GET"))
    assert statuses(received) == [404]
    assert error_of(received).startswith("Malformed request: GET")


@pytest.mark.parametrize("method", ["DELETE", "PUT", "OPTIONS", "TRACE", "PATCH", "NONSENSE"])
def test_other_methods_are_refused(server, method):
    assert statuses(exchange(server, http(method=method))) == [405]


@contextlib.contextmanager
def stub(server):
    address = server.grpc_address.removeprefix("grpc://")
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel), channel


def grpc_error(server, name="street", signature="", image=IMAGE):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([image]))
    with stub(server) as (service, _), pytest.raises(grpc.RpcError) as raised:
        service.Predict(request, timeout=30)
    return raised.value


@pytest.mark.parametrize(
    "name", ["", "..", "../../etc", "/etc/passwd", "street\0", "street/2", "%2e%2e", "a" * 9000]
)
def test_names_that_are_paths_are_refused_over_grpc(server, name):
    error = grpc_error(server, name)
    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert error.details().startswith("Servable not found for request: Latest(")


def test_what_is_quoted_from_a_request_is_short_enough_for_grpc_s_clients(server):
    error = grpc_error(server, signature="x" * 500_000)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.details().endswith(" ...")


def test_bytes_that_are_no_message_are_refused_over_grpc(server):
    with stub(server) as (_, channel):
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        with pytest.raises(grpc.RpcError) as raised:
            call(b"\xff" * 100, timeout=30)
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == "Request must be a message of this method's kind."


DEEP = b"[" * 100_000 + b"]" * 100_000


def image_of(number):
    return b'{"signature_name": "labels", "inputs": [[[[%s, 1, 2]]]]}' % number


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (DEEP, "JSON Parse error"),
        (b'{"inputs": ' + DEEP + b"}", "JSON Parse error"),
        (b'{"inputs": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}", "JSON Parse error"),
        *((b'{"inputs": ' + b"[" * n + b"]" * n + b"}", "image_bytes") for n in (2, 70, 500, 900)),
        *((image_of(b"[" * n + b"1" + b"]" * n), "image: ") for n in (70, 500, 900)),
        *((image_of(n), "values of image must be") for n in (b"1e400", b"-1e400", b"NaN", b"1e-9")),
        *((image_of(n), "values of image must be") for n in (b"Infinity", b"9" * 4000)),
        (image_of(b"18446744073709551616"), "values of image must be"),
        *((image_of(n), "values of image must be") for n in (b"true", b"1, true", b"false, 1, 0")),
        *((image_of(b"[" * n + b"true" + b"]" * n), "image") for n in (50, 500, 900)),
        (image_of(b"9" * 900_000), "JSON Parse error"),
        (b'{"instances": ["\\ud800"]}', "surrogates not allowed"),
        (b'{"signature_name": "\\ud800", "instances": ["a"]}', '"\\ud800" not found'),
        (b'{"signature_name": "' + b"x" * 900_000 + b'", "instances": []}', "xxx ..."),
        (b'{"instances": [{"\\ud800": 1}]}', "Missing named input: image_bytes"),
        (b'{"signature_name": null, "instances": []}', "signature_name must be text"),
        (b'{"instances": null}', "must be a list"),
        (b'{"instances": ' + b"[" + b"[]," * 300_000 + b"[]]}", "must be (None,)"),
        (b'{"instances": [' + b"1," * 400_000 + b"1]}", "strings must be text"),
        (b"", "JSON Parse error"),
        (b"\0" * 100, "JSON Parse error"),
    ],
    ids=range(34),
)
def test_json_that_is_meant_to_harm_is_refused(server, body, message):
    answer = requests.post(server.rest_address + PREDICT, body, timeout=30)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert len(answer.content) < 2500


GOOD = json.dumps({"signature_name": "labels", "inputs": [[[[1, 2, 3]]]]}).encode()


@pytest.mark.parametrize(
    ("content", "encoding", "status", "message"),
    [
        (gzip.compress(GOOD), "gzip", 200, ""),
        (gzip.compress(GOOD), "GZIP", 200, ""),
        (GOOD, "identity", 200, ""),
        (gzip.compress(GOOD)[:-4], "gzip", 400, "cut off"),
        (GOOD, "gzip", 400, "Request is not gzip"),
        (gzip.compress(bytes(200 * 2**20)), "gzip", 413, "at most 1048576 bytes"),
        (GOOD, "br", 415, "Content-Encoding must be gzip or none, got br"),
        (GOOD, "gzip, gzip", 415, "Content-Encoding must be"),
    ],
    # Not by the content, which holds the time.
    ids=["gzip", "capitals", "identity", "cut", "plain", "bomb", "unknown", "twice"],
)
def test_compressed_bodies_are_read_within_the_limit(server, content, encoding, status, message):
    begun = time.monotonic()
    headers = {"Content-Encoding": encoding}
    answer = requests.post(server.rest_address + PREDICT, content, headers=headers, timeout=30)
    assert answer.status_code == status
    assert message in answer.text
    assert time.monotonic() - begun < 4


CHUNKED = "Transfer-Encoding: chunked"
FRAMES = {
    "a length and chunks": http(PREDICT, b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n", CHUNKED),
    "two lengths": http(PREDICT, b"{}", "Content-Length: 7"),
    "a length below 0": http(PREDICT, b"{}", "Content-Length: -2", length=False),
    "a length with a sign": http(PREDICT, b"{}", "Content-Length: +2", length=False),
    "a length in letters": http(PREDICT, b"{}", "Content-Length: two", length=False),
    "a length of thirty digits": http(PREDICT, b"{}", "Content-Length: " + "9" * 30, length=False),
    "a space before the colon": http(PREDICT, b"{}", "Content-Length : 2", length=False),
    "a length below the body's": http(PREDICT, b"{}{}", "Content-Length: 1", length=False),
    "unknown chunks": http(PREDICT, b"0\r\n\r\n", "Transfer-Encoding: xchunked", length=False),
    "chunks twice": http(PREDICT, b"0\r\n\r\n", CHUNKED, CHUNKED, length=False),
    "a chunk without size": http(PREDICT, b"zz\r\n{}\r\n0\r\n\r\n", CHUNKED, length=False),
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": http(PREDICT, b"{}", "Host: y"),
    "a NUL in a header": http(PREDICT, b"{}", "X: \0"),
    "no HTTP": b"GET /\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "noise": bytes(range(256)) * 100,
    "many headers": http("/", b"", *(f"X-{n}: y" for n in range(20_000)), method="GET"),
    "a long header": http("/", b"", "X: " + "y" * 5_000_000, method="GET"),
    "a long address": http("/" + "y" * 500_000, b"", method="GET"),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_requests_that_two_readers_could_read_differently_are_refused(server, kind):
    received = exchange(server, FRAMES[kind])
    # Of what the server refuses to read on, the kernel may drop the answer too.
    assert statuses(received) == [400] or (len(FRAMES[kind]) > 10**5 and not received), received


def test_a_request_is_not_hidden_in_the_body_of_another(server):
    """To a proxy that heeds the length it is a body; to one that heeds the chunks a request."""
    hidden = b"GET /v1/models/street HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    request = http(PREDICT, b"0\r\n\r\n" + hidden, CHUNKED)
    received = exchange(server, request.replace(b"Connection: close\r\n", b"", 1))
    assert statuses(received) == [400]
    assert error_of(received).endswith("Content-Length or Transfer-Encoding, got both.")


def test_a_compressed_body_is_not_unpacked_beyond_the_limit():
    content = gzip.compress(bytes(100 * 2**20))
    tracemalloc.start()
    with pytest.raises(ServingError, match="at most 1048576 bytes"):
        body_of_requests.decompress(content, "gzip", 2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20


def test_a_body_above_the_limit_is_refused_by_its_length_alone(server, monkeypatch):
    monkeypatch.setattr(body_of_requests, "_DRAIN", 0.3)
    begun = time.monotonic()
    request = http(PREDICT, b"{}", "Content-Length: 40000000", length=False)
    assert statuses(exchange(server, request)) == [413]
    assert time.monotonic() - begun < 3


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(connection, "PATIENCE", 0.6)


def until_closed(opened):
    begun, received = time.monotonic(), b""
    with contextlib.suppress(ConnectionError):
        while part := opened.recv(65536):
            received += part
    return time.monotonic() - begun, received


def test_connections_that_say_nothing_are_closed(server, impatient):
    with connect(server) as opened:
        seconds, received = until_closed(opened)
    assert 0.3 < seconds < 5
    assert received == b""


@pytest.mark.parametrize("before", [b"", http("/models.json", method="GET")])
def test_a_head_that_comes_drop_by_drop_is_not_waited_for(server, impatient, before):
    """Also after a request that has been answered."""
    before = before.replace(b"Connection: close", b"Connection: keep-alive")
    with connect(server) as opened:
        if before:
            opened.sendall(before)
            assert opened.recv(65536).startswith(b"HTTP/1.1 200")
        begun = time.monotonic()
        with pytest.raises(ConnectionError):  # noqa: PT012
            opened.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            while time.monotonic() - begun < 5:
                opened.sendall(b"X: y\r\n")
                time.sleep(0.1)
        assert 0.3 < time.monotonic() - begun < 3


def test_a_slow_answer_is_not_cut_off(server, impatient):
    body = {"signature_name": "slow", "instances": [1.5]}
    answer = requests.post(server.rest_address + PREDICT, json=body, timeout=10)
    assert answer.json()["predictions"][0]["waited"] == 1.5


@pytest.mark.parametrize("reads", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_answer_is_given_up_if_nothing_of_it_is_read(models, impatient, reads):
    ones = np.ones((1, 700, 700, 3), int)
    body = {"signature_name": "probabilities", "inputs": ones.tolist()}
    request = http(PREDICT, json.dumps(body, separators=(",", ":")).encode())
    with Server(models, rest_port=0, grpc_port=0) as server, connect(server) as opened:
        opened.sendall(request)
        received = opened.recv(65536)
        assert received.startswith(b"HTTP/1.1 200")
        size = int(re.findall(rb"(?i)content-length: (\d+)", received)[0])
        assert size > 10**7
        for _ in range(8):  # 2 s, of which none without reading if it reads
            time.sleep(0.25)
            for _ in range(20 if reads else 0):
                received += opened.recv(65536)
        received += until_closed(opened)[1]
    # Otherwise there is as much as the kernel had taken already.
    assert len(received) > size if reads else 0 < len(received) < 0.9 * size


def test_hundreds_of_idle_connections_do_not_keep_others_out(server):
    opened = [connect(server) for _ in range(300)]
    try:
        begun = time.monotonic()
        answer = requests.get(f"{server.rest_address}/v1/models/street", timeout=10)
        assert answer.status_code == 200
        assert time.monotonic() - begun < 5
    finally:
        for one in opened:
            one.close()


def refusal(server, content):
    """Asks over both protocols; returns the message, the same in both."""
    body = {"instances": [{"b64": base64.b64encode(content).decode()}]}
    answer = requests.post(server.rest_address + PREDICT, json=body, timeout=30)
    assert answer.status_code == 400, answer.text
    error = grpc_error(server, image=content)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == answer.json()["error"]
    return error.details()


def saved(image, format_, **options):
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def test_an_animation_counts_as_all_of_its_pictures(server):
    """TensorFlow's decoder makes every one of them: a thousandfold of what it returns."""
    pictures = [PIL.Image.new("L", (4000, 4000), value) for value in (0, 255, 1)]
    content = saved(pictures[0], "GIF", save_all=True, append_images=pictures[1:])
    with PIL.Image.open(io.BytesIO(content)) as image:
        assert (image.size, image.n_frames) == ((4000, 4000), 3)
    assert refusal(server, content).endswith("32000000 pixels, got 48000000.")


def test_the_pictures_of_a_gif_are_counted_as_pillow_finds_them():
    rng = np.random.default_rng(0)
    frames = [
        PIL.Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).quantize(colors)
        for colors in (256, 3, 17)
    ]
    for count in (1, 3):
        content = saved(
            frames[0], "GIF", save_all=True, append_images=frames[1:count], comment=b"no picture"
        )
        assert image_sizes.decoded_pixels(content) == count * 40 * 50
        # Of a file that is cut off, TensorFlow may still decode what there is.
        for cut in (len(content) // 2, len(content) - 1):
            assert image_sizes.decoded_pixels(content[:cut]) >= 40 * 50


def test_a_jpeg_of_endless_scans_is_refused(server):
    """Each of its scans is some bytes, and takes as long as a picture."""
    content = saved(PIL.Image.new("L", (64, 64)), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    content = content[:-2] + 100 * last + content[-2:]
    assert "must be JPEG files of at most 100 scans, got 106." in refusal(server, content)


def test_a_bmp_whose_palette_tensorflow_ignores_is_refused(server):
    content = saved(PIL.Image.fromarray(random_pixels(0)).quantize(40), "BMP")
    assert "must be BMP files without a palette" in refusal(server, content)


def test_an_image_without_pixels_is_refused(server):
    for shape in ((1, 0, 5, 3), (2, 5, 0, 3)):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "street", "labels"
        request.inputs["image"].CopyFrom(tf.make_tensor_proto(np.zeros(shape, np.uint8)))
        with stub(server) as (service, _), pytest.raises(grpc.RpcError) as raised:
            service.Predict(request, timeout=30)
        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "must have 1 to 32000000 pixels, got 0" in raised.value.details()


def test_a_model_with_a_crf_takes_smaller_images(models, tmp_path):
    folder = tmp_path / "served"
    for name in ("street", "street-crf"):
        source = models / name / ("1" if name.endswith("crf") else "2")
        target = folder / name / "1"
        shutil.copytree(source, target)
        file = target / "assets.extra" / "classes.json"
        content = json.loads(file.read_text()) | {"crf": name.endswith("crf")}
        file.write_text(json.dumps(content))
    image = {"signature_name": "labels", "inputs": np.zeros((1, 40, 60, 3), int).tolist()}
    with Server(folder, rest_port=0, grpc_port=0, max_crf_megapixels=0.002) as server:
        url = f"{server.rest_address}/v1/models/street"
        assert requests.post(f"{url}:predict", json=image, timeout=10).status_code == 200
        answer = requests.post(f"{url}-crf:predict", json=image, timeout=10)
    assert answer.status_code == 400
    assert "must have 1 to 2000 pixels for a model with a CRF, got 2400" in answer.text


def state_of(folder):
    """When each file and folder was written, and what is in it."""
    found = {}
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        found[path] = path.stat().st_mtime_ns, hashlib.sha256(content).digest()
    return found


def test_killing_the_server_in_the_middle_of_requests_loses_nothing(models, tmp_path):
    before = state_of(models)
    large = tmp_path / "large.png"
    large.write_bytes(encode(random_pixels(0, (1500, 1500))))
    failures, out = [], tmp_path / "out"

    def ask(url):
        body = {"signature_name": "slow", "instances": [20.0]}
        with pytest.raises(requests.ConnectionError):
            requests.post(url + PREDICT, json=body, timeout=30)
        failures.append(True)

    def ask_for_files(url):
        try:
            while True:
                client.run(url, [large], model="street", output=out, overlay=True, retries=0)
        except RequestError as error:
            failures.append("no server answers there" in str(error))

    with serving_process(models) as process:
        rest, rpc = re.findall(r"serving at (http://\S+) and (grpc://\S+)", process.said)[0]
        threads = [
            threading.Thread(target=ask, args=[rest]),
            threading.Thread(target=ask_for_files, args=[rest]),
            threading.Thread(target=ask_for_files, args=[rpc]),
        ]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 60
        while not (out / "large_overlay.png").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        process.kill()
        for thread in threads:
            thread.join(60)
        assert process.wait() == -9
    assert failures == [True] * 3
    assert state_of(models) == before
    # What the clients had written is whole, and there is nothing else.
    assert sorted(path.name for path in out.iterdir()) == ["large.png", "large_overlay.png"]
    assert decode((out / "large.png").read_bytes()).shape == (1500, 1500)
    with Server(models, rest_port=0, grpc_port=0) as server:
        client.run(server.rest_address, [large], model="street", output=tmp_path / "again")


def test_a_tensor_of_lies_is_refused(server):
    """Shapes that multiply to 0 or beyond 64 bits, and strings that are not there."""
    for dims in ((2**62, 4), (2**31, 2**31, 0), (-1,), (3,)):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "street"
        proto = request.inputs["image_bytes"]
        proto.dtype = 7
        for size in dims:
            proto.tensor_shape.dim.add(size=size)
        with stub(server) as (service, _), pytest.raises(grpc.RpcError) as raised:
            service.Predict(request, timeout=30)
        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
