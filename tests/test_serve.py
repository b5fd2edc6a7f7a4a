import base64
import concurrent.futures
import contextlib
import io
import json
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import types
import zlib

import grpc
import numpy as np
import PIL.Image
import psutil
import pytest
import requests
import tensorflow as tf
from served_models import (
    COLORS,
    decode,
    encode,
    expected_label,
    random_pixels,
    serving_process,
    write_models,
    write_version,
)

from kerasseg.pipelines import client, export
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.serve import Server
from kerasseg.pipelines.serving import saved_model, tensors

apis = pytest.importorskip("tensorflow_serving.apis", reason="needs the extra 'serving'")
from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from kerasseg.pipelines.server import warmup  # noqa: E402

# `test_serve_versions.py` is about trials.
pytestmark = pytest.mark.usefixtures("untried")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("served"))


@contextlib.contextmanager
def serving(folder, **options):
    with Server(folder, rest_port=0, grpc_port=0, **options) as server:
        yield server


@pytest.fixture(scope="module")
def server(models):
    with serving(models) as server:
        yield server


def post(server, body, path="street:predict", **options):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(f"{server.rest_address}/v1/models/{path}", content, timeout=60, **options)


def b64(content):
    return {"b64": base64.b64encode(content).decode()}


def unb64(value):
    assert list(value) == ["b64"]
    return base64.b64decode(value["b64"])


@contextlib.contextmanager
def channel(server):
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    address = server.grpc_address.removeprefix("grpc://")
    with grpc.insecure_channel(address, options) as opened:
        yield opened


def predict(server, inputs, *, name="street", version=None, signature="", timeout=60, outputs=()):
    """Asks as any program on tensorflow-serving-api does."""
    request = predict_pb2.PredictRequest(output_filter=outputs)
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    for key, values in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(values))
    with channel(server) as opened:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(opened)
        response = stub.Predict(request, timeout=timeout)
    assert response.model_spec.name == name
    return {key: tf.make_ndarray(proto) for key, proto in response.outputs.items()}, response


def test_rest_answers_rows_with_labels_of_each_images_own_size(server):
    pixels = [random_pixels(0), random_pixels(1, (40, 17))]
    answer = post(server, {"instances": [b64(encode(each)) for each in pixels]})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    for each, row in zip(pixels, answer.json()["predictions"], strict=True):
        np.testing.assert_array_equal(decode(unb64(row)), expected_label(each, 1))
    named = [{"image_bytes": b64(encode(each))} for each in pixels]
    assert post(server, {"instances": named}).json() == answer.json()


def test_rest_answers_columns_of_a_version_and_a_signature(server):
    pixels = random_pixels(2)
    body = {"signature_name": "labels", "inputs": {"image": pixels[None].tolist()}}
    answer = post(server, body, "street/versions/2:predict")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"outputs": expected_label(pixels)[None].tolist()}
    body["inputs"] = pixels[None].tolist()  # an only input needs no name
    assert post(server, body, "street/versions/2:predict").json() == answer.json()
    share = np.bincount(expected_label(pixels, 2).ravel(), minlength=3) / (23 * 31)
    body = {"signature_name": "class_shares", "inputs": [b64(encode(pixels))]}
    shares = post(server, body, "street-crf:predict").json()["outputs"]
    np.testing.assert_allclose(shares, [share], atol=1e-6)


def test_several_outputs_are_named_in_both_formats(server):
    body = {"signature_name": "slow", "instances": [0.0, 0.0]}
    rows = post(server, body).json()["predictions"]
    assert [sorted(row) for row in rows] == [["ended", "waited"]] * 2
    columns = post(server, {"signature_name": "slow", "inputs": [0.0, 0.0]}).json()["outputs"]
    assert columns["waited"] == [0, 0]
    assert len(columns["ended"]) == 2


def test_the_official_stub_is_answered(server):
    pixels = [random_pixels(3), random_pixels(4, (9, 50))]
    outputs, response = predict(server, {"image_bytes": [encode(each) for each in pixels]})
    assert response.model_spec.version.value == 11
    assert response.model_spec.signature_name == "serving_default"
    assert list(outputs) == ["label_png_bytes"]
    for each, png in zip(pixels, outputs["label_png_bytes"], strict=True):
        np.testing.assert_array_equal(decode(png), expected_label(each, 1))
    one, response = predict(server, {"image": pixels[0][None]}, version=2, signature="labels")
    assert response.model_spec.version.value == 2
    np.testing.assert_array_equal(one["labels"][0], expected_label(pixels[0]))
    assert one["labels"].dtype == np.uint8
    some, _ = predict(server, {"seconds": np.zeros(1)}, signature="slow", outputs=["waited"])
    assert list(some) == ["waited"]


