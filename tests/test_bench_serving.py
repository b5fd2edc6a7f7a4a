import json

import pytest
from served_models import encode, random_pixels, write_version

from kerasseg.pipelines import bench_serving
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.serve import Server

pytest.importorskip("tensorflow_serving.apis", reason="needs the extra 'serving'")


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "street.png"
    path.write_bytes(encode(random_pixels(0, (30, 40))))
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    models = tmp_path_factory.mktemp("served")
    write_version(models / "street" / "1", 0)
    with Server(models, rest_port=0, grpc_port=0) as server:
        yield server


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_every_signature_is_measured(run_cli, server, image, tmp_path, protocol):
    url = server.rest_address if protocol == "rest" else server.grpc_address
    result = run_cli(
        *("bench-serving", url, "--image", image, "--model", "street"),
        *("--clients", "1,3", "--requests", "7", "--json", tmp_path / "bench.json"),
    )
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "bench.json").read_text())
    assert (content["url"], content["model"]) == (url, "street")
    size = image.stat().st_size
    assert content["image"] == {"width": 40, "height": 30, "bytes": size}
    names = ["class_shares", "labels", "overlay_png_bytes", "probabilities", "serving_default"]
    rows = content["rows"]
    expected = [(name, clients) for name in names for clients in (1, 3)]
    assert [(row["signature"], row["clients"]) for row in rows] == expected
    for row in rows:
        assert (row["requests"], row["errors"]) == (7, 0)
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"]
        # Each of the clients had at most one request under way.
        assert row["requests_per_second"] <= 1000 * row["clients"] / (row["p50_ms"] / 2)
        if row["signature"] == "serving_default":
            # Base64 makes four bytes of three.
            least = size if protocol == "grpc" else 4 * size / 3
            assert least < row["request_bytes"] < least + 150
        if row["signature"] == "probabilities" and protocol == "grpc":
            least = 30 * 40 * 3 * 4
            assert least < row["response_bytes"] < least + 150
    for name in names:
        assert name in result.output
    assert "slow" not in result.output


def test_what_a_busy_server_refuses_is_counted(tmp_path, image):
    write_version(tmp_path / "street" / "1", 0)
    options = {"max_concurrency": 1, "max_waiting": 0}
    with Server(tmp_path, rest_port=0, grpc_port=0, **options) as server:
        (row,) = bench_serving.run(
            server.rest_address, image, signatures=["labels"], clients=[8], requests=60
        )
    assert row.errors > 0
    assert 60 <= row.requests + row.errors <= 68


def test_percentiles_are_latencies_that_were_measured():
    latencies = [index / 1000 for index in range(1, 201)]  # 1 to 200 ms
    assert bench_serving.percentiles(latencies[::-1]) == pytest.approx((100, 180, 198))
    assert bench_serving.percentiles([0.004]) == (4, 4, 4)
    assert bench_serving.percentiles([]) == (None, None, None)


def test_arguments_that_cannot_be_used_are_refused(run_cli, server, image, tmp_path):
    for clients, requests in (([], 5), ([0], 5), ([1], 0)):
        with pytest.raises(InputError, match="must be at least 1"):
            bench_serving.run(server.rest_address, image, clients=clients, requests=requests)
    result = run_cli("bench-serving", server.rest_address, "--image", image, "--clients", "1,x")
    assert result.exit_code == 2
    assert "whole numbers from 1 on" in result.output
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InputError, match="must be an image"):
        bench_serving.run(
            server.rest_address, tmp_path / "text.png", signatures=["serving_default"]
        )
