import dataclasses
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from served_models import (
    COLORS,
    decode,
    encode,
    expected_label,
    random_pixels,
    write_models,
    write_version,
)

from kerasseg.pipelines import client
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.images import given_images
from kerasseg.pipelines.images.output_names import Output
from kerasseg.pipelines.images.source_images import Stretch
from kerasseg.pipelines.serve import Server
from kerasseg.pipelines.serving import connections, messages, session, tensors
from kerasseg.pipelines.serving.connections import RequestError, Target

pytest.importorskip("tensorflow_serving.apis", reason="needs the extra 'serving'")
PROTOCOLS = ("rest", "grpc")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    models = write_models(tmp_path_factory.mktemp("served"))
    with Server(models, rest_port=0, grpc_port=0, timeout=20) as server:
        yield server


@pytest.fixture(params=PROTOCOLS)
def url(server, request):
    return server.rest_address if request.param == "rest" else server.grpc_address


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / "images" / name for name in ("one.png", "two.jpg")]
    paths[0].parent.mkdir()
    for seed, path in enumerate(paths):
        pixels = random_pixels(seed, (20 + seed, 30))
        path.write_bytes(encode(pixels, "PNG" if path.suffix == ".png" else "JPEG"))
    return paths


def pixels_of(path):
    import tensorflow as tf  # as the models decode it

    return tf.io.decode_image(path.read_bytes(), 3, expand_animations=False).numpy()


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_masks_and_overlays_are_written(run_cli, url, images, tmp_path):
    out = tmp_path / "out"
    result = run_cli("client", url, *images, "--model", "street", "--output", out, "--overlay")
    assert result.exit_code == 0, result.output
    assert f"2 images answered, 4 files in {out}" in result.output
    assert listing(out) == ["one.png", "one_overlay.png", "two.png", "two_overlay.png"]
    for path in images:
        label = expected_label(pixels_of(path), 1)
        np.testing.assert_array_equal(decode((out / f"{path.stem}.png").read_bytes()), label)
        with PIL.Image.open(out / f"{path.stem}_overlay.png") as overlay:
            np.testing.assert_array_equal(np.asarray(overlay), np.array(COLORS)[label])
    # Overlays of earlier label maps do not stay beside new ones.
    run_cli("client", url, *images, "--model", "street", "--output", out)
    assert listing(out) == ["one.png", "two.png"]


def test_a_folder_of_images_and_a_version_are_taken(url, images, tmp_path):
    out = tmp_path / "out"
    answers = client.run(url, [images[0].parent], model="street", version=2, output=out)
    assert [answer.image for answer in answers] == images
    label = decode((out / "one.png").read_bytes())
    np.testing.assert_array_equal(label, expected_label(pixels_of(images[0])))


def test_every_signature_that_takes_an_image_is_answered(run_cli, url, images, tmp_path):
    pixels = pixels_of(images[0])
    label = expected_label(pixels, 1)

    def ask(signature):
        out = tmp_path / signature
        arguments = ("--model", "street", "--signature", signature, "--output", out)
        result = run_cli("client", url, images[0], *arguments)
        assert result.exit_code == 0, result.output
        return out, result.output

    np.testing.assert_array_equal(decode((ask("labels")[0] / "one.png").read_bytes()), label)
    probabilities = np.load(ask("probabilities")[0] / "one_probabilities.npy")
    np.testing.assert_array_equal(probabilities, pixels.astype(np.float32) / 256)
    out, output = ask("class_shares")
    shares = np.bincount(label.ravel(), minlength=3) / label.size
    assert " ".join(f"{share:.4f}" for share in shares) in output
    assert not out.exists() or not listing(out)
    assert listing(ask("overlay_png_bytes")[0]) == ["one_overlay.png"]


def test_a_photograph_is_turned_upright_before_its_pixels_are_sent(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, 0] = 255
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    layout = connections.Layout({"image": 4}, {})
    (sent,) = session.inputs(layout, (tmp_path / "a.png").read_bytes())["image"]
    np.testing.assert_array_equal(sent, np.rot90(pixels, -1))