def test_both_protocols_give_the_labels_that_a_clean_process_gives(tiny_run, tmp_path):
    version = export.run(tiny_run, output=tmp_path)
    images = [encode(random_pixels(5, (33, 47))), encode(random_pixels(6, (20, 64)), "JPEG")]
    expected = saved_model.predict_in_clean_process(version, images)
    with serving(tmp_path) as server:
        rows = post(server, {"instances": [*map(b64, images)]}, "tiny:predict")
        assert rows.status_code == 200, rows.text
        outputs, _ = predict(server, {"image_bytes": images}, name="tiny")
        pixels = random_pixels(5, (33, 47))[None]
        maps, _ = predict(server, {"image": pixels}, name="tiny", signature="labels")
        assert post(server, {"instances": []}, "tiny:predict").json() == {"predictions": []}
        exif = PIL.Image.Exif()
        exif[0x0112] = 6  # to be turned by a quarter
        PIL.Image.fromarray(pixels[0]).save(tmp_path / "lying.png", exif=exif)
        upright = []
        # Of pixels the client turns a photograph upright, of files the SavedModel.
        for signature in ("serving_default", "labels"):
            arguments = {"signature": signature, "output": tmp_path / signature}
            (answer,) = client.run(
                server.grpc_address, [tmp_path / "lying.png"], model="tiny", **arguments
            )
            upright.append(decode(answer.files[0].read_bytes()))
        assert upright[0].shape == (47, 33)
        np.testing.assert_array_equal(*upright)
    np.testing.assert_array_equal(maps["labels"][0], decode(expected[0]))
    assert warmup.run(saved_model.SavedModel(version), version) >= 1
    for want, row, png in zip(
        expected, rows.json()["predictions"], outputs["label_png_bytes"], strict=True
    ):
        np.testing.assert_array_equal(decode(unb64(row)), decode(want))
        np.testing.assert_array_equal(decode(png), decode(want))


def test_status_and_metadata_say_the_same_over_both_protocols(server, models):
    url = f"{server.rest_address}/v1/models/street"
    good = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    # Of a model's versions the highest is in memory; the others are loaded when asked for.
    assert post(server, {"instances": [b64(IMAGE)]}, "street/versions/2:predict").ok
    status = requests.get(url, timeout=10).json()
    both = [{"version": "11", **good}, {"version": "2", **good}]
    assert status == {"model_version_status": both}
    one = requests.get(f"{url}/versions/2", timeout=10).json()
    assert one == {"model_version_status": both[1:]}
    metadata = requests.get(f"{url}/metadata", timeout=10).json()
    assert metadata["model_spec"] == {"name": "street", "signature_name": "", "version": "11"}
    described = metadata["metadata"]["signature_def"]["signature_def"]["labels"]
    assert described["method_name"] == "tensorflow/serving/predict"
    assert described["inputs"]["image"]["dtype"] == "DT_UINT8"
    dims = described["inputs"]["image"]["tensor_shape"]["dim"]
    assert [dim["size"] for dim in dims] == ["-1", "-1", "-1", "3"]
    with channel(server) as opened:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "street"
        response = model_service_pb2_grpc.ModelServiceStub(opened).GetModelStatus(request)
        assert [one.version for one in response.model_version_status] == [11, 2]
        assert {one.state for one in response.model_version_status} == {30}  # AVAILABLE
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = "street"
        stub = prediction_service_pb2_grpc.PredictionServiceStub(opened)
        packed = stub.GetModelMetadata(request).metadata["signature_def"]
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert packed.Unpack(signatures)
    loaded = tf.saved_model.load(str(models / "street" / "11")).signatures
    assert set(loaded) <= set(signatures.signature_def)


IMAGE = encode(random_pixels(7))


