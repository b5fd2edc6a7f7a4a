"""`kerasseg doctor`, on installations that lack something."""

from importlib import metadata

import pytest

from kerasseg.pipelines import doctor


@pytest.fixture
def installed(monkeypatch):
    """Changes the version of installed packages; None for a package that is not there."""
    changed: dict[str, str | None] = {}
    real = metadata.version

    def version(name):
        found = changed.get(name, "real")
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return real(name) if found == "real" else found

    monkeypatch.setattr(metadata, "version", version)
    return changed


def line(what):
    (found,) = [finding for finding in doctor.run() if finding.what == what]
    return found


def test_every_extra_for_users_has_its_line():
    declared = set(metadata.metadata("kerasseg").get_all("Provides-Extra", []))
    shown = {f.what.removeprefix("extra ") for f in doctor.run() if f.what.startswith("extra ")}
    assert shown == declared - {"dev", "bench", "docs"}
    assert {"cuda", "hub", "weights", "serving", "litert", "onnx", "openvino", "beam"} <= shown


def test_an_extra_that_lacks_one_of_its_packages_is_not_there(installed):
    installed["uvicorn"] = None
    found = line("extra serving")
    assert found.found == "uvicorn is not installed"
    assert found.remedy == "pip install 'kerasseg[serving]'"
    assert not found.fatal


def test_an_extra_of_a_package_is_looked_into():
    assert "nvidia-" in line("extra cuda").found


def test_a_required_package_of_another_version_is_named(installed):
    installed["keras"] = "3.99.0"
    found = line("required packages")
    assert found.found.startswith("keras must be ")
    assert found.found.endswith(", got 3.99.0")
    assert found.remedy == "pip install --upgrade kerasseg"
