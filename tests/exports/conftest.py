import numpy as np
import pytest

from kerasseg.pipelines import export


@pytest.fixture(scope="session")
def files(tiny_run, tmp_path_factory):
    """The folder of a LiteRT export of the default size, and of an ONNX export of any."""
    output = tmp_path_factory.mktemp("files")
    return {
        form: export.run(tiny_run, output=output, format=form, probabilities=form == "onnx")
        for form in ("litert", "onnx")
    }


@pytest.fixture(scope="session")
def openvino_export(tiny_run, tmp_path_factory):
    """The folder of an OpenVINO export for images of any size."""
    return export.run(tiny_run, output=tmp_path_factory.mktemp("files"), format="openvino")


@pytest.fixture(scope="session")
def sized(tiny_run, tmp_path_factory):
    """The folder of a SavedModel that computes at 40 x 24."""
    return export.run(tiny_run, output=tmp_path_factory.mktemp("sized"), size=(40, 24))


@pytest.fixture(scope="session")
def count_by_hand():
    """Counts a confusion matrix: `count_by_hand(pairs of label and prediction, classes)`."""

    def count(pairs, classes=3):
        matrix = np.zeros((classes, classes), np.int64)
        for label, prediction in pairs:
            np.add.at(matrix, (label[label != 255], prediction[label != 255]), 1)
        return matrix

    return count