def chunk(kind, content):
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def bomb(side):
    """A small PNG of side x side black pixels, all of which are there."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    pack, row = zlib.compressobj(9), bytes(1 + side // 8)
    rows = b"".join(pack.compress(row * 100) for _ in range(side // 100)) + pack.flush()
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


PATHS = ("../../etc", "%2e%2e%2fstreet", "..%2f..%2fetc%2fpasswd", ".hidden", "street%2f2", "%00")


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("nope:predict", {"instances": []}, 404, "Servable not found for request: Latest(nope)"),
        ("street/versions/3:predict", {"instances": []}, 404, "Specific(street, 3)"),
        ("street:classify", {"instances": []}, 400, "must be predict"),
        ("street", {"instances": []}, 400, "Malformed request: POST /v1/models/street"),
        ("street:predict", b"{", 400, "JSON Parse error"),
        ("street:predict", b"\xff\xfe", 400, "JSON Parse error"),
        ("street:predict", b"[" * 200_000, 400, "JSON Parse error"),
        ("street:predict", [], 400, "must be a JSON object"),
        ("street:predict", {}, 400, "either 'instances' or 'inputs'"),
        ("street:predict", {"instances": 1}, 400, "'instances' must be a list"),
        ("street:predict", {"instances": [1]}, 400, "strings must be text or"),
        ("street:predict", {"instances": [{"b64": "?"}]}, 400, "Unable to base64 decode"),
        ("street:predict", {"instances": [{"x": "y"}]}, 400, "Missing named input: image_bytes"),
        ("street:predict", {"inputs": b64(IMAGE)}, 400, "must be (None,), got ()"),
        ("street:predict", {"instances": ["x"], "signature_name": "y"}, 400, '"y" not found'),
        ("street:predict", {"instances": ["text"]}, 400, "must be PNG, JPEG, BMP or GIF"),
        ("street:predict", {"instances": [b64(IMAGE[:-30])]}, 400, "Invalid PNG"),
        (
            "street:predict",
            {"instances": [b64(bomb(30_000))]},
            400,
            "1 to 32000000 pixels, got 900000000.",
        ),
        *((f"{path}:predict", {"instances": []}, (400, 404), "") for path in PATHS),
    ],
)
def test_what_cannot_be_answered_is_refused_and_the_server_continues(
    server, path, body, status, message
):
    url = f"{server.rest_address}/v1/models/{path}"
    request = requests.Request("POST", url, data=body if isinstance(body, bytes) else None)
    prepared = request if isinstance(body, bytes) else requests.Request("POST", url, json=body)
    prepared = prepared.prepare()
    prepared.url = url  # as it is, dots and all
    with requests.Session() as session:
        answer = session.send(prepared, timeout=60)
    assert answer.status_code in (status if isinstance(status, tuple) else (status,)), answer.text
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]
    assert post(server, {"instances": [b64(IMAGE)]}).status_code == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([[[[1, 2, 300]]]], "of type uint8"),
        ([[[[1, 2, -1]]]], "of type uint8"),
        ([[[[1, 2, 0.5]]]], "of type uint8"),
        ([[[[1, 2, None]]]], "of type uint8"),
        ([[[[1, 2, "3"]]]], "of type uint8"),
        ([[[[1, 2]]]], "shape of image must be (None, None, None, 3), got (1, 1, 1, 2)"),
        ([[[[1, 2, 3]], [[1, 2]]]], "inhomogeneous"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(server, body, message):
    answer = post(server, {"signature_name": "labels", "inputs": body})
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_grpc_refuses_with_its_own_codes(server):
    code = grpc.StatusCode
    for wanted, message, arguments in (
        (code.NOT_FOUND, "Latest(nope)", {"name": "nope", "inputs": {"image_bytes": [IMAGE]}}),
        (code.NOT_FOUND, "Specific", {"version": 3, "inputs": {"image_bytes": [IMAGE]}}),
        (code.INVALID_ARGUMENT, '"y" not found', {"signature": "y", "inputs": {}}),
        (code.INVALID_ARGUMENT, "inputs must be image_bytes, got none", {"inputs": {}}),
        (code.INVALID_ARGUMENT, "must be PNG", {"inputs": {"image_bytes": [b"text"]}}),
        (code.INVALID_ARGUMENT, "Invalid PNG", {"inputs": {"image_bytes": [IMAGE[:-30]]}}),
        (code.INVALID_ARGUMENT, "pixels", {"inputs": {"image_bytes": [bomb(30_000)]}}),
        (code.INVALID_ARGUMENT, "dtype of image_bytes", {"inputs": {"image_bytes": [1.5]}}),
        (code.RESOURCE_EXHAUSTED, "larger than max", {"inputs": {"image_bytes": [bytes(2**25)]}}),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            predict(server, **arguments)
        assert raised.value.code() == wanted, raised.value
        assert message in raised.value.details()
    assert predict(server, {"image_bytes": [IMAGE]})


def test_a_tensor_whose_shape_lies_is_refused(server):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "street", "labels"
    proto = request.inputs["image"]
    proto.CopyFrom(tf.make_tensor_proto(random_pixels(0)[None]))
    proto.tensor_shape.dim[1].size = 10**9
    with channel(server) as opened, pytest.raises(grpc.RpcError) as raised:
        prediction_service_pb2_grpc.PredictionServiceStub(opened).Predict(request)
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_above_the_limit_is_refused_with_413(models, chunked):
    with serving(models, max_request_mib=1) as server:
        body = b" " * (3 * 2**20)
        content = iter([body[: 2**20]] * 3) if chunked else body
        url = f"{server.rest_address}/v1/models/street:predict"
        answer = requests.post(url, content, timeout=60)
        assert answer.status_code == 413
        assert "at most 1048576 bytes" in answer.json()["error"]
        assert post(server, {"instances": [b64(IMAGE)]}).status_code == 200


def ask_slowly(server, seconds, path="street:predict"):
    return post(server, {"signature_name": "slow", "instances": [seconds]}, path)


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_full_queue_refuses_at_once(models):
    with (
        serving(models, max_concurrency=1, max_waiting=1) as server,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        slow = [pool.submit(ask_slowly, server, 1.5) for _ in range(2)]
        until(lambda: server._engine.places.taken == 2)
        refused = post(server, {"instances": [b64(IMAGE)]})
        assert refused.status_code == 503
        assert "try again later" in refused.json()["error"]
        assert refused.headers["retry-after"] == "1"
        with pytest.raises(grpc.RpcError) as raised:
            predict(server, {"image_bytes": [IMAGE]})
        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        status = requests.get(f"{server.rest_address}/v1/models/street", timeout=1)
        assert status.status_code == 200  # a busy server is a healthy one
        assert [one.result().status_code for one in slow] == [200, 200]
        assert post(server, {"instances": [b64(IMAGE)]}).status_code == 200


def test_what_takes_too_long_is_given_up(models):
    with serving(models, max_concurrency=1, timeout=0.5) as server:
        begun = time.monotonic()
        answer = ask_slowly(server, 20.0)
        assert answer.status_code == 504
        assert "0.5 s" in answer.json()["error"]
        with pytest.raises(grpc.RpcError) as raised:
            predict(server, {"seconds": np.full(1, 20.0)}, signature="slow")
        assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        # The only thread is free again, long before the 20 s.
        until(lambda: post(server, {"instances": [b64(IMAGE)]}).status_code == 200)
        assert time.monotonic() - begun < 15


def test_a_body_that_does_not_come_is_given_up(models):
    with serving(models, timeout=0.5) as server:
        host, port = server.rest_address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 20) as connection:
            connection.sendall(
                b"POST /v1/models/street:predict HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Length: 9\r\n\r\n{"
            )
            assert connection.recv(1000).startswith(b"HTTP/1.1 504")


def test_requests_of_clients_that_are_gone_are_not_computed(models):
    with serving(models, max_concurrency=1) as server:
        host, port = server.rest_address.removeprefix("http://").split(":")
        body = json.dumps({"signature_name": "slow", "instances": [2.0]}).encode()
        head = "POST /v1/models/street:predict HTTP/1.1\r\nHost: localhost"
        head += f"\r\nContent-Length: {len(body)}"
        connections = []
        for _ in range(6):
            connections.append(socket.create_connection((host, int(port))))
            connections[-1].sendall(head.encode() + b"\r\n\r\n" + body)
        until(lambda: server._engine.places.taken == 6)
        for connection in connections:
            connection.close()
        begun = time.monotonic()
        assert post(server, {"instances": [b64(IMAGE)]}).status_code == 200
        assert time.monotonic() - begun < 7  # one of six was being computed, for 2 s


def test_sixteen_clients_each_get_their_own_answer(server):
    def ask(index):
        pixels = random_pixels(100 + index, (20 + index, 30 - index))
        for _ in range(4):
            if index % 2:
                outputs, _ = predict(server, {"image_bytes": [encode(pixels)]})
                png = outputs["label_png_bytes"][0]
            else:
                answer = post(server, {"instances": [b64(encode(pixels))]})
                png = unb64(answer.json()["predictions"][0])
            np.testing.assert_array_equal(decode(png), expected_label(pixels, 1))
        return True

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(16)))


def test_models_that_cannot_be_loaded_stop_the_start(tmp_path):
    (tmp_path / "street" / "1").mkdir(parents=True)
    (tmp_path / "street" / "1" / "saved_model.pb").write_bytes(b"broken")
    with pytest.raises(InputError, match="version 1 of street cannot be loaded"):
        Server(tmp_path, rest_port=0, grpc_port=0).start()


def test_options_out_of_range_are_refused(models):
    for options, message in (
        ({"timeout": 0}, "timeout must be greater than 0"),
        ({"max_request_mib": -1}, "max_request_mib must be greater"),
        ({"max_request_mib": 2048}, "max_request_mib must be less than 2048"),
        ({"max_concurrency": 0}, "max_concurrency must be greater"),
        ({"max_megapixels": 0}, "max_megapixels must be greater"),
        ({"max_crf_megapixels": -1}, "max_crf_megapixels must be greater"),
        ({"max_waiting": -1}, "max_waiting must be at least 0"),
    ):
        with pytest.raises(InputError, match=message):
            Server(models, **options)


def test_folders_without_models_are_a_clear_error(run_cli, models, tmp_path):
    for folder, message in (
        (tmp_path, "got no such file; 'kerasseg export' writes them."),
        (models / "street", "got the folder of one model; give the folder that contains it."),
        (models / "street" / "2", "got the folder of one model"),
    ):
        result = run_cli("serve", folder)
        assert result.exit_code == 1, result.output
        assert message in " ".join(result.output.split())


@pytest.mark.parametrize("option", ["--rest-port", "--grpc-port"])
def test_a_port_in_use_is_a_clear_error(server, models, option):
    address = server.rest_address if option == "--rest-port" else server.grpc_address
    port = address.rpartition(":")[2]
    other = "--grpc-port" if option == "--rest-port" else "--rest-port"
    command = [sys.executable, "-m", "kerasseg", "serve", models, option, port, other, "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    name = option.removeprefix("--").replace("-", "_")
    assert f"Error: {name} must be free, got 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def process(models):
    """`kerasseg serve` in a process of its own; its output as far as "serving at"."""
    with serving_process(models) as process:
        yield process


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_lets_the_running_request_end(process, number):
    assert "street, versions 11, 2\nstreet-crf, versions 1\n" in process.said
    (url,) = re.findall(r"serving at (http://127\.0\.0\.1:\d+) and grpc://127", process.said)
    listening = [c.laddr.ip for c in psutil.Process(process.pid).net_connections() if not c.raddr]
    assert set(listening) <= {"127.0.0.1", "::ffff:127.0.0.1"}
    answers = []

    def ask():
        body = {"signature_name": "slow", "instances": [2.0]}
        answers.append(requests.post(f"{url}/v1/models/street:predict", json=body, timeout=60))

    def call():
        address = re.findall(r"and (grpc://\S+)", process.said)[0]
        with channel(types.SimpleNamespace(grpc_address=address)) as opened:
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = "street", "slow"
            request.inputs["seconds"].CopyFrom(tf.make_tensor_proto(np.full(1, 2.0)))
            stub = prediction_service_pb2_grpc.PredictionServiceStub(opened)
            calls.append(tf.make_ndarray(stub.Predict(request, timeout=60).outputs["waited"]))

    calls, threads = [], [threading.Thread(target=ask), threading.Thread(target=call)]
    for thread in threads:
        thread.start()
    time.sleep(0.7)
    process.send_signal(number)
    for thread in threads:
        thread.join()
    assert calls == [2.0]
    assert answers[0].status_code == 200
    assert answers[0].json()["predictions"][0]["waited"] == 2.0
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert output.endswith("stopped\n")
    assert errors == ""
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)


def test_the_server_loads_neither_keras_nor_tensorflow(models):
    """And TensorFlow can be imported afterwards, as can OpenSSL, of which it has its own."""
    code = f"""
