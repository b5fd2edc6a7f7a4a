"""The ways to distribute a training within one process."""

import dataclasses
import shutil

import pytest
import tensorflow as tf
from run_ends import assert_same_end

from kerasseg.pipelines import fit, forecast
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.runs import run_folder
from kerasseg.pipelines.runtime.devices import local_strategy
from kerasseg.pipelines.workers import team
from kerasseg.pipelines.workers.cluster import Cluster


@pytest.mark.parametrize(("kind", "replicas"), [("auto", 1), ("one", 1), ("mirrored", 2)])
def test_a_strategy_takes_its_share_of_two_cpus(kind, replicas):
    strategy = local_strategy(kind)
    assert strategy.num_replicas_in_sync == replicas
    assert isinstance(strategy, tf.distribute.MirroredStrategy) == (kind != "one")


def test_one_device_without_mirroring_trains_as_one_that_is_mirrored(
    tiny_data, tiny_training, tiny_run, tmp_path
):
    run, notices = tmp_path / "run", []
    options = dataclasses.replace(tiny_training, strategy="one")
    fit.run(options, tiny_data, run, on_notice=notices.append)
    assert notices[0] == "strategy one: 1 worker, 1 replica, 4 images per step"
    assert_same_end(run, tiny_run)


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
