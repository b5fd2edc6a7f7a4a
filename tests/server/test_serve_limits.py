"""Slow senders, and what requests leave behind: nobody else waits, and memory stays bounded."""

import base64
import contextlib
import json
import socket
import threading
import time

import grpc
import numpy as np
import psutil
import pytest
import requests
import tensorflow as tf
from served_models import decode, encode, expected_label, random_pixels, write_models

from kerasseg.pipelines.serve import Server

pytest.importorskip("tensorflow_serving.apis", reason="needs the extra 'serving'")
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from kerasseg.pipelines.server import body, connection, json_process, messages

PREDICT = "/v1/models/street:predict"
GRPC_PREDICT = "/tensorflow.serving.PredictionService/Predict"
PIXELS = random_pixels(8)
GOOD = json.dumps({"instances": [{"b64": base64.b64encode(encode(PIXELS)).decode()}]}).encode()


# `test_serve_versions.py` is about trials.
pytestmark = pytest.mark.usefixtures("untried")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def server(models):
    limits = {"max_request_mib": 1, "max_concurrency": 2, "max_waiting": 4}
    with Server(models, rest_port=0, grpc_port=0, **limits) as server:
        yield server


def ask(server):
    answer = requests.post(server.rest_address + PREDICT, GOOD, timeout=30)
    assert answer.status_code == 200, answer.text
    label = decode(base64.b64decode(answer.json()["predictions"][0]["b64"]))
    np.testing.assert_array_equal(label, expected_label(PIXELS, 1))


def connect(server):
    host, port = server.rest_address.removeprefix("http://").split(":")
    opened = socket.create_connection((host, int(port)), 20)
    opened.settimeout(20)
    return opened


def head(length):
    lines = (f"POST {PREDICT} HTTP/1.1", "Host: localhost", f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()


def receive(opened):
    """Returns an answer of HTTP, from the first byte to the last."""
    received = b""
    while not received.endswith(b"}"):
        part = opened.recv(65536)
        assert part, received
        received += part
    return received


def channel(server):
    address = server.grpc_address.removeprefix("grpc://")
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    return grpc.insecure_channel(address, options)


def test_seventy_bodies_that_come_drop_by_drop_take_no_place(server):
    """Six places there are."""
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(server)) for _ in range(70)]
        for one in slow:
            one.sendall(head(1000) + b"{")
        for _ in range(5):
            for one in slow:
                one.sendall(b" ")
            ask(server)
            time.sleep(0.2)
        # What has come whole in the end is answered.
        slow[0].sendall(b" " * (1000 - 6))
        assert slow[0].recv(1000).startswith(b"HTTP/1.1 400")


def test_a_body_that_comes_too_slowly_is_given_up(server, monkeypatch):
    monkeypatch.setattr(body, "GRACE", 1.0)
    monkeypatch.setattr(body, "LEAST_RATE", 1000)
    with connect(server) as opened:
        begun = time.monotonic()
        opened.sendall(head(100_000))
        received = b""
        while not received and time.monotonic() < begun + 10:
            opened.sendall(b" " * 20)  # 200 bytes a second
            time.sleep(0.1)
            with contextlib.suppress(BlockingIOError):
                received = opened.recv(1000, socket.MSG_DONTWAIT)
        assert received.startswith(b"HTTP/1.1 408")
        while not received.endswith(b"}"):
            received += opened.recv(1000)
        assert b"or 1000 bytes of it each second, got less" in received
        assert 0.9 < time.monotonic() - begun < 5
    # Faster than it must be, and for longer than it may be silent.
    with connect(server) as opened:
        opened.sendall(head(20_000))
        for _ in range(20):
            opened.sendall(b" " * 1000)
            time.sleep(0.1)
        assert receive(opened).startswith(b"HTTP/1.1 400")


def test_a_body_that_came_fast_at_first_is_given_up_when_it_stops(server, monkeypatch):
    monkeypatch.setattr(body, "GRACE", 0.6)
    with connect(server) as opened:
        opened.sendall(head(900_000) + bytes(800_000))
        assert opened.recv(1000).startswith(b"HTTP/1.1 408")


def test_the_memory_of_bodies_that_are_arriving_is_bounded(server, monkeypatch):
    """Together two of them may be there, and the first to come is the first to go."""
    monkeypatch.setattr(body, "_TOGETHER", 2)
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(5):
            opened.append(stack.enter_context(connect(server)))
            opened[-1].sendall(head(1_000_000) + bytes(900_000))
            time.sleep(0.2)
            ask(server)
        for one in opened[:3]:
            received = receive(one)
            assert received.startswith(b"HTTP/1.1 503")
            assert b"too many large requests are arriving" in received
        for one in opened[3:]:
            one.sendall(bytes(100_000))
            assert one.recv(1000).startswith(b"HTTP/1.1 400")


def stall(server, stack):
    """Begins a call and never sends its message."""
    ended = threading.Event()
    stack.callback(ended.set)
    method = stack.enter_context(channel(server)).stream_unary(GRPC_PREDICT)
    call = method.future(iter(lambda: ended.wait() and b"", b""))
    stack.callback(call.cancel)
    return call


def call_well(server, timeout=30):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "street"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([encode(PIXELS)]))
    with channel(server) as opened:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(opened)
        response = stub.Predict(request, timeout=timeout)
    (png,) = tf.make_ndarray(response.outputs["label_png_bytes"])
    np.testing.assert_array_equal(decode(png), expected_label(PIXELS, 1))