def test_an_answer_above_grpcs_own_limit_comes_through(server, tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(encode(random_pixels(0, (640, 640))))
    arguments = {"model": "street", "signature": "probabilities", "output": tmp_path / "out"}
    (answer,) = client.run(server.grpc_address, [path], **arguments)
    assert answer.files[0].stat().st_size > 4 * 2**20


def test_patterns_and_lists_are_taken(run_cli, url, images, tmp_path):
    (tmp_path / "list.txt").write_text(f"{images[0].parent}/*\nhttp://127.0.0.1:1/a.png\n")
    output = tmp_path / "masks"
    words = (f"@{tmp_path / 'list.txt'}", "--model", "street")
    result = run_cli("client", url, *words, "--output", output)
    assert result.exit_code == 1
    assert "http://127.0.0.1:1/a.png\taddress must be on a public host" in result.output
    assert len(listing(output)) == len(images)


def test_the_only_model_needs_no_name(tmp_path, images):
    write_version(tmp_path / "served" / "street" / "1", 0)
    with Server(tmp_path / "served", rest_port=0, grpc_port=0) as server:
        client.run(server.rest_address, images, output=tmp_path / "out")
        assert listing(tmp_path / "out") == ["one.png", "two.png"]
        with pytest.raises(InputError, match=r"model must be given, .* does not list its models"):
            client.run(server.grpc_address, images)


def test_several_models_need_one(server, images):
    with pytest.raises(InputError, match=r"model must be given, .* has street, street-crf\."):
        client.run(server.rest_address, images)


def test_the_client_runs_where_tensorflow_cannot_be_imported(server, images, tmp_path):
    code = f"""
import sys
for name in ("tensorflow", "tensorflow_serving", "keras", "starlette", "uvicorn"):
    sys.modules[name] = None
from kerasseg.pipelines.cli import main
for url in ({server.rest_address!r}, {server.grpc_address!r}):
    main(["client", url, {str(images[0])!r}, "--model", "street", "--overlay",
          "--output", {str(tmp_path)!r}], standalone_mode=False)
main(["bench-serving", {server.grpc_address!r}, "--image", {str(images[0])!r}, "--model", "street",
      "--signature", "labels", "--clients", "2", "--requests", "4"], standalone_mode=False)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("1 image answered, 2 files") == 2


def test_our_messages_are_the_official_ones_on_the_wire():
    from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

    pairs = (
        (messages.PredictRequest, predict_pb2.PredictRequest),
        (messages.PredictResponse, predict_pb2.PredictResponse),
        (messages.MetadataRequest, get_model_metadata_pb2.GetModelMetadataRequest),
        (messages.MetadataResponse, get_model_metadata_pb2.GetModelMetadataResponse),
        (messages.SignatureDefMap, get_model_metadata_pb2.SignatureDefMap),
        (messages.StatusRequest, get_model_status_pb2.GetModelStatusRequest),
        (messages.StatusResponse, get_model_status_pb2.GetModelStatusResponse),
    )

    def check(ours, official):
        for field in ours.fields:
            other = official.fields_by_number[field.number]
            assert field.name == other.name
            enumerated = other.type == other.TYPE_ENUM
            assert field.type == (field.TYPE_INT32 if enumerated else other.type)
            assert field.is_repeated == other.is_repeated
            if field.message_type is not None:
                check(field.message_type, other.message_type)

    for ours, official in pairs:
        check(ours.DESCRIPTOR, official.DESCRIPTOR)
    request = messages.PredictRequest()
    request.model_spec.name, request.model_spec.version.value = "street", 2
    tensors.write(random_pixels(0), request.inputs["image"])
    read = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    assert messages.PredictRequest.FromString(read.SerializeToString()) == request
    np.testing.assert_array_equal(tensors.read(read.inputs["image"]), random_pixels(0))


def test_corrupt_images_are_listed_and_the_others_are_written(run_cli, url, images, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(images[0].read_bytes()[:-30])
    out = tmp_path / "out"
    for signature in ("serving_default", "labels"):
        arguments = ("--model", "street", "--output", out, "--signature", signature)
        result = run_cli("client", url, images[0], broken, images[1], *arguments)
        assert result.exit_code == 1, result.output
        assert "broken.png" in result.output
        assert "1 of the images cannot be predicted" in result.output
        assert listing(out) == ["one.png", "two.png"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_goes_wrong_is_said_clearly(run_cli, server, images, tmp_path, protocol, free_port):
    url = server.rest_address if protocol == "rest" else server.grpc_address
    port = url.rpartition(":")[2]
    scheme, other = ("http", "grpc") if protocol == "rest" else ("grpc", "http")
    model = ("--model", "street")
    for address, options, message in (
        (f"{scheme}://127.0.0.1:{free_port()}", model, "no server answers there"),
        (f"{other}://127.0.0.1:{port}", model, "is the address right"),
        (f"{scheme}://no-such-host.invalid:1", model, "no server answers there"),
        (f"ftp://127.0.0.1:{port}", model, "url must be http://HOST:PORT or grpc://HOST:PORT"),
        (f"{scheme}://127.0.0.1:port", model, "url must be"),
        (url, ("--model", "nope"), "Servable not found for request: Latest(nope)"),
        (url, (*model, "--version", "5"), "Specific(street, 5)"),
        (url, (*model, "--version", "0"), "version must be a positive number, got 0"),
        (url, (*model, "--signature", "nope"), "signature must be one of class_shares, labels"),
        (url, (*model, "--signature", "slow"), "signature must take files or uint8 pixels"),
        (url, (*model, "--timeout", "0"), "timeout must be greater than 0"),
        (url, (*model, "--timeout", "nan"), "and finite, got nan"),
        (url, (*model, "--retries", "-1"), "retries must be at least 0"),
    ):
        options = options if "--retries" in options else (*options, "--retries", "0")
        result = run_cli("client", address, images[0], *options, "--output", tmp_path / "out")
        assert result.exit_code == 1, result.output
        assert message in " ".join(result.output.split()), result.output
        assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_paths_that_cannot_be_used_are_refused(server, images, tmp_path):
    twin = tmp_path / "one.png"
    twin.write_bytes(images[1].read_bytes())
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for paths, output, message in (
        ([tmp_path / "nope.png"], tmp_path, "nope.png: no such image or folder"),
        ([tmp_path / "empty"], tmp_path, "must hold images"),
        ([], tmp_path, "images must be files or folders, got none"),
        (
            [tmp_path / "pipe.png"],
            tmp_path,
            "must be an image file or a folder, got a special file",
        ),
        ([images[0], twin], tmp_path / "out", "give them separate --output folders"),
        ([images[0]], images[0].parent, "would overwrite an image"),
    ):
        with pytest.raises(InputError, match=message):
            client.run(server.rest_address, paths, model="street", output=output)
    assert not (tmp_path / "out").exists()


def test_nothing_half_written_is_left(server, images, tmp_path, monkeypatch):
    out = tmp_path / "out"
    arguments = {"model": "street", "output": out, "overlay": True}
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        client.run(server.rest_address, images, model="street", output=tmp_path / "file")

    write, written = Path.write_bytes, []

    def full(path, content):
        written.append(path)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(client.Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"out: cannot be written \(No space left on device"):
        client.run(server.rest_address, images, **arguments)
    assert listing(out) == []


def test_images_of_one_name_all_get_their_answers(url, images, tmp_path):
    for name in ("one.jpg", "one_overlay.png"):
        (images[0].parent / name).write_bytes(encode(random_pixels(3, (9, 11)), "PNG"))
    client.run(url, images[0].parent, model="street", output=tmp_path / "out", overlay=True)
    stems = ("one.jpg", "one.png", "one_overlay.png", "two")
    assert listing(tmp_path / "out") == sorted(
        f"{x}{y}" for x in stems for y in (".png", "_overlay.png")
    )
    for path in images[0].parent.glob("one*"):
        label = decode((tmp_path / "out" / f"{path.name}.png").read_bytes())
        np.testing.assert_array_equal(label, expected_label(pixels_of(path), 1))


@pytest.mark.parametrize("signature", ["serving_default", "labels"])
def test_formats_that_a_server_does_not_decode_are_sent_without_a_loss(url, tmp_path, signature):
    pixels = random_pixels(0)
    (tmp_path / "in").mkdir()
    for format_ in ("TIFF", "WEBP", "PPM", "BMP"):
        lossless = {"lossless": True} if format_ == "WEBP" else {}
        PIL.Image.fromarray(pixels).save(
            tmp_path / "in" / f"{format_}.{format_}".lower(), **lossless
        )
    options = {"model": "street", "signature": signature}
    answers = client.run(url, tmp_path / "in", output=tmp_path / "out", **options)
    assert len(answers) == 4
    for answer in answers:
        label = decode(answer.files[0].read_bytes())
        np.testing.assert_array_equal(label, expected_label(pixels, 1))


def test_a_model_of_16_bit_images_asks_for_the_stretch_of_its_training(url, tmp_path, monkeypatch):
    """The server does not know it, and without it the model would see other brightnesses."""
    layout = session.Session.layout
    monkeypatch.setattr(
        session.Session,
        "layout",
        lambda *arguments: dataclasses.replace(layout(*arguments), bits=16),
    )
    PIL.Image.new("I;16", (16, 12), 900).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match=r"stretch must be given .* got none: .* or 0,65535"):
        client.run(url, tmp_path / "deep.png", model="street", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_image_of_16_bits_is_stretched_or_refused(run_cli, url, tmp_path):
    deep = np.arange(12 * 16, dtype=np.uint16).reshape(12, 16) * 20
    PIL.Image.fromarray(deep).save(tmp_path / "deep.png")
    command = (
        "client",
        url,
        tmp_path / "deep.png",
        "--model",
        "street",
        "--output",
        tmp_path / "out",
    )
    result = run_cli(*command)
    assert result.exit_code == 1
    assert "--stretch LOW,HIGH" in " ".join(result.output.split())
    (answer,) = client.run(
        url, tmp_path / "deep.png", model="street", signature="probabilities",
        output=tmp_path / "out", stretch=Stretch(0, 4095),
    )  # fmt: skip
    expected = np.rint(deep * (255 / 4095)).astype(np.float32)
    np.testing.assert_array_equal(
        np.load(answer.files[0]), expected[..., np.newaxis].repeat(3, -1) / 256
    )


def test_an_output_s_name_cannot_lead_out_of_the_folder(images, tmp_path):
    layout = connections.Layout({"image_bytes": 7}, {"../../label_png_bytes": 7})
    with pytest.raises(RequestError, match="names of outputs must be letters"):
        client._endings([layout])


def test_two_label_maps_of_one_image_are_both_written(tmp_path):
    item = Output(tmp_path / "a.jpg", tmp_path, "a")
    outputs = {"labels": np.zeros((2, 3), np.uint8), "second": np.ones((2, 3), np.uint8)}
    answer = client._write(item, outputs, overwrite=False)
    assert [path.name for path in answer.files] == ["a.png", "a_second.png"]
    assert decode(answer.files[1].read_bytes()).all()


def test_a_slow_answer_is_given_up_and_not_asked_for_again(url):
    target = Target("street", None, "slow")
    connection = connections.connect(url, timeout=0.5)
    request = connection.encode(target, {"seconds": np.full(1, 5.0)})
    with pytest.raises(RequestError, match=r"no answer within 0\.5 s") as raised:
        connection.send(target, request)
    assert (raised.value.code, raised.value.retry) == (4, False)
    connection.close()


def test_a_busy_server_is_asked_again(images, tmp_path, monkeypatch):
    """It refuses twice; the third attempt succeeds, after waits that grow."""
    waits, seen = [], []
    monkeypatch.setattr(connections.time, "sleep", waits.append)

    class Busy(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            described = {"inputs": {"x": {"dtype": "DT_STRING"}}}
            described["outputs"] = {"label_png_bytes": {"dtype": "DT_STRING"}}
            signatures = {"signature_def": {"serving_default": described}}
            self.answer(200, {"metadata": {"signature_def": signatures}})

        def do_POST(self):
            seen.append(self.rfile.read(int(self.headers["Content-Length"])))
            answers = [503, 503, 200]
            self.answer(answers[len(seen) - 1], {"outputs": [{"b64": "UE5H"}], "error": "full"})

        def answer(self, status, content):
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        (answer,) = client.run(url, images[:1], model="any", output=tmp_path / "out")
        server.shutdown()
    assert answer.files[0].read_bytes() == b"PNG"
    assert len(seen) == 3
    assert len(set(seen)) == 1
    assert [0.125 <= waits[0] <= 0.25, 0.25 <= waits[1] <= 0.5] == [True, True]


@pytest.mark.parametrize("protocol", ["rest", pytest.param("grpc", marks=pytest.mark.slow)])
def test_a_server_that_starts_late_is_waited_for(images, tmp_path, protocol, free_port):
    write_version(tmp_path / "served" / "street" / "1", 0)
    ports = {"rest_port": free_port(), "grpc_port": free_port()}
    server = Server(tmp_path / "served", **ports)
    starting = threading.Timer(1, server.start)
    starting.start()
    try:
        scheme = "http" if protocol == "rest" else "grpc"
        url = f"{scheme}://127.0.0.1:{ports[f'{protocol}_port']}"
        client.run(url, images, model="street", output=tmp_path / "out", retries=8)
    finally:
        starting.join()
        server.stop()
    assert listing(tmp_path / "out") == ["one.png", "two.png"]


def test_answers_that_make_no_sense_are_an_error():
    connection = connections.connect("http://127.0.0.1:1")
    layout = connections.Layout({}, {"label_png_bytes": 7})
    for answer in (b"<html>", b"[]", b'{"outputs": [1]}', b'{"outputs": [{"b64": 3}]}', b"{}"):
        with pytest.raises(RequestError, match="must be answered by TensorFlow Serving"):
            connection.decode(answer, layout)
    connection.close()


def test_png_and_jpeg_files_are_sent_as_they_are(images):
    layout = connections.Layout({"image_bytes": 7}, {})
    for path in images:
        sent = session.inputs(layout, given_images.read(path))["image_bytes"]
        assert sent.tolist() == [path.read_bytes()]
