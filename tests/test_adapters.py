import zipfile

import keras
import new_processes
import numpy as np
import pytest

import kerasseg
from kerasseg import adapters

RANDOM = np.random.default_rng(0)


def network(channels=3, *, activation=None, size=(None, None), dtype=None, strides=1):
    """A network of one convolution."""
    images = keras.Input((*size, 3), name="image")
    scaled = keras.layers.Rescaling(1 / 255)(images)
    convolution = keras.layers.Conv2D(
        channels, 3, strides, padding="same", activation=activation, dtype=dtype
    )
    return keras.Model(images, convolution(scaled), name="own")


def saved(model, tmp_path):
    model.save(tmp_path / "m.keras")
    return tmp_path / "m.keras"


def random_images(*size):
    return RANDOM.uniform(0, 255, (*size, 3)).astype(np.float32)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_saved_network_of_ones_own_loads_as_it_is(tmp_path, compiled):
    model = network()
    if compiled:
        metrics = [kerasseg.metrics.MeanIoU(3)]
        model.compile("adam", kerasseg.losses.CrossEntropy(), metrics=metrics)
        model.fit(random_images(2, 8, 8), np.zeros((2, 8, 8), np.uint8), verbose=0)
    images = random_images(2, 37, 51)
    loaded = kerasseg.load(saved(model, tmp_path))
    np.testing.assert_allclose(loaded(images), model(images), atol=1e-5)
    assert not loaded.compiled


def test_a_network_of_ours_is_not_wrapped():
    model = kerasseg.build("unet", num_classes=3, variant="milesial", filters=4, depth=2)
    assert adapters.segmentation_network(model) is model


def test_an_auxiliary_head_is_left_out(tmp_path):
    model = kerasseg.build(
        "unet", num_classes=3, variant="mmseg", filters=4, depth=1, auxiliary=True
    )
    assert len(model.outputs) == 2
    loaded = kerasseg.load(saved(model, tmp_path))
    assert loaded.output_shape == (None, None, None, 3)


@pytest.mark.parametrize("where", ["in the convolution", "in a layer", "before a resize"])
def test_of_a_softmax_the_logarithm_is_taken(tmp_path, where):
    model = network(activation="softmax" if where == "in the convolution" else None)
    if where != "in the convolution":
        probabilities = keras.layers.Softmax()(model.output)
        if where == "before a resize":
            probabilities = kerasseg.layers.ResizeLike()(probabilities, model.input)
        model = keras.Model(model.input, probabilities)
    images = random_images(2, 13, 17)
    logits = np.asarray(kerasseg.load(saved(model, tmp_path))(images))
    probabilities = np.asarray(model(images))
    np.testing.assert_allclose(logits, np.log(probabilities), rtol=1e-4, atol=1e-5)
    exponentials = np.exp(logits)
    np.testing.assert_allclose(
        exponentials / exponentials.sum(-1, keepdims=True), probabilities, atol=1e-5
    )


def test_a_network_of_one_size_gets_images_resized_to_it_and_logits_back(tmp_path):
    model = network(size=(24, 32))
    loaded = kerasseg.load(saved(model, tmp_path))
    assert adapters.only_size(loaded) == (24, 32)
    images = random_images(1, 50, 71)
    resize = lambda x, size: keras.ops.image.resize(x, size, "bilinear")  # noqa: E731
    expected = resize(model(resize(images, (24, 32))), (50, 71))
    np.testing.assert_allclose(loaded(images), expected, atol=1e-4)


def test_half_precision_gives_logits_of_float32(tmp_path):
    model = network(dtype="bfloat16")
    assert kerasseg.load(saved(model, tmp_path))(random_images(1, 8, 9)).dtype == "float32"


def test_inputs_and_outputs_with_names_are_taken(tmp_path):
    model = network()
    named = keras.Model({"image": model.input}, {"logits": model.output})
    images = random_images(1, 8, 9)
    loaded = kerasseg.load(saved(named, tmp_path))
    np.testing.assert_allclose(loaded(images), model(images), atol=1e-5)


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    """A model that is no functional one."""

    def __init__(self, **options):
        super().__init__(**options)
        self.convolution = keras.layers.Conv2D(3, 1)

    def call(self, images):
        """Returns the logits."""
        return self.convolution(images)

    def build(self, input_shape):
        """Makes the weights."""
        self.convolution.build(input_shape)


