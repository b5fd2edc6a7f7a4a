import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path

import new_processes
import numpy as np
import pytest
import tensorflow as tf
from run_ends import history_of

from kerasseg.pipelines import fit, inputs, records
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.inputs import service


def serve(*arguments):
    """Starts the command; returns its process and its dispatcher's address."""
    folder = Path(tempfile.mkdtemp())
    command = ["-m", "kerasseg", "data-service", "--port", "0", *arguments]
    process, written = new_processes.start(*command, output=folder), folder / "stdout"
    while not (written.exists() and "\n" in written.read_text()):
        assert process.is_alive(), (folder / "stderr").read_text()
        time.sleep(0.05)
    return process, re.search(r"localhost:\d+", written.read_text())[0]


def interrupt(process):
    """Sends what Ctrl-C does; returns exit code and output."""
    os.kill(process.pid, signal.SIGINT)
    process.join(30)
    process.kill()
    output = (process.output / "stdout").read_text()
    shutil.rmtree(process.output)
    return process.exitcode, output


@pytest.fixture(scope="module")
def one_worker():
    process, address = serve()
    yield address
    interrupt(process)


@pytest.fixture(scope="module")
def three_workers():
    first, address = serve()
    processes = [first, *(serve("--dispatcher", address)[0] for _ in range(2))]
    yield address
    for process in processes:
        interrupt(process)


def epochs(data, first, last, **options):
    dataset = records.load(data)
    options = {"batch_size": 4, "crop_size": (24, 32), "seed": 3, **options}
    made = inputs.training_batches(
        dataset.files("train"), examples=12, first_epoch=first, epochs=last, **options
    )
    found = [(images.numpy(), labels.numpy()) for images, labels in made]
    assert len(found) == 3 * (last - first)
    return [found[begin : begin + 3] for begin in range(0, len(found), 3)]


def assert_same(ours, others):
    for (image, label), (other_image, other_label) in zip(ours, others, strict=True):
        np.testing.assert_array_equal(image, other_image)
        np.testing.assert_array_equal(label, other_label)


@pytest.mark.parametrize("policy", ["standard", pytest.param("rand", marks=pytest.mark.slow)])
def test_one_worker_gives_the_same_stream(tiny_data, one_worker, policy):
    here = epochs(tiny_data, 0, 3, policy=policy)
    served = epochs(tiny_data, 0, 3, policy=policy, service=one_worker)
    for ours, theirs in zip(here, served, strict=True):
        assert_same(ours, theirs)


def test_a_stream_begun_at_a_later_epoch_continues_as_the_whole_one(tiny_data, one_worker):
    whole = epochs(tiny_data, 0, 3)
    assert_same(whole[2], epochs(tiny_data, 2, 3, service=one_worker)[0])


def test_a_stream_begun_within_an_epoch_continues_as_the_whole_one(tiny_data, one_worker):
    made = inputs.training_batches(
        records.load(tiny_data).files("train"),
        examples=12,
        batch_size=4,
        crop_size=(24, 32),
        seed=3,
        first_epoch=1,
        first_batch=2,
        epochs=3,
        service=one_worker,
    )
    whole = epochs(tiny_data, 1, 3)
    assert_same([whole[0][2], *whole[1]], [(x.numpy(), y.numpy()) for x, y in made])


@pytest.mark.slow
def test_several_workers_give_the_same_batches_of_every_epoch_in_any_order(
    tiny_data, three_workers
):
    here = epochs(tiny_data, 0, 3)
    served = epochs(tiny_data, 0, 3, service=three_workers)
    for ours, theirs in zip(here, served, strict=True):
        assert_same(
            *(sorted(some, key=lambda batch: batch[0].tobytes()) for some in (ours, theirs))
        )


@pytest.mark.slow
def test_a_training_is_the_same_with_and_without_a_service(
    tiny_data, tiny_training, tiny_run, tmp_path, one_worker
):
    there = fit.run(tiny_training, tiny_data, tmp_path / "there", service=one_worker)
    assert history_of(there.folder) == history_of(tiny_run)


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_cache_and_a_service_exclude_each_other(
    cache, tiny_data, tiny_training, tmp_path, one_worker
):
    options = dataclasses.replace(tiny_training, cache=cache)
    with pytest.raises(InputError, match="cache must be auto or none with a data service"):
        fit.run(options, tiny_data, tmp_path / "run", service=one_worker)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("address", ["here", "localhost:", "localhost:x", ":5", "localhost:70000"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InputError, match=f"data_service must be HOST:PORT, got '{address}'"):
        service.check_dispatcher(address)


def test_an_address_where_nothing_or_something_else_answers_is_refused(monkeypatch):
    monkeypatch.setattr(service, "_TIMEOUT", 1.0)
    with socket.create_server(("localhost", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
        with pytest.raises(InputError, match=rf"got {address}, where something else answers"):
            service.check_dispatcher(address)
    with pytest.raises(InputError, match=rf"got {address}, where nothing answers"):
        service.check_dispatcher(address)
    with pytest.raises(InputError, match="where nothing answers"):
        service.start(dispatcher=address)


def test_a_dispatcher_without_workers_is_refused():
    server = tf.data.experimental.service.DispatchServer()
    address = server.target.partition("://")[2]
    with pytest.raises(InputError, match=f"must have a worker, got none at {address}"):
        service.check_dispatcher(address)


def test_a_port_that_is_taken_is_refused():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(InputError, match=f"port must be free, got {port}"):
            service.start(port=port)


def test_the_command_serves_a_training_until_it_is_interrupted(run_cli, tiny_data, tmp_path):
    first, address = serve()
    second, joined = serve("--dispatcher", address)
    try:
        assert joined == address
        arguments = ["--model", "unet", "--model-option", "variant=milesial", "--epochs", "1"]
        arguments += ["--model-option", "filters=2", "--model-option", "depth=1"]
        arguments += ["--batch-size", "4", "--crop-size", "32,32", "--data", tiny_data]
        run = tmp_path / "run"
        result = run_cli("fit", *arguments, "--run", run, "--data-service", address)
        assert result.exit_code == 0, result.output
        # The address is no property of the training: it may be another when that goes on.
        assert address not in json.dumps(json.loads((run / "run.json").read_text()))
        result = run_cli("fit", "--run", run, "--resume", "--data-service", address)
        assert result.exit_code == 0, result.output
    finally:
        ends = [interrupt(process) for process in (second, first)]
    assert ends[0][0] == ends[1][0] == 0
    assert "stopped" in ends[1][1]
