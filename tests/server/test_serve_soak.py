"""A minute of sixteen clients."""

import re
import statistics
import threading
import time

import numpy as np
import psutil
import pytest
from served_models import decode, encode, random_pixels, serving_process

from kerasseg.pipelines import client, export
from kerasseg.pipelines.serving import connections, saved_model
from kerasseg.pipelines.serving.connections import Target

pytest.importorskip("tensorflow_serving.apis", reason="needs the extra 'serving'")
pytestmark = pytest.mark.slow
SECONDS = 60
# serving_default is asked for twice as often as the others.
SIGNATURES = ("serving_default", "overlay_png_bytes", "serving_default", "class_shares")


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
                ((_, output),) = session.ask(target, layout, files[index]).items()
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
