import re
import shlex
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

FOLDER = Path(__file__).parents[1] / "saved_models"
yaml = pytest.importorskip("yaml", reason="needs PyYAML")
PORTS = {"grpc": 8500, "rest": 8501}


def models():
    config = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    text = (FOLDER / "models.config").read_text()
    parsed = text_format.Parse(text, config.ModelServerConfig())
    return {one.name: one for one in parsed.model_config_list.config}


def manifests():
    documents = list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))
    return {document["kind"]: document for document in documents}


def service():
    (found,) = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"].values()
    return found


def container():
    (found,) = manifests()["Deployment"]["spec"]["template"]["spec"]["containers"]
    return found


def test_the_models_lie_where_the_volumes_put_them():
    (name,) = models()
    assert models()[name].base_path == f"/models/{name}"
    assert models()[name].model_platform == "tensorflow"
    assert models()[name].model_version_policy.latest.num_versions == 1
    assert service()["volumes"] == [".:/models:ro"]
    (mount,) = container()["volumeMounts"]
    assert mount["mountPath"] == "/models"


def test_a_saved_model_exported_here_is_found(tmp_path):
    """Export's layout, below the mounted folder, is what base_path names."""
    for name, config in models().items():
        assert Path(config.base_path).relative_to("/models") == Path(name)


def test_the_batching_parameters_have_the_names_and_types_of_tensorflow_servings():
    # servables/tensorflow/session_bundle_config.proto, which tensorflow-serving-api leaves out.
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", package="t", syntax="proto3")
    wrapper, message = file.message_type.add(name="Int64"), file.message_type.add(name="Batching")
    field = descriptor_pb2.FieldDescriptorProto
    optional = field.LABEL_OPTIONAL
    wrapper.field.add(name="value", number=1, type=field.TYPE_INT64, label=optional)
    names = ["max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"]
    for number, name in enumerate(names, 1):
        kind = {"type": field.TYPE_MESSAGE, "type_name": ".t.Int64"}
        message.field.add(name=name, number=number, label=optional, **kind)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Batching"))()
    text_format.Parse((FOLDER / "batching_parameters.txt").read_text(), made)
    for name in names:
        assert getattr(made, name).value > 0


def test_names_ports_and_images_agree():
    (name,) = models()
    status = f"/v1/models/{name}"
    assert service()["ports"] == [f"127.0.0.1:{port}:{port}" for port in PORTS.values()]
    assert f"GET {status} HTTP/1.0" in service()["healthcheck"]["test"][-1]
    assert f"/{PORTS['rest']} " in service()["healthcheck"]["test"][-1]
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports == PORTS
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container()[probe]["httpGet"] == {"path": status, "port": "rest"}
    exposed = {port["name"]: port["port"] for port in manifests()["Service"]["spec"]["ports"]}
    assert exposed == PORTS
    (tag,) = re.findall(r"\$\{SERVING_TAG:-([\d.]+)\}", service()["image"])
    assert container()["image"] == f"tensorflow/serving:{tag}"
    assert f"tensorflow/serving:{tag} " in (FOLDER / "README.md").read_text()
    assert container()["args"] == service()["command"]


def test_the_deployment_finds_its_pods_and_its_volume():
    deployment, claim = manifests()["Deployment"], manifests()["PersistentVolumeClaim"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert manifests()["Service"]["spec"]["selector"] == labels
    pod = deployment["spec"]["template"]["spec"]
    (volume,) = pod["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert container()["volumeMounts"][0]["name"] == volume["name"]
    assert {"requests", "limits"} <= container()["resources"].keys()
    # Longer than a request may take.
    (timeout,) = re.findall(r"--rest_api_timeout_in_ms=(\d+)", " ".join(container()["args"]))
    assert pod["terminationGracePeriodSeconds"] >= int(timeout) / 1000


def test_the_readme_names_files_commands_and_options_that_exist():
    from kerasseg.pipelines import cli

    text = (FOLDER / "README.md").read_text()
    for file in ("models.config", "batching_parameters.txt", "compose.yaml", "kubernetes.yaml"):
        assert f"`{file}`" in text or f"/models/{file}" in text
        assert (FOLDER / file).is_file()
    lines = [line.strip() for line in text.splitlines() if line.startswith("    kerasseg ")]
    assert len(lines) >= 3
    for line in lines:
        _, command, *arguments = shlex.split(line)
        options = {option for p in cli.main.commands[command].params for option in p.opts}
        assert {each for each in arguments if each.startswith("--")} <= options
