"""The examples of jobs on clusters: their form, and that they agree with the commands."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from kerasseg.pipelines import cli, recipes
from kerasseg.pipelines.runs.training_options import TrainingOptions
from kerasseg.pipelines.workers import cluster

EXAMPLES = Path(__file__).parents[1] / "docs/examples"
SLURM, JOBSET = EXAMPLES / "slurm.sh", EXAMPLES / "jobset.yaml"

# Of https://slurm.schedmd.com/sbatch.html: options with a value, True, and without one.
SBATCH = {
    **dict.fromkeys(["job-name", "nodes", "ntasks-per-node", "gpus-per-node"], True),
    **dict.fromkeys(["cpus-per-task", "time", "output", "open-mode", "signal"], True),
    "requeue": False,
}
FORMS = {
    "nodes": r"\d+",
    "ntasks-per-node": r"\d+",
    "gpus-per-node": r"\d+",
    "cpus-per-task": r"\d+",
    "time": r"\d\d:\d\d:\d\d",
    "open-mode": r"append|truncate",
    "signal": r"(B:)?[A-Z]+@\d+",
}
# Of https://slurm.schedmd.com/srun.html.
SRUN = {"--distribution=block", "--kill-on-bad-exit=1"}


def directives():
    found = re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", SLURM.read_text(), re.MULTILINE)
    assert len(found) == SLURM.read_text().count("#SBATCH")
    return dict(found)


def test_the_slurm_script_is_one_of_bash():
    subprocess.run(["bash", "-n", SLURM], check=True)
    assert SLURM.read_text().startswith("#!/bin/bash\n")


def test_the_options_of_the_slurm_script_are_those_of_sbatch():
    for name, value in directives().items():
        assert SBATCH[name] == bool(value), name
        assert re.fullmatch(FORMS.get(name, ".+" if value else ""), value), name
    # sbatch reads none of them after the first command.
    before, _, after = SLURM.read_text().partition("\n\n")
    assert "#SBATCH" not in after
    assert all(line.startswith("#") for line in before.splitlines())
    # SIGTERM reaches the steps, that is the workers, and not the shell ("B:").
    assert directives()["signal"].startswith("TERM@")
    assert directives()["ntasks-per-node"] == "1"


def test_the_slurm_script_starts_its_workers_with_srun_by_blocks():
    (line,) = re.findall(r"^srun (.*)$", SLURM.read_text(), re.MULTILINE)
    assert {word for word in shlex.split(line) if word.startswith("--")} == SRUN


def commands(text):
    """Finds the `kerasseg fit` commands in a shell script."""
    joined = re.sub(r"\\\n\s*|\n\s+(?=--)", " ", text)
    return [shlex.split(found) for found in re.findall(r"kerasseg fit [^\n)]*", joined)]


@pytest.mark.parametrize("file", [SLURM, JOBSET], ids=lambda file: file.name)
def test_the_commands_of_the_examples_have_options_that_exist(file):
    known = {name for param in cli.main.commands["fit"].params for name in param.opts}
    first, second = sorted(commands(file.read_text()), key=len, reverse=True)
    for words in (first, second):
        assert {word for word in words if word.startswith("--")} <= known
    assert "--resume" in second
    assert first[first.index("--strategy") + 1] == "multi-worker"
    assert first[first.index("--recipe") + 1] in recipes.names()


def jobset():
    (found,) = yaml.safe_load_all(JOBSET.read_text())
    return found


def pod():
    (replicated,) = jobset()["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]["template"]["spec"]


def test_the_jobset_has_the_fields_that_jobset_and_jobs_require():
    found = jobset()
    assert (found["apiVersion"], found["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert found["spec"].keys() <= {"network", "failurePolicy", "replicatedJobs"}
    (replicated,) = found["spec"]["replicatedJobs"]
    assert replicated.keys() == {"name", "replicas", "template"}
    job = replicated["template"]["spec"]
    assert job["completionMode"] == "Indexed"
    # All workers run at the same time, and none is replaced alone.
    assert job["completions"] == job["parallelism"] > 1
    assert job["backoffLimit"] == 0
    assert pod()["restartPolicy"] == "Never"
    assert found["spec"]["failurePolicy"]["maxRestarts"] > 0
    for name in (found["metadata"]["name"], replicated["name"]):
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)


def test_the_pods_of_the_jobset_find_each_other():
    network, name = jobset()["spec"]["network"], jobset()["metadata"]["name"]
    (replicated,) = jobset()["spec"]["replicatedJobs"]
    (container,) = pod()["containers"]
    assert network["enableDNSHostnames"]
    assert network["publishNotReadyAddresses"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert environment["KERASSEG_SERVICE"] == network["subdomain"]
    completions = replicated["template"]["spec"]["completions"]
    assert environment["KERASSEG_WORKERS"] == str(completions)
    # JobSet names its pods JOBSET-JOB-NUMBER-INDEX; a Job tells each its index.
    told = {"HOSTNAME": f"{name}-{replicated['name']}-0-1", "JOB_COMPLETION_INDEX": "1"}
    found = cluster.read({**environment, **told})
    port = container["ports"][0]["containerPort"]
    first = f"{name}-{replicated['name']}-0-0.{network['subdomain']}:{port}"
    assert found.addresses[0] == first
    assert len(found.addresses) == completions


def test_the_volume_of_the_jobset_is_where_the_command_looks():
    (container,), (volume,) = pod()["containers"], pod()["volumes"]
    (mount,) = container["volumeMounts"]
    assert mount["name"] == volume["name"]
    assert f"--data {mount['mountPath']}/" in container["command"][-1]
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert environment["RUN"].startswith(mount["mountPath"])
    subprocess.run(["bash", "-n", "-c", container["command"][-1]], check=True)


@pytest.mark.parametrize("file", [SLURM, JOBSET], ids=lambda file: file.name)
def test_the_batch_of_the_examples_can_be_shared_out(file):
    text = file.read_text()
    (batch,) = re.findall(r"--batch-size (\d+)", text)
    (gpus,) = re.findall(r"--gpus-per-node=(\d+)|nvidia.com/gpu: \"(\d+)\"", text)
    assert int(batch) % (2 * int("".join(gpus))) == 0
    assert TrainingOptions().strategy == "auto"