import sys
from pathlib import Path
from kerasseg.pipelines.serve import Server
import requests
with Server(Path({str(models)!r}), rest_port=0, grpc_port=0) as server:
    answer = requests.get(server.rest_address + "/v1/models/street/metadata", timeout=60)
    assert answer.status_code == 200, answer.text
    assert not {{"keras", "tensorflow"}} & sys.modules.keys()
import hashlib, ssl
hashlib.sha256(b"").hexdigest(), ssl.create_default_context()
import tensorflow as tf
assert tf.keras and int(tf.constant(1) + 1) == 2
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_page_is_one_file_without_addresses_elsewhere(server):
    answer = requests.get(server.rest_address, timeout=10)
    assert answer.headers["content-type"].startswith("text/html")
    assert "connect-src" not in answer.headers["content-security-policy"]
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert not re.findall(r"https?://|src=|@import|url\(", answer.text)
    listed = requests.get(f"{server.rest_address}/models.json", timeout=10).json()["models"]
    assert [one["version"] for one in listed["street"]] == ["11", "2"]
    assert listed["street"][0]["class_names"] == ["red", "green", "blue"]


def find_chromium():
    pytest.importorskip("playwright", reason="THE PAGE IS NOT TESTED: playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("THE PAGE IS NOT TESTED: there is no chromium; apt-get install chromium")
    return found


def test_the_page_shows_an_image_with_and_without_crf(server, tmp_path):
    executable = find_chromium()
    from playwright import sync_api

    pixels = np.repeat(np.repeat(random_pixels(9, (6, 8)), 30, 0), 30, 1)
    PIL.Image.fromarray(pixels).save(tmp_path / "street.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page, addresses, failures = browser.new_page(), [], []
        page.on("request", lambda request: addresses.append(request.url))
        page.on("pageerror", lambda error: failures.append(error))  # noqa: PLW0108
        page.goto(server.rest_address)
        page.locator("#model option").first.wait_for(state="attached")
        assert page.locator("#model option").all_inner_texts() == [
            "street, version 11 (newest)",
            "street, version 2",
            "street-crf, version 1 (newest)",
        ]
        page.set_input_files("#file", tmp_path / "street.png")
        figures = page.locator("figure")
        figures.nth(1).wait_for()
        for index, (title, offset) in enumerate((("CRF off", 1), ("CRF on", 2))):
            assert figures.nth(index).locator("b").inner_text() == title
            data = figures.nth(index).locator("canvas.overlay").evaluate("one => one.toDataURL()")
            with PIL.Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))) as overlay:
                shown = np.asarray(overlay.convert("RGB"))
            np.testing.assert_array_equal(shown, np.array(COLORS)[expected_label(pixels, offset)])
        label = expected_label(pixels, 1)
        rows = [row.split("\t") for row in figures.first.locator("tr").all_inner_texts()]
        shares = {row[-2].strip(): row[-1] for row in rows}
        for number, name in enumerate(("red", "green", "blue")):
            assert shares[name] == f"{100 * (label == number).mean():.1f} %"
        page.locator("#opacity").fill("25")
        style = figures.first.locator("canvas.overlay").get_attribute("style")
        assert "opacity: 0.25" in style
        page.set_input_files("#file", tmp_path / "broken.png")
        page.locator("#message.error").wait_for()
        assert "must be PNG" in page.locator("#message").inner_text()
        page.select_option("#other", label="nothing")
        dropped = page.evaluate_handle(
            """content => {
                const bytes = Uint8Array.from(atob(content), part => part.charCodeAt(0));
                const dropped = new DataTransfer();
                dropped.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
                return dropped;
            }""",
            base64.b64encode(encode(pixels)).decode(),
        )
        page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
        figures.first.wait_for()
        assert figures.count() == 1
        assert page.locator("#message").inner_text() == "dropped.png"
        browser.close()
    assert failures == []
    assert all(address.startswith((server.rest_address, "data:")) for address in addresses)


