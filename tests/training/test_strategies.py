"""The ways to distribute a training within one process."""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import socket
import threading
import zlib

import numpy as np
import pytest
import tensorflow as tf
from run_ends import assert_same_end

from kerasseg.pipelines import fit, forecast, records
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs import run_folder
from kerasseg.pipelines.runtime.devices import local_strategy
from kerasseg.pipelines.training import assembly
from kerasseg.pipelines.workers import rendezvous, team
from kerasseg.pipelines.workers.cluster import Cluster


@pytest.mark.parametrize(("kind", "replicas"), [("auto", 1), ("one", 1), ("mirrored", 2)])
def test_a_strategy_takes_its_share_of_two_cpus(kind, replicas):
    strategy = local_strategy(kind)
    assert strategy.num_replicas_in_sync == replicas
    assert isinstance(strategy, tf.distribute.MirroredStrategy) == (kind != "one")


@pytest.mark.slow
def test_one_device_without_mirroring_trains_as_one_that_is_mirrored(
    tiny_data, tiny_training, tiny_run, tmp_path
):
    run, notices = tmp_path / "run", []
    options = dataclasses.replace(tiny_training, strategy="one")
    fit.run(options, tiny_data, run, on_notice=notices.append)
    assert notices[0] == "strategy one: 1 worker, 1 replica, 4 images per step"
    assert_same_end(run, tiny_run)


@pytest.mark.slow
def test_a_run_goes_on_with_another_strategy_and_keeps_its_own(tiny_run, tmp_path):
    run, notices = tmp_path / "run", []
    shutil.copytree(tiny_run, run)
    fit.resume(run, strategy="mirrored", epochs=3, on_notice=notices.append)
    assert "strategy mirrored: 1 worker, 2 replicas, 4 images per step" in notices
    assert len(run_folder.history(run)) == 3
    assert run_folder.load(run).options.strategy == "auto"


def test_several_workers_cannot_have_devices_a_data_service_or_a_plan(
    tiny_data, tiny_training, tmp_path, monkeypatch
):
    options = dataclasses.replace(tiny_training, strategy="multi-worker")
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker"}}')
    with pytest.raises(InputError, match="devices must be left out with strategy multi-worker"):
        fit.run(options, tiny_data, tmp_path / "run", devices=["CPU:0"])
    with pytest.raises(InputError, match="data_service must be left out with strategy multi"):
        fit.run(options, tiny_data, tmp_path / "run", service="localhost:5000")
    with pytest.raises(InputError, match="index of the task must be from 0 to 0"):
        fit.run(options, tiny_data, tmp_path / "run")
    with pytest.raises(InputError, match="strategy must be auto, one or mirrored"):
        forecast.run(options, tiny_data)
    assert not (tmp_path / "run").exists()


def test_a_single_worker_takes_all_devices_of_its_own():
    one = team.assemble(
        *("multi-worker", None, Cluster(("localhost:1",), 0), {}),
        limit=1.0,
        on_notice=lambda text: None,
    )
    assert one.describe("multi-worker", 4) == (
        "strategy multi-worker: 1 worker, 2 replicas, 4 images per step"
    )
    assert one.gather([1.0, 2.0]) == [1.0, 2.0]


def tiny_fit(run_cli, data, run):
    options = ["--model", "unet", "--crop-size", "32,32", "--batch-size", "4"]
    return run_cli("fit", *options, "--strategy", "multi-worker", "--data", data, "--run", run)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "strategy multi-worker must have a description of the workers in the environment"),
        ({"SLURM_JOB_ID": "7"}, "SLURM_STEP_NODELIST must be set: start the workers with srun"),
        ({"TF_CONFIG": "{}"}, "TF_CONFIG must be an object with cluster"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "KERASSEG_WORKERS must be set"),
    ],
)
def test_workers_that_nothing_describes_are_an_error_of_one_line(
    run_cli, tiny_data, tmp_path, monkeypatch, environment, said
):
    for name in list(os.environ):  # the tests may run in a pod or a job themselves
        if name.startswith(("SLURM_", "KUBERNETES_", "TF_CONFIG", "JOB_", "KERASSEG_")):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = tiny_fit(run_cli, tiny_data, tmp_path / "run")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: {said}")
    assert not (tmp_path / "run").exists()


def test_a_worker_whose_others_never_come_says_so_and_ends(
    run_cli, tiny_data, tmp_path, monkeypatch, free_port
):
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    content = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(content))
    monkeypatch.setenv("KERASSEG_WAIT", "1")
    done = tiny_fit(run_cli, tiny_data, tmp_path / "run")
    assert done.exit_code == 1
    assert f"waiting for worker 1 at {addresses[1]}" in done.stdout
    assert "workers must all begin within 1 seconds, got nothing from worker 1" in done.stderr
    assert not (tmp_path / "run").exists()


def test_workers_with_different_code_of_your_own_are_refused(
    tiny_data, tiny_training, tmp_path, monkeypatch, free_port
):
    own = tmp_path / "own.py"
    own.write_text("def net(): ...")
    options = dataclasses.replace(tiny_training, strategy="multi-worker", model=f"{own}:net")
    addresses = tuple(f"127.0.0.1:{free_port()}" for _ in range(2))
    content = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(content))
    facts = {**assembly.facts(options, records.load(tiny_data), "new"), f"hash of {own}": "other"}
    gpus = len(tf.config.list_physical_devices("GPU"))

    def other_worker():
        with contextlib.suppress(InputError):
            rendezvous.meet(
                *(Cluster(addresses, 1), {**facts, "number of GPUs": gpus}),
                limit=30.0,
                on_notice=lambda text: None,
            )

    thread = threading.Thread(target=other_worker)
    thread.start()
    own_hash = hashlib.sha256(b"def net(): ...").hexdigest()
    said = rf'hash of .*own.py must be the same at all workers, got "{own_hash}" at worker 0'
    with pytest.raises(InputError, match=said):
        fit.run(options, tiny_data, tmp_path / "run")
    thread.join(30)
    assert not (tmp_path / "run").exists()


def test_a_worker_that_still_listens_while_it_ends_is_named(free_port):
    addresses = tuple(f"127.0.0.1:{free_port()}" for _ in range(2))
    ending = socket.create_server(("127.0.0.1", int(addresses[1].rpartition(":")[2])))
    threading.Timer(0.5, ending.close).start()
    here = team.Team(tf.distribute.get_strategy(), Cluster(addresses, 0))
    said = rf"got the loss of worker 1 at {addresses[1]}"
    with pytest.raises(InputError, match=said), here.noticing_losses():
        raise tf.errors.UnavailableError(None, None, "Socket closed")


@pytest.mark.parametrize("others", [[0.5, 1.0], [0.5, 2.0]])
def test_weights_that_differ_between_workers_are_refused(others, monkeypatch):
    here = team.Team(tf.distribute.get_strategy(), Cluster(("one:1", "two:1"), 0))
    there = float(zlib.crc32(np.array(others, np.float32).tobytes()))
    monkeypatch.setattr(here.__class__, "gather", lambda _, own: [*own, there])
    weights = [np.array([each], np.float32) for each in (0.5, 1.0)]
    if others == [0.5, 1.0]:
        here.check_equal("initial weights", weights)
        return
    with pytest.raises(InputError, match="initial weights must be the same at all workers"):
        here.check_equal("initial weights", weights)
