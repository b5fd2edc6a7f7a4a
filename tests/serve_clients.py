"""Clients of a server in a process of their own, good or hostile ones: `serve_clients.py KIND`.

In the process of the server or of the test they would wait for each other. Reads what to do from
the standard input, and writes to the standard output what came of it, both JSON.
"""

import base64
import contextlib
import gzip
import http.client
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import requests

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_LARGE = b'{"instances": [' + b"0, " * (10 * 2**20 // 3) + b"0]}"  # no image
_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]


@contextlib.contextmanager
def clients(kind, **options):
    """Has clients ask until the block ends; yields a dictionary that then has what came of it."""
    command, told = [sys.executable, Path(__file__), kind], {}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            process.stdin.write(json.dumps(options, default=_in_base64) + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
            yield told
            output, _ = process.communicate("stop\n", timeout=120)
            told.update(json.loads(output))
        finally:
            process.kill()


def _in_base64(content):
    return base64.b64encode(content).decode()


def good(stop, *, rest, rpc, count, model, image, answers):
    """Asks as fast as the server answers, half of the clients over each protocol.

    Tells the time of each answer and how long it took, and what was not one of those expected.
    """
    told = {"answers": [], "wrong": []}
    address = rest.removeprefix("http://")
    body = json.dumps({"instances": [{"b64": image}]}).encode()
    expected = [base64.b64decode(answer) for answer in answers]

    def ask_rest(connection):
        connection.request("POST", f"/v1/models/{model}:predict", body)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            return f"{answer.status} {content[:200]!r}"
        png = base64.b64decode(json.loads(content)["predictions"][0]["b64"])
        return None if png in expected else f"{len(png)} bytes"

    def ask_grpc(call):
        response = call(_message(model, base64.b64decode(image)), timeout=60)
        return None if any(png in response for png in expected) else f"{len(response)} bytes"

    def work(index):
        with contextlib.ExitStack() as stack:
            if index % 2:
                ask, subject = ask_rest, http.client.HTTPConnection(address, timeout=60)
                stack.callback(subject.close)
            else:
                channel = grpc.insecure_channel(rpc.removeprefix("grpc://"), _OPTIONS)
                ask, subject = ask_grpc, stack.enter_context(channel).unary_unary(_PREDICT)
            while not stop.is_set():
                begun = time.monotonic()
                try:
                    wrong = ask(subject)
                except (OSError, http.client.HTTPException, grpc.RpcError) as error:
                    wrong = repr(error)[:300]
                ended = time.monotonic()
                told["answers"].append((ended, ended - begun))
                if wrong is not None:
                    told["wrong"].append((ended, wrong))

    _run(work, count)
    return told


def _message(model, image):
    """Encodes a PredictRequest{1: ModelSpec{1: name}, 2: {1: key, 2: TensorProto}}.

    Layout: TensorProto{1: dtype, 2: {2: {1: size}}, 8: string_val}.
    """

    def field(number, content):
        length, size = len(content), b""
        while length > 127:
            size += bytes([length & 127 | 128])
            length >>= 7
        return bytes([number << 3 | 2]) + size + bytes([length]) + content

    tensor = b"\x08\x07" + field(2, field(2, b"\x08\x01")) + field(8, image)
    entry = field(1, b"image_bytes") + field(2, tensor)
    return field(1, field(1, model.encode())) + field(2, entry)


def hostile(stop, *, rest, rpc, model):
    """Four that send what is refused, or nothing for long, again and again; tells how often."""
    counts = [0] * 4
    url = f"{rest}/v1/models/{model}:predict"
    host, port = rest.removeprefix("http://").split(":")
    head = f"POST /v1/models/{model}:predict HTTP/1.1\r\nHost: {host}\r\nContent-Length: 99999\r\n"

    def send(content, **headers):
        assert requests.post(url, content, headers=headers, timeout=60).status_code in (400, 503)

    def send_numbers():
        send(_LARGE)

    def send_compressed():
        send(gzip.compress(_LARGE, 1), **{"Content-Encoding": "gzip"})
        name = "x" * 5000 + str(counts[1])
        assert requests.get(f"{rest}/v1/models/{name}", timeout=60).status_code == 404

    def call():
        with grpc.insecure_channel(rpc.removeprefix("grpc://"), _OPTIONS) as channel:
            for content in (b"\xff" * 10 * 2**20, _message(model + "x" * 9000, b"\0" * 10 * 2**20)):
                with contextlib.suppress(grpc.RpcError):
                    channel.unary_unary(_PREDICT)(content, timeout=60)
                    raise AssertionError("it was answered")

    def drip():
        opened = [socket.create_connection((host, int(port))) for _ in range(40)]
        for index, one in enumerate(opened):
            one.sendall(head.encode() + (b"\r\n{" if index % 2 else b""))
        for _ in range(3):
            stop.wait(1)
            for one in opened:
                with contextlib.suppress(OSError):
                    one.sendall(b"x")
        for one in opened:
            one.close()

    def work(index):
        while not stop.is_set():
            with contextlib.suppress(requests.RequestException):
                (send_numbers, send_compressed, call, drip)[index]()
                counts[index] += 1

    _run(work, 4)
    return {"sent": counts}


def _run(work, count):
    threads = [threading.Thread(target=work, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def longest_stall(answers, begun, ended):
    """Finds the longest time in which nobody was answered, in seconds."""
    times = sorted(at for at, _ in answers if begun <= at <= ended)
    return max(after - before for before, after in itertools.pairwise([begun, *times, ended]))


def main():
    options = json.loads(sys.stdin.readline())
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
    print("ready", flush=True)
    print(json.dumps({"good": good, "hostile": hostile}[sys.argv[1]](stop, **options)))


if __name__ == "__main__":
    main()