def test_a_model_of_a_class_of_its_own_is_taken(tmp_path):
    model = Subclassed()
    images = random_images(1, 8, 9)
    expected = model(images)
    np.testing.assert_allclose(kerasseg.load(saved(model, tmp_path))(images), expected, atol=1e-5)


def test_a_sequential_model_is_taken(tmp_path):
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(3, 1)])
    images = random_images(1, 8, 9)
    expected = model(images)
    np.testing.assert_allclose(kerasseg.load(saved(model, tmp_path))(images), expected, atol=1e-5)


def classifier():
    return keras.Sequential(
        [keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )


def with_two_outputs():
    model = network()
    return keras.Model(model.input, [model.output, model.output])


def of_even_sizes_only():
    images = keras.Input((None, None, 3))
    small = keras.layers.MaxPooling2D()(images)
    enlarged = keras.layers.UpSampling2D()(small)
    return keras.Model(images, keras.layers.Concatenate()([images, enlarged]))


def of_two_inputs():
    inputs = [keras.Input((None, None, 3)), keras.Input((None, None, 3))]
    return keras.Model(inputs, keras.layers.Add()(inputs))


def of_too_many_channels():
    images = keras.Input((None, None, 17))
    return keras.Model(images, keras.layers.Conv2D(3, 1)(images))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (classifier, r"\(None, height, width, num_classes\).* got \(None, 3\): .*segmentation"),
        (
            of_too_many_channels,
            r"images of at most 16 channels, .*got \(None, None, None, 17\)",
        ),
        (of_two_inputs, "one input, the images, got 2"),
        (with_two_outputs, "one output, the logits, got 2"),
        (lambda: network(strides=2), "size of the image, 97 x 131, got 49 x 66"),
        (of_even_sizes_only, r"any size, got an error at 97 x 131 \(ConcatOp : Dimension 1 in "),
        (lambda: network(size=(None, 32)), "both sides fixed or none"),
        (lambda: network(1, activation="sigmoid"), "a channel for each class, .* got 1"),
        (lambda: network(activation="sigmoid"), "got the sigmoid of each"),
    ],
)
def test_what_is_no_segmentation_network_is_a_clear_error(tmp_path, build, message):
    path = saved(build(), tmp_path)
    with pytest.raises(ValueError, match=message):
        kerasseg.load(path)


def test_a_class_that_is_not_registered_is_named_and_its_code_is_not_looked_for(tmp_path):
    """The file was saved by a process that knows the class, from a module that lies beside."""
    (tmp_path / "own_layers.py").write_text(
        "print('executed')\n"
        "import keras\n"
        "class Doubled(keras.layers.Layer):\n"
        "    def call(self, x): return 2 * x\n"
    )
    code = (
        "import keras, own_layers\n"
        "x = keras.Input((None, None, 3))\n"
        "keras.Model(x, own_layers.Doubled()(x)).save('m.keras')\n"
    )
    done = new_processes.run("-c", code, cwd=tmp_path, import_from=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "executed\n"
    code = (
        "import kerasseg\n"
        "try: kerasseg.load('m.keras')\n"
        "except ValueError as error: print('error:', error)"
    )
    done = new_processes.run("-c", code, cwd=tmp_path, import_from=tmp_path)
    assert done.stdout.startswith("error: needs the class Doubled, which is not registered: import")
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize(
    "layer",
    [
        lambda: keras.layers.Lambda(lambda x: 2 * x),
        lambda: keras.layers.Conv2D(3, 1, activation=lambda x: 2 * x),
    ],
)
def test_python_code_in_a_file_is_not_executed(tmp_path, layer):
    images = keras.Input((None, None, 3))
    path = saved(keras.Model(images, layer()(images)), tmp_path)
    with pytest.raises(ValueError, match="holds a Lambda layer or other Python code, which is not"):
        kerasseg.load(path)


def test_half_a_file_and_another_archive_are_clear_errors(tmp_path):
    path = saved(network(), tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"must be a .keras file, got another format or half of"):
        kerasseg.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ValueError, match="cannot be loaded"):
        kerasseg.load(path)
