"""Many clients for a while, hostile ones among them, while versions come and go."""

import contextlib
import re
import shutil
import statistics
import threading
import time

import numpy as np
import psutil
import pytest
from serve_clients import clients, longest_stall
from served_models import (
    decode,
    encode,
    random_pixels,
    serving_process,
    wait_until_available,
    write_version,
)

from kerasseg.pipelines import client, export
from kerasseg.pipelines.serving import connections, saved_model
from kerasseg.pipelines.serving.connections import Target

pytest.importorskip("tensorflow_serving.apis", reason="needs the extra 'serving'")
SECONDS = 60
# serving_default is asked for twice as often as the others.
SIGNATURES = ("serving_default", "overlay_png_bytes", "serving_default", "class_shares")


@pytest.mark.slow
def test_sixteen_clients_for_a_minute_meet_no_error_and_memory_is_steady(tiny_run, tmp_path):
    version = export.run(tiny_run, output=tmp_path)
    # Sizes of their own, so that an answer to another's question would be seen.
    files = [tmp_path / f"{index}.png" for index in range(16)]
    for index, file in enumerate(files):
        file.write_bytes(encode(random_pixels(index, (150 + index, 200 - index))))
    contents = [file.read_bytes() for file in files]
    expected = [decode(answer) for answer in map(saved_model.SavedModel(version).predict, contents)]
    answered, failures, memory = [0] * 16, [], []

    def ask(index, url, end):
        target = Target("tiny", None, SIGNATURES[index % 4])
        with client.open_connection(url, timeout=60) as connection:
            session = client.Session(connection, retries=0)
            layout = session.layout(target)
            while time.monotonic() < end:
                ((_, output),) = session.ask(target, layout, contents[index]).items()
                if target.signature == "serving_default":
                    np.testing.assert_array_equal(decode(output), expected[index])
                answered[index] += 1

    def ask_and_tell(*arguments):
        try:
            ask(*arguments)
        except (connections.RequestError, AssertionError) as error:
            failures.append(error)

    with serving_process(tmp_path) as process:
        urls = re.findall(r"serving at (http://\S+) and (grpc://\S+)", process.said)[0]
        end = time.monotonic() + SECONDS
        threads = [
            threading.Thread(target=ask_and_tell, args=(index, urls[index // 8], end))
            for index in range(16)
        ]
        for thread in threads:
            thread.start()
        while time.monotonic() < end:
            memory.append(psutil.Process(process.pid).memory_info().rss / 2**20)
            time.sleep(1)
        for thread in threads:
            thread.join()
        open_files = psutil.Process(process.pid).num_fds()
    assert failures == []
    assert min(answered) > 20, answered
    early, late = statistics.median(memory[15:25]), statistics.median(memory[-10:])
    print(f"\n{sum(answered)} answers; MiB after 20 s {early:.0f}, at the end {late:.0f}")
    assert late < 1.05 * early
    assert open_files < 60


def soak(folder, *, seconds, pause):
    """Sixteen good clients and four hostile ones; a new version after each pause.

    Returns:
        What the good ones tell; how long nobody was answered in each pause and while each version
        was loaded, in seconds; and the memory in MiB, second by second.
    """
    street, image, answers = folder / "street", encode(random_pixels(8)), []
    publish(street, 1, 0)
    for offset in range(3):
        model = saved_model.SavedModel(write_version(folder / "aside" / str(offset), offset))
        answers.append(model.predict(image))
    pauses, switches, memory = [], [], []
    with serving_process(folder) as process, contextlib.ExitStack() as stack:
        rest, rpc = re.findall(r"serving at (http://\S+) and (grpc://\S+)", process.said)[0]
        where = {"rest": rest, "rpc": rpc, "model": "street"}
        asked = {"count": 8, "image": image, "answers": answers}
        good = [stack.enter_context(clients("good", **where, **asked)) for _ in range(2)]
        stack.enter_context(clients("hostile", **where))
        wait(process, 2, memory)
        end, number = time.monotonic() + seconds, 1
        while time.monotonic() < end:
            begun = time.monotonic()
            wait(process, pause, memory)
            published, number = time.monotonic(), number + 1
            publish(street, number, number % 3)
            wait_until_available(rest, "street", number)
            wait(process, 1, memory)
            pauses.append((begun, published))
            switches.append((published, time.monotonic()))
            shutil.rmtree(street / str(number - 1))
    told = {key: good[0][key] + good[1][key] for key in good[0]}
    quiet, loading = (
        [longest_stall(told["answers"], *span) for span in spans] for spans in (pauses, switches)
    )
    latencies = [duration for _, duration in told["answers"]]
    print(
        f"\n{len(latencies)} answers in {seconds} s, {len(told['wrong'])} wrong; median "
        f"{1000 * statistics.median(latencies):.0f} ms, longest {1000 * max(latencies):.0f} ms; "
        f"longest time without an answer: between versions {round_all(1000, quiet)} ms, while one "
        f"is loaded {round_all(1000, loading)} ms; "
        f"MiB {round_all(1, memory[:: max(1, len(memory) // 20)])}"
    )
    return told, quiet, loading, memory


def round_all(factor, values):
    return " ".join(f"{factor * value:.0f}" for value in values)


def publish(folder, number, offset):
    write_version(folder / f"copying-{number}", offset).rename(folder / str(number))


def wait(process, seconds, memory):
    server, end = psutil.Process(process.pid), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        memory.append(server.memory_info().rss / 2**20)
        time.sleep(min(left, 1))


@pytest.mark.slow
def test_good_clients_meet_no_error_beside_hostile_ones(tmp_path):
    told, *_ = soak(tmp_path, seconds=5, pause=1)
    assert told["wrong"] == []


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "pause"), [(60, 6), (600, 30)])
def test_nobody_waits_and_memory_is_steady_beside_hostile_clients(tmp_path, seconds, pause):
    told, quiet, loading, memory = soak(tmp_path, seconds=seconds, pause=pause)
    assert told["wrong"] == []
    # Hostile clients may take the processors, with or without a new version.
    assert statistics.median(loading) < 0.2 + statistics.median(quiet)
    third = len(memory) // 3
    early, late = memory[third : 2 * third], memory[2 * third :]
    assert statistics.median(late) < 1.05 * statistics.median(early)