def test_the_page_leaves_a_background_undrawn_unless_it_is_to_be_drawn(tmp_path):
    executable = find_chromium()
    from playwright import sync_api

    folder = write_version(tmp_path / "models" / "street" / "1")
    described = folder / "assets.extra" / "classes.json"
    content = json.loads(described.read_text())
    content["class_names"][0] = "_background_"
    described.write_text(json.dumps(content))
    pixels = np.repeat(np.repeat(random_pixels(9, (6, 8)), 30, 0), 30, 1)
    PIL.Image.fromarray(pixels).save(tmp_path / "street.png")
    with sync_api.sync_playwright() as playwright, serving(tmp_path / "models") as server:
        listed = requests.get(f"{server.rest_address}/models.json", timeout=10).json()["models"]
        assert listed["street"][0]["undrawn"] == [0]
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(server.rest_address)
        page.locator("#model option").first.wait_for(state="attached")
        page.set_input_files("#file", tmp_path / "street.png")
        background = expected_label(pixels, 0) == 0
        assert background.any()
        for drawn in (False, True):
            page.locator("#background").set_checked(drawn)
            page.locator("#message", has_text=re.compile(r"^street\.png$")).wait_for()
            data = page.locator("canvas.overlay").evaluate("one => one.toDataURL()")
            with PIL.Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))) as overlay:
                shown = np.asarray(overlay.convert("RGBA"))[..., 3]
            np.testing.assert_array_equal(shown, np.where(background & (not drawn), 0, 255))
        browser.close()


