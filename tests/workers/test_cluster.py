"""The workers that an environment describes."""

import json
import random

import pytest
import tensorflow as tf

from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.workers import cluster, slurm

TWO = ["one:2222", "two:2222"]


def tf_config(workers=TWO, kind="worker", index=0, **jobs):
    content = {"cluster": {"worker": workers, **jobs}, "task": {"type": kind, "index": index}}
    return {"TF_CONFIG": json.dumps(content)}


def test_tf_config_names_the_workers_and_this_one():
    found = cluster.read(tf_config(index=1))
    assert found == cluster.Cluster(("one:2222", "two:2222"), 1)
    assert not found.is_chief


@pytest.mark.parametrize(
    ("kind", "index", "number"), [("chief", 0, 0), ("worker", 0, 1), ("worker", 1, 2)]
)
def test_a_chief_in_tf_config_is_the_first_worker(kind, index, number):
    found = cluster.read(tf_config(kind=kind, index=index, chief=["head:1"]))
    assert found == cluster.Cluster(("head:1", "one:2222", "two:2222"), number)


def test_tf_config_may_hold_addresses_of_ipv6_in_brackets():
    workers = ["[::1]:2222", "[fe80::1%eth0]:2222"]
    assert cluster.read(tf_config(workers)).addresses == tuple(workers)


def test_tf_config_comes_before_what_slurm_and_kubernetes_tell():
    environment = {**tf_config(), **step("node[1-3]", "1(x3)", 2), "JOB_COMPLETION_INDEX": "1"}
    assert cluster.read(environment).addresses == tuple(TWO)


WRONG = [
    ("{'cluster'", "must be JSON such as"),
    ("[]", "must be an object with cluster"),
    ("{}", "must be an object with cluster"),
    ('{"cluster": {"worker": ["a:1"]}}', "must be an object with task"),
    (tf_config(workers=[]), "worker must be a list of HOST:PORT, got []"),
    (tf_config(workers="one:2222"), "worker must be a list of HOST:PORT, got 'one:2222'"),
    (tf_config(workers=["one"]), "address must be HOST:PORT, got 'one'"),
    (tf_config(workers=["one:port"]), "address must be HOST:PORT, got 'one:port'"),
    (tf_config(workers=["one:70000"]), "address must be HOST:PORT, got 'one:70000'"),
    (tf_config(workers=[":2222"]), "address must be HOST:PORT, got ':2222'"),
    (tf_config(workers=["http://one:1"]), "address must be HOST:PORT, got 'http://one:1'"),
    (tf_config(workers=["one two:1"]), "address must be HOST:PORT, got 'one two:1'"),
    (tf_config(workers=["::1:2222"]), "address must be HOST:PORT, got '::1:2222'"),
    (tf_config(workers=[7]), "address must be HOST:PORT, got 7"),
    (tf_config(workers=["a:1", "a:1"]), "address must be that of one worker, got 'a:1'"),
    (tf_config(chief=["a:1", "b:1"]), "chief must be one HOST:PORT"),
    (tf_config(ps=["a:1"]), "cluster must be of type worker, and perhaps chief, got 'worker, ps'"),
    (tf_config(kind="chief"), "type of the task must be one of worker, which the cluster has"),
    (tf_config(kind=["worker"]), "type of the task must be one of worker"),
    (tf_config(kind=None), "type of the task must be one of worker"),
    (tf_config(index=2), "index of the task must be from 0 to 1, as the cluster has 2"),
    (tf_config(index=-1), "index of the task must be from 0 to 1"),
    (tf_config(index=None), "index of the task must be from 0 to 1"),
    (tf_config(index=True), "index of the task must be from 0 to 1"),
]


@pytest.mark.parametrize(("given", "said"), WRONG)
def test_a_wrong_tf_config_is_refused_with_what_is_wrong(given, said):
    environment = given if isinstance(given, dict) else {"TF_CONFIG": given}
    with pytest.raises(InputError) as refused:
        cluster.read(environment)
    assert said in str(refused.value)
    assert "TF_CONFIG" in str(refused.value)


def test_an_environment_that_describes_no_workers_is_refused():
    with pytest.raises(InputError, match="set TF_CONFIG, or start the workers with srun"):
        cluster.read({"PATH": "/bin"})


def step(nodes, tasks, rank, node=None, number=0):
    """The environment of a task, from "OUTPUT ENVIRONMENT VARIABLES" of srun's manual page."""
    return {
        "SLURM_JOB_ID": "1234",
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        "SLURM_PROCID": str(rank),
        "SLURM_NODEID": str(rank if node is None else node),
        "SLURM_LOCALID": str(number),
    }


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("login", ["login"]),
        ("node[01-04,07]", ["node01", "node02", "node03", "node04", "node07"]),
        ("n[8-11]", ["n8", "n9", "n10", "n11"]),
        ("a,b[1,3]-x,c.d", ["a", "b1-x", "b3-x", "c.d"]),
        ("rack[0-1]n[1-2]", ["rack0n1", "rack0n2", "rack1n1", "rack1n2"]),
    ],
)
def test_slurms_lists_of_nodes_are_expanded(text, names):
    assert slurm.expand_nodes(text) == names


@pytest.mark.parametrize(
    "text", ["node[1-", "node[]", "node[2-1]", "a,,b", "no de", "n[a-b]", "n[1-999999999]"]
)
def test_what_is_no_list_of_nodes_is_refused(text):
    with pytest.raises(InputError, match="must be a list of nodes such as"):
        slurm.expand_nodes(text)


