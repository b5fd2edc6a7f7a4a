import contextlib
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kerasseg.pipelines import convert
from kerasseg.pipelines.conversion import beam, shards
from kerasseg.pipelines.errors import InputError


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run_command(source, output, *more):
    """Runs a conversion as users do, in a process of its own: Beam leaves threads behind."""
    command = [sys.executable, "-m", "kerasseg", "convert", "--dataset", "camvid"]
    command += ["--source", str(source), "--output", str(output), "--allow-partial", *more]
    environment = {**os.environ, "COLUMNS": "120"}
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def tree(make_camvid_tree, tmp_path_factory):
    """A tree of 3 shards of train and 1 of validation. Do not change it."""
    return make_camvid_tree(tmp_path_factory.mktemp("beam"), train=20, val=3)


def test_beam_writes_the_same_bytes_as_the_threads_of_one_machine(tree, tmp_path):
    pytest.importorskip("apache_beam")
    options = ("--runner", "beam", "--", "--runner=DirectRunner", "--direct_num_workers=2")
    finished = run_command(tree, tmp_path / "beam", *options)
    assert finished.returncode == 0, finished.stderr
    convert.run("camvid", tree, tmp_path / "local", allow_partial=True)
    local = contents(tmp_path / "local/camvid/1.0.0")
    assert len(local) == 9
    assert contents(tmp_path / "beam/camvid/1.0.0") == local


@pytest.fixture
def cluster(tmp_path, free_port):
    """A job server and a pool of workers, as Flink's and Spark's runners have them."""
    pytest.importorskip("apache_beam")
    ports = [str(free_port()), str(free_port())]
    portability = "apache_beam.runners.portability.local_job_service_main"
    commands = [
        ["-m", portability, "--port", ports[0]],
        ["-m", "apache_beam.runners.worker.worker_pool_main", "--service_port", ports[1]],
    ]
    # The pool starts its workers by the name `python`.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "TMPDIR": str(tmp_path)}
    with contextlib.ExitStack() as stack:
        for number, command in enumerate(commands):
            log = stack.enter_context((tmp_path / f"log{number}").open("w"))
            process = subprocess.Popen(
                [sys.executable, *command], stdout=log, stderr=log, env=environment
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        for port in ports:
            wait_for(int(port))
        yield ports


def wait_for(port):
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("localhost", port), 1):
            return
        time.sleep(0.1)
    pytest.fail(f"no one listens on port {port}")


def test_workers_of_a_cluster_write_the_same_bytes(tree, tmp_path, cluster):
    job_port, pool_port = cluster
    options = ["--runner=PortableRunner", f"--job_endpoint=localhost:{job_port}"]
    options += ["--environment_type=EXTERNAL", f"--environment_config=localhost:{pool_port}"]
    finished = run_command(tree, tmp_path / "beam", "--runner", "beam", "--", *options)
    assert finished.returncode == 0, finished.stderr
    assert "Starting worker" in (tmp_path / "log1").read_text()
    convert.run("camvid", tree, tmp_path / "local", allow_partial=True)
    found = contents(tmp_path / "beam/camvid/1.0.0")
    assert found == contents(tmp_path / "local/camvid/1.0.0")


def test_beam_lists_bad_pairs_and_publishes_nothing(make_camvid_tree, tmp_path):
    pytest.importorskip("apache_beam")
    tree = make_camvid_tree(tmp_path / "tree", train=9, val=2)
    (tree / "trainannot/0001TP_000003.png").unlink()
    finished = run_command(tree, tmp_path / "data", "--runner", "beam")
    assert finished.returncode == 1
    assert "train/0001TP_000003.png" in finished.stdout
    assert "label is missing" in finished.stdout
    assert "1 of the pairs cannot be converted" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "data/camvid/1.0.0").exists()


def test_a_runner_that_beam_does_not_have_is_refused(tree, tmp_path):
    pytest.importorskip("apache_beam")
    finished = run_command(tree, tmp_path, "--runner", "beam", "--", "--runner=NoSuchRunner")
    assert finished.returncode == 1
    assert "NoSuchRunner" in finished.stderr
    assert "Traceback" not in finished.stderr


def plan(tree, tmp_path):
    module = convert.datasets.module("camvid")
    examples = tuple(module.examples(tree, "train"))
    spec = shards.ShardSpec("camvid", module.describe(tree), examples, tmp_path / "shard")
    return [spec, replace(spec, examples=examples[:4], path=tmp_path / "other")]


def test_shards_that_do_not_come_back_are_an_error_that_names_them(tree, tmp_path):
    specs = plan(tree, tmp_path)
    shards.convert_or_keep(specs[0])
    with pytest.raises(InputError, match=r"all 2 shards must come back .* but 1 did not: other"):
        beam.collect(specs)
    shards.convert_or_keep(specs[1])
    assert [result.examples for result in beam.collect(specs).values()] == [20, 4]


def test_a_shard_that_came_back_short_is_an_error(tree, tmp_path):
    specs = plan(tree, tmp_path)
    for spec in specs:
        shards.convert_or_keep(spec)
    specs[0].path.write_bytes(specs[0].path.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"shard: must hold 20 examples, got 20 in \d+ bytes"):
        beam.collect(specs)


def test_a_result_of_other_files_does_not_count(make_camvid_tree, tmp_path):
    specs = plan(make_camvid_tree(tmp_path / "tree", train=5, val=1), tmp_path)
    for spec in specs:
        shards.convert_or_keep(spec)
    os.utime(specs[0].examples[0].image, (0, 0))
    with pytest.raises(InputError, match="2 did not: shard, other"):
        beam.collect(specs)


def test_without_beam_the_error_names_the_extra(tree, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(InputError, match=r"pip install 'kerasseg\[beam\]'"):
        beam.convert_shards(plan(tree, tmp_path), [])


def test_options_of_beam_without_beam_are_refused(tree, tmp_path, run_cli):
    command = ("convert", "--dataset", "camvid", "--source", tree, "--output", tmp_path)
    result = run_cli(*command, "--", "--runner=FlinkRunner")
    assert result.exit_code == 1
    assert "must come with runner beam, got --runner=FlinkRunner" in result.stderr