def test_the_requests_of_an_export_warm_a_model_up(models, tmp_path):
    folder = shutil.copytree(models / "street" / "2", tmp_path / "1")
    model = saved_model.SavedModel(folder)
    file = folder / "assets.extra" / "tf_serving_warmup_requests"
    file.unlink()
    assert warmup.run(model, folder) == 0
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([IMAGE]))
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(log.SerializeToString())
        writer.write(log.SerializeToString())
    content = file.read_bytes()
    assert warmup.run(model, folder) == 2
    for damaged, message in (
        (content[:-9], "is cut short"),
        (content[:7], "is cut short"),
        (b"\0" + content[1:], "has a damaged length"),
        (content[:-9] + b"?" + content[-8:], "has a wrong checksum"),
    ):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"tf_serving_warmup_requests {message}"):
            warmup.run(model, folder)
    request.model_spec.signature_name = "nope"
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(log.SerializeToString())
    with pytest.raises(saved_model.SavedModelError, match="signature must be one of"):
        warmup.run(model, folder)
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(b"\xff\xff")
    with pytest.raises(ValueError, match="has a record that is no PredictionLog"):
        warmup.run(model, folder)


def test_a_saved_model_runs_any_signature_and_keeps_no_memory(models):
    model = saved_model.SavedModel(models / "street" / "2")
    assert model.signatures["labels"].inputs["image"].shape == (None, None, None, 3)
    assert model.signatures["class_shares"].outputs["class_shares"].shape == (None, 3)
    with pytest.raises(saved_model.SavedModelError, match="signature must be one of") as raised:
        model.run({}, signature="nope")
    assert raised.value.code == 3
    image = tensors.strings([IMAGE + bytes(2**20)])  # what follows a PNG is passed over
    process = psutil.Process()
    for _ in range(20):
        model.run({"image_bytes": image})
    before = process.memory_info().rss
    for _ in range(100):
        model.run({"image_bytes": image})
    assert process.memory_info().rss - before < 30 * 2**20  # 100 MiB if each were kept


@pytest.mark.parametrize("dtype", tensors.DTYPES.values())
def test_tensors_go_over_the_wire_as_tensorflow_writes_them(dtype):
    if dtype.kind == "O":
        array = tensors.strings([b"a\x00", b"", b"\xff" * 30])
    else:
        array = np.array([[0, 1, 1], [0, 1, 1]], dtype)
    proto = tf.make_tensor_proto([])
    proto.Clear()
    tensors.write(array, proto)
    np.testing.assert_array_equal(tf.make_ndarray(proto), array)
    for made in (tf.make_tensor_proto(array), tf.make_tensor_proto(array.ravel()[:1])):
        wanted = tf.make_ndarray(made)
        read = tensors.read(made)
        assert read.dtype == wanted.dtype
        np.testing.assert_array_equal(read, wanted)