def test_slurms_counts_of_tasks_are_expanded():
    assert slurm.expand_counts("2(x3),1") == [2, 2, 2, 1]
    with pytest.raises(InputError, match=r"must be numbers such as 2\(x3\),1, got '2x3'"):
        slurm.expand_counts("2x3")


def test_a_task_of_slurm_finds_the_others_on_their_nodes():
    found = cluster.read(step("node[09-10,12]", "1(x3)", 1))
    assert found == cluster.Cluster(("node09:2222", "node10:2222", "node12:2222"), 1)


def test_the_tasks_of_a_node_have_ports_one_after_another():
    environment = {**step("a,b", "2,1", 1, node=0, number=1), "KERASSEG_PORT": "5000"}
    assert cluster.read(environment) == cluster.Cluster(("a:5000", "a:5001", "b:5000"), 1)


@pytest.mark.parametrize("seed", range(5))
def test_the_addresses_are_those_of_tensorflows_own_resolver(seed, monkeypatch):
    # That one sorts the nodes by name: names of one length are in Slurm's order.
    draw = random.Random(seed)
    tasks = [draw.randint(1, 3) for _ in range(4)]
    rank = draw.randrange(sum(tasks))
    node = next(n for n in range(4) if rank < sum(tasks[: n + 1]))
    counts = ",".join(map(str, tasks))
    environment = step("n[08-10],p1", counts, rank, node, rank - sum(tasks[:node]))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", str(sum(tasks)))
    theirs = tf.distribute.cluster_resolver.SlurmClusterResolver(
        port_base=2222, gpus_per_node=3, gpus_per_task=1, auto_set_gpu=False
    )
    found = cluster.read(environment)
    assert list(found.addresses) == theirs.cluster_spec().as_dict()["worker"]
    assert ("worker", found.index) == theirs.get_task_info()


def test_tasks_that_are_dealt_out_by_turns_are_refused():
    # srun --distribution=cyclic: rank 1 is the first task of the second node.
    with pytest.raises(InputError, match="must be by blocks, as with srun --distribution=block"):
        cluster.read(step("a,b", "2,2", 1, node=1, number=0))


@pytest.mark.parametrize(
    "missing", ["STEP_NODELIST", "STEP_TASKS_PER_NODE", "PROCID", "NODEID", "LOCALID"]
)
def test_a_job_of_slurm_without_srun_is_told_to_use_it(missing):
    environment = step("a,b", "1(x2)", 0)
    del environment[f"SLURM_{missing}"]
    with pytest.raises(InputError, match=f"SLURM_{missing} must be set: start .* with srun"):
        cluster.read(environment)


def pod(name="camvid", index=0, **more):
    """The environment of a pod of an Indexed Job, and what the manifest adds to it."""
    return {
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "HOSTNAME": f"{name}-{index}",
        "JOB_COMPLETION_INDEX": str(index),
        "KERASSEG_WORKERS": "2",
        "KERASSEG_SERVICE": "workers",
        **more,
    }


@pytest.mark.parametrize(
    ("environment", "addresses"),
    [
        (pod(index=1), ("camvid-0.workers:2222", "camvid-1.workers:2222")),
        # A JobSet names its pods JOBSET-JOB-NUMBER-INDEX.
        (pod("camvid-w-0", 1), ("camvid-w-0-0.workers:2222", "camvid-w-0-1.workers:2222")),
        (
            pod(index=1, KERASSEG_PORT="80", KERASSEG_SERVICE="workers.team.svc"),
            ("camvid-0.workers.team.svc:80", "camvid-1.workers.team.svc:80"),
        ),
        (
            pod(index=1, HOSTNAME="camvid-1.workers.team.svc.cluster.local"),
            ("camvid-0.workers:2222", "camvid-1.workers:2222"),
        ),
    ],
)
def test_a_pod_finds_the_others_by_the_name_of_their_service(environment, addresses):
    assert cluster.read(environment) == cluster.Cluster(addresses, 1)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("KERASSEG_WORKERS", "give the pods the number of completions of the Job"),
        ("KERASSEG_SERVICE", "give the pods the name of their headless service"),
        ("JOB_COMPLETION_INDEX", "completionMode: Indexed"),
        ("HOSTNAME", "the name of the pod"),
    ],
)
def test_what_a_pod_is_not_told_is_asked_for(name, said):
    environment = pod()
    del environment[name]
    with pytest.raises(InputError, match=f"{name} must be set: .*{said}"):
        cluster.read(environment)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (pod(index=2), "JOB_COMPLETION_INDEX must be a whole number from 0 to 1, got '2'"),
        (pod(HOSTNAME="camvid"), "HOSTNAME must be JOB-0 with JOB_COMPLETION_INDEX=0"),
        (pod(KERASSEG_WORKERS="0"), "KERASSEG_WORKERS must be a whole number at least 1"),
        (pod(KERASSEG_WORKERS="two"), "KERASSEG_WORKERS must be a whole number"),
        (pod(KERASSEG_SERVICE="a b"), "KERASSEG_SERVICE must be the name of a service"),
        (pod(KERASSEG_PORT="70000"), "KERASSEG_PORT must be a whole number from 1 to"),
    ],
)
def test_variables_of_a_pod_that_contradict_each_other_are_refused(environment, said):
    with pytest.raises(InputError) as refused:
        cluster.read(environment)
    assert said in str(refused.value)


def test_the_wait_is_half_an_hour_unless_set():
    assert cluster.seconds_to_wait({}) == 1800
    assert cluster.seconds_to_wait({"KERASSEG_WAIT": "60"}) == 60
    with pytest.raises(InputError, match="KERASSEG_WAIT must be a whole number"):
        cluster.seconds_to_wait({"KERASSEG_WAIT": "1h"})
