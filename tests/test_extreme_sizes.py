"""Images of one pixel, of a row, and much taller than wide, through all that follows training."""

import io

import keras
import numpy as np
import PIL.Image
import pytest

import kerasseg
from kerasseg import inference
from kerasseg.pipelines import client, convert, evaluate, export, predict
from kerasseg.pipelines.classes.colors import color_of
from kerasseg.pipelines.exports import parity, portable
from kerasseg.pipelines.images import marks
from kerasseg.pipelines.runs.crf import CRFParameters
from kerasseg.pipelines.serve import Server
from kerasseg.pipelines.serving import saved_model

SIZES = ((1, 1), (1, 7), (7, 1), (3000, 7))
BOX = (16, 24)  # within which 3000 x 7 pixels become 16 x 0.04


def pixels(size, channels=3):
    return np.random.default_rng(sum(size)).integers(0, channels, size, np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for size in SIZES:
        PIL.Image.fromarray(85 * pixels((*size, 3))).save(folder / "{}x{}.png".format(*size))
    return folder


@pytest.fixture(scope="module", params=["as it is", "within a box"])
def file(request, tmp_path_factory):
    """A network that takes any size, and the same at a training's `--image-size`."""
    keras.utils.set_random_seed(0)
    images = keras.Input((None, None, 3), name="image")
    scaled = keras.layers.Rescaling(1 / 255)(images)
    model = keras.Model(images, keras.layers.Conv2D(3, 3, padding="same")(scaled), name="any")
    path = tmp_path_factory.mktemp("model") / "m.keras"
    inference.inference_model(model, BOX if request.param == "within a box" else None).save(path)
    return path


def read(path):
    with PIL.Image.open(path) as image:
        return np.asarray(image)


def assert_is_the_networks(file, image, label):
    content = read(image).astype(np.float32)
    logits = np.asarray(kerasseg.load(file)(content[np.newaxis])[0])
    assert label.shape == content.shape[:2]
    assert parity.labels_agree(np.asarray(label), logits)


def test_predict(file, photos, tmp_path):
    written = predict.run(file, photos, output=tmp_path)
    assert len(written) == len(SIZES)
    for item in written:
        assert_is_the_networks(file, item.image, read(item.label))
        assert read(item.overlay).shape == read(item.image).shape


@pytest.mark.slow  # tracing the CRF
@pytest.mark.parametrize("file", ["within a box"], indirect=True)
def test_predict_with_a_crf(file, photos, tmp_path):
    crf = CRFParameters(num_iterations=1)
    for item in predict.run(file, photos, output=tmp_path, crf=crf, crf_strip=(0, 1)):
        assert read(item.label).shape == read(item.image).shape[:2]
        assert item.strip.is_file()


def test_evaluate(file, photos, tmp_path):
    """The labels of the dataset are what `predict` says: every score is 1."""
    source = tmp_path / "source"
    written = predict.run(file, photos, output=tmp_path / "out")
    for item in written:
        for kind, path in (("images", item.image), ("labels", item.label)):
            for split in ("train", "validation"):
                target = source / kind / split / f"{item.label.stem}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
    lines = ["{} {} {} {}".format(name, *color_of(index)) for index, name in enumerate("abc")]
    (source / "classes.txt").write_text("\n".join(lines))
    data = convert.run("folder", source, tmp_path / "data").root
    report = evaluate.run(file, data=data, batch_size=2)
    assert report["pixel_accuracy"] == 1
    assert report["confusion_matrix"].sum() == sum(height * width for height, width in SIZES)


# What a size of the export does, it does to the images that a network is given.
@pytest.mark.parametrize(
    ("file", "size"),
    [("as it is", None), ("within a box", None), ("within a box", (1, 1))],
    indirect=["file"],
)
def test_a_saved_model_by_its_c_loader_and_over_rest(file, photos, tmp_path, size):
    pytest.importorskip("tensorflow_serving.apis", reason="needs the extra 'serving'")
    version = export.run(file, output=tmp_path / "served", size=size)
    images = sorted(photos.iterdir())
    served = saved_model.SavedModel(version)
    answers = [served.predict(path.read_bytes()) for path in images]
    with Server(tmp_path / "served", rest_port=0, grpc_port=0) as server:
        written = client.run(server.rest_address, photos, output=tmp_path / "out")
    for image, answer, of_server in zip(images, answers, written, strict=True):
        assert of_server.image == image
        assert of_server.files[0].read_bytes() == marks.mark(answer)
        label = read(io.BytesIO(answer))
        if size is None:
            assert_is_the_networks(file, image, label)
        else:  # from one pixel all others get the same class
            assert label.shape == read(image).shape[:2]
            assert len(np.unique(label)) == 1


@pytest.mark.parametrize("size", SIZES)
def test_litert(file, photos, tmp_path, size):
    pytest.importorskip("ai_edge_litert", reason="needs the extra 'litert'")
    version = export.run(file, output=tmp_path, size=size, format="litert")
    image = photos / "{}x{}.png".format(*size)
    batch = read(image)[np.newaxis]
    (answer,) = portable.predict_in_clean_process(version / "model.tflite", [batch])
    assert answer["labels"].shape == (1, *size)


def test_onnx(file, photos, tmp_path):
    pytest.importorskip("tf2onnx", reason="needs the extra 'onnx'")
    version = export.run(file, output=tmp_path, format="onnx")
    images = sorted(photos.iterdir())
    batches = [read(image)[np.newaxis] for image in images]
    answers = portable.predict_in_clean_process(version / "model.onnx", batches)
    for image, answer in zip(images, answers, strict=True):
        assert_is_the_networks(file, image, answer["labels"][0])


@pytest.mark.parametrize("size", [(0, 8), (8, 8193), (8,)])
def test_sizes_out_of_range_are_refused(file, tmp_path, size):
    with pytest.raises(ValueError, match="HEIGHT,WIDTH from 1 to 8192"):
        export.run(file, output=tmp_path, size=size)