def test_calls_without_a_message_take_no_place(server):
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stall(server, stack)
        time.sleep(0.5)
        call_well(server)
        ask(server)


def test_calls_without_a_message_give_way_to_others(models, monkeypatch):
    monkeypatch.setattr(messages, "_MOST", 10)
    monkeypatch.setattr(messages, "_PATIENCE", 0.3)
    with (
        Server(models, rest_port=0, grpc_port=0) as server,
        contextlib.ExitStack() as stack,
    ):
        calls = [stall(server, stack) for _ in range(13)]
        until(lambda: sum(call.done() for call in calls) == 3)
        for _ in range(3):
            call_well(server)
        (one, *_) = [call for call in calls if call.done()]
        assert one.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "this one has been for the longest time" in one.details()
        time.sleep(1)
        assert sum(call.done() for call in calls) <= 6  # no more than had to


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_call_whose_message_does_not_come_is_given_up(models):
    with (
        Server(models, rest_port=0, grpc_port=0, timeout=0.5) as server,
        contextlib.ExitStack() as stack,
    ):
        call = stall(server, stack)
        assert call.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_the_connection_that_has_been_silent_for_the_longest_time_gives_way(server, monkeypatch):
    monkeypatch.setattr(connection, "_MOST", 20)
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(connect(server)) for _ in range(60)]
        ask(server)
        with contextlib.suppress(ConnectionError):
            assert opened[0].recv(1) == b""
        opened[-1].sendall(head(2) + b"{}")
        assert opened[-1].recv(1000).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("dims", "values", "code"),
    [
        # 2 GB, of one value that is there.
        ((1, 20_000, 35_000, 3), [7], grpc.StatusCode.RESOURCE_EXHAUSTED),
        # A product of a million factors.
        ((2**62,) * 60_000, [], grpc.StatusCode.INVALID_ARGUMENT),
        ((1, 5, 5, 3), [7] * 80, grpc.StatusCode.INVALID_ARGUMENT),
        ((1, -5, -5, 3), [7], grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_a_small_message_cannot_make_a_large_tensor(server, dims, values, code):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "street", "labels"
    proto = request.inputs["image"]
    proto.dtype = 4
    proto.int_val.extend(values)
    for size in dims:
        proto.tensor_shape.dim.add(size=size)
    before, begun = psutil.Process().memory_info().rss, time.monotonic()
    with channel(server) as opened, pytest.raises(grpc.RpcError) as raised:
        prediction_service_pb2_grpc.PredictionServiceStub(opened).Predict(request, timeout=30)
    assert raised.value.code() == code
    assert time.monotonic() - begun < 5
    assert psutil.Process().memory_info().rss - before < 2**26


def test_values_that_repeat_may_be_left_out(server):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "street", "labels"
    request.inputs["image"].CopyFrom(tf.make_tensor_proto(7, tf.uint8, (1, 5, 4, 3)))
    with channel(server) as opened:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(opened)
        response = stub.Predict(request, timeout=30)
    np.testing.assert_array_equal(tf.make_ndarray(response.outputs["labels"]), np.ones((1, 5, 4)))


def test_json_of_many_values_is_read_and_written_in_another_process(models):
    """In this one it would let nobody else run; encoded images have few values."""
    pixels = random_pixels(1, (120, 200))
    with Server(models, rest_port=0, grpc_port=0) as server:
        idle = server._engine.json._idle
        large = base64.b64encode(bytes(2**20)).decode()
        refused = requests.post(
            server.rest_address + PREDICT, json={"instances": [{"b64": large}]}, timeout=30
        )
        assert "must be PNG" in refused.text
        assert idle == []
        question = {"signature_name": "labels", "instances": pixels[None].tolist()}
        for _ in range(2):
            answer = requests.post(server.rest_address + PREDICT, json=question, timeout=30)
            np.testing.assert_array_equal(
                answer.json()["predictions"], expected_label(pixels, 1)[None]
            )
            (process,) = idle
        # It is replaced if it ends, as for want of memory.
        process._process.kill()
        refused = requests.post(server.rest_address + PREDICT, json=question, timeout=30)
        assert refused.status_code == 413
        assert "too much memory" in refused.text
        answer = requests.post(server.rest_address + PREDICT, json=question, timeout=30)
        assert answer.status_code == 200
        (process,) = idle
    assert process._process.poll() is not None


@pytest.mark.parametrize(
    ("content", "few"),
    [
        (b'{"instances": ["' + b"A" * 10**7 + b'"]}', True),
        (b"[" + b"0," * 19_000 + b"0]", True),
        (b"[" + b"0," * 21_000 + b"0]", False),
        (b"x" * 10**7 + b"0," * 21_000, False),
        (b"[" * 21_000, False),
        (b"{" * 21_000, False),
        (b'"' + b"\\u0041" * 21_000 + b'"', False),
        (b"", True),
    ],
)
def test_json_of_few_values_is_reported_by_its_marks(content, few):
    assert json_process.has_few_values(content) == few


def test_json_that_takes_too_much_memory_is_refused(models, monkeypatch):
    monkeypatch.setattr(json_process, "_MEMORY", 2**28)
    monkeypatch.setattr(json_process, "_TIMES", 0)
    with Server(models, rest_port=0, grpc_port=0) as server:
        content = b'{"instances": [' + b"[]," * 4_000_000 + b"[]]}"
        answer = requests.post(server.rest_address + PREDICT, content, timeout=60)
        assert answer.status_code == 413
        assert "too much memory" in answer.text
        ask(server)
