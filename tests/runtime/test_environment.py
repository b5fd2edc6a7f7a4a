import platform

import pytest

from kerasseg.pipelines.runtime import environment as tensorflow_environment

NAMES = ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS", "TF_FORCE_GPU_ALLOW_GROWTH")


@pytest.mark.parametrize(
    ("machine", "given", "expected"),
    [
        ("x86_64", {}, ("3", "1", None)),
        ("AMD64", {}, ("3", "1", None)),
        ("aarch64", {}, ("3", None, None)),
        ("x86_64", {"TF_ENABLE_ONEDNN_OPTS": "0"}, ("3", "0", None)),
        ("x86_64", {"TF_CPP_MIN_LOG_LEVEL": "0"}, ("0", "1", None)),
    ],
)
def test_what_is_set_already_stays(machine, given, expected, monkeypatch):
    environment = dict(given)
    monkeypatch.setattr(tensorflow_environment.os, "environ", environment)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    tensorflow_environment.prepare()
    assert tuple(map(environment.get, NAMES)) == expected


def test_a_server_shares_its_accelerator(monkeypatch):
    monkeypatch.setattr(tensorflow_environment.os, "environ", environment := {})
    tensorflow_environment.prepare(for_server=True)
    assert environment["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
