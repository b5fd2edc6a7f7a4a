"""A server keeps nothing of the requests that it refuses."""

import contextlib
import gzip
import itertools
import re
import statistics

import grpc
import psutil
import pytest
import requests
from served_models import serving_process, write_models

pytest.importorskip("tensorflow_serving.apis", reason="needs the extra 'serving'")
from tensorflow_serving.apis import predict_pb2

PREDICT = "/v1/models/street:predict"
GRPC_PREDICT = "/tensorflow.serving.PredictionService/Predict"
MIB = 2**20


def tensor(dtype, size, **values):
    """Encodes a request that is one tensor of a dimension."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "street"
    proto = predict_pb2.PredictRequest().inputs["image_bytes"].__class__(dtype=dtype, **values)
    proto.tensor_shape.dim.add(size=size)
    request.inputs["image_bytes"].CopyFrom(proto)
    return request.SerializeToString()


@contextlib.contextmanager
def refusals(process, size):
    """Yields functions, each of which sends something of a size, in bytes, that is refused."""
    rest, rpc = re.findall(r"serving at (http://\S+) and (grpc://\S+)", process.said)[0]
    numbers = b'{"instances": [' + b"0, " * (size // 3) + b"0]}"
    count = itertools.count()
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    with (
        requests.Session() as session,
        grpc.insecure_channel(rpc.removeprefix("grpc://"), options) as channel,
    ):

        def post(content, status=400, encoding="identity", path=PREDICT):
            headers = {"Content-Encoding": encoding}
            answer = session.post(rest + path, content, headers=headers, timeout=120)
            assert answer.status_code == status, answer.text

        def call(content, code):
            with pytest.raises(grpc.RpcError) as raised:
                channel.unary_unary(GRPC_PREDICT)(content, timeout=120)
            assert raised.value.code() == code, raised.value

        def call_for_name():
            request = predict_pb2.PredictRequest()
            request.model_spec.name = f"{next(count)}" + "x" * 50_000
            call(request.SerializeToString(), grpc.StatusCode.NOT_FOUND)

        compressed = gzip.compress(numbers, 1)
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        messages = {
            "bytes": tensor(4, size, tensor_content=bytes(size)),
            "numbers": tensor(4, size, int_val=bytes(size)),
            "no image": tensor(7, 1, string_val=[bytes(size)]),
            "no message": b"\xff" * size,
        }
        yield {
            "numbers": lambda: post(numbers),
            "compressed numbers": lambda: post(compressed, encoding="gzip"),
            "cut off": lambda: post(numbers[:-1]),
            "not compressed": lambda: post(numbers, encoding="gzip"),
            "no image": lambda: post(b'{"instances": ["' + b"A" * size + b'"]}'),
            "no model": lambda: post(numbers, 404, path="/v1/models/nope:predict"),
            "a name": lambda: post(b"", 404, path=f"/v1/models/{next(count)}{'x' * 9000}:predict"),
            "a name over gRPC": call_for_name,
            **{
                f"{name} over gRPC": lambda content=content: call(content, invalid)
                for name, content in messages.items()
            },
        }


def resident(process):
    """Sums up the memory of a server and of the processes that it has started, in MiB."""
    server = psutil.Process(process.pid)
    return sum(one.memory_info().rss for one in (server, *server.children())) / MIB


def measure(process, size, counts):
    """Sends refused requests, each kind in its turn; returns the memory after some numbers.

    It is the median over the last round of all kinds: what a request takes while it is read comes
    and goes.
    """
    sizes = []
    with refusals(process, size) as found:
        for send, _ in zip(itertools.cycle(found.values()), range(max(counts)), strict=False):
            send()
            sizes.append(resident(process))
        medians = [statistics.median(sizes[count - len(found) : count]) for count in counts]
    print(f"MiB after {counts} refused requests: {[f'{one:.0f}' for one in medians]}")
    return medians


def test_refused_requests_leave_no_memory_behind(tmp_path):
    with serving_process(write_models(tmp_path)) as process:
        early, late = measure(process, 3 * MIB, (36, 180))
    assert late < 1.1 * early


@pytest.mark.slow
def test_a_thousand_large_refused_requests_leave_no_memory_behind(tmp_path):
    with serving_process(write_models(tmp_path)) as process:
        early, late = measure(process, 10 * MIB, (24, 1000))
    assert late < 1.1 * early
