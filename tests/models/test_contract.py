"""What every architecture must do, found by file name as the command line finds them."""

import functools
import importlib
import inspect
import math
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from shallow import make_networks_shallow

import kerasseg
from kerasseg import models, serving
from kerasseg.checkpoints import transfer
from kerasseg.layers import MaxPoolingWithIndices, SegmentationModel
from kerasseg.layers.outputs import without_auxiliary
from kerasseg.layers.queries import QueryScores
from kerasseg.layers.resize import resize_bilinear
from kerasseg.pipelines.exports.parity import labels_agree
from kerasseg.pipelines.serving import saved_model

NUM_CLASSES = 5
CASES = [
    (name, variant)
    for name in models.names()
    for variant in importlib.import_module(f"kerasseg.models.{name}").VARIANTS
]
# What makes each network small enough to be built dozens of times.
SMALL = {
    "unet": {"filters": 4},
    "segnet": {"filters": 4},
    "fcn": {"encoder": "resnet18", "filters": 8},
    "deeplab": {"encoder": "resnet18"},
    "eomt": {"encoder": "dinov2_small", "image_size": 64, "num_blocks": 2, "num_queries": 7},
    "deeplabv3": {"encoder": "resnet18", "filters": 8},
    "deeplabv3plus": {"encoder": "mobilenetv2:0.25", "filters": 8},
    "pspnet": {"encoder": "resnet18", "filters": 8},
    "refinenet": {"encoder": "resnet18", "filters": 8},
    "pan": {"encoder": "resnet18", "filters": 8},
    "segformer": {"encoder": "mit_b0", "filters": 8},
    "segmenter": {"encoder": "vit_tiny", "grid": (4, 4)},
    "upernet": {"encoder": "convnext_tiny", "filters": 8},
    "lraspp": {"encoder": "mobilenetv3_small", "filters": 8},
    "ddrnet": {},
    "pidnet": {},
    "fpn": {"encoder": "resnet18", "filters": 8, "head_filters": 64},
    "linknet": {"encoder": "resnet18", "filters": 8},
    "manet": {"encoder": "resnet18", "decoder_filters": (8, 8, 8, 8, 8)},
    "unetplusplus": {"encoder": "resnet18", "decoder_filters": (8, 8, 8, 8, 8)},
}
SMALL_VARIANTS = {
    ("unet", "smp"): {"encoder": "resnet18", "decoder_filters": (8, 8, 8, 8, 8)},
    ("fcn", "paper"): {"encoder": "vgg16", "filters": 64},
    ("deeplab", "largefov-pytorch"): {"encoder": "vgg16", "filters": 64},
    ("deeplab", "v1"): {"encoder": "vgg16", "filters": 64},
    ("upernet", "smp"): {"encoder": "swin_tiny", "filters": 8},
}
# Smaller than a stride, a kernel or a pooling window; and long, with a side of a few pixels.
SMALL_SIZES = [(1, 1), (1, 7), (7, 1), (2, 2), (3, 62)]
FIRST_CASES = [next(case for case in CASES if case[0] == name) for name in models.names()]
# Those whose own layers depend on the image's size when it is known at last, each in its way: the
# window of a pooling, a grid of position embeddings, places to unpool to, and padding.
DYNAMIC = ("pspnet", "segmenter", "segnet", "deeplabv3plus")
# Those whose layers all are in others, too.
PLAIN = ("ddrnet", "deeplab", "deeplabv3", "fpn", "linknet", "manet", "refinenet", "unetplusplus")
# What is added to the last features of DDRNet and PIDNet, which only normalisations read. At these
# sizes the border of their poolings does not tell it either.
SHIFT = re.compile(r"context5_\d_(3|downsample)_bn/beta")
every_model = pytest.mark.parametrize(("name", "variant"), CASES)


def slow_unless(chosen, *arguments):
    """Cases with further arguments, of which only the chosen go through the test in every run."""
    return [
        pytest.param(*case, *arguments, marks=() if case in chosen else pytest.mark.slow)
        for case in CASES
    ]


# The variants of an architecture share what these tests are about: its `build` and our layers.
# What sets them apart is held against a reference in `test_parity.py`.
every_architecture = pytest.mark.parametrize(("name", "variant"), slow_unless(FIRST_CASES))
OWN_LAYERS = [case for case in FIRST_CASES if case[0] not in PLAIN]
every_layer = pytest.mark.parametrize(("name", "variant"), slow_unless(OWN_LAYERS))


def build(name, variant, **options):
    small = SMALL_VARIANTS.get((name, variant), SMALL[name])
    return kerasseg.build(
        name, **{"num_classes": NUM_CLASSES, "variant": variant, **small, **options}
    )


@functools.cache
def built(name, variant):
    """Builds a network whose weights no test changes: building is what takes longest."""
    keras.utils.set_random_seed(0)
    return build(name, variant)


@functools.cache
def built_for_four_channels(name, variant):
    """Builds a network for images of one size; its weights are any."""
    return build(name, variant, input_shape=(40, 48, 4))


def logits_of(model, images):
    """The logits of all heads, one after another."""
    outputs = model(images, training=True)
    return list(outputs.values()) if isinstance(outputs, dict) else [outputs]


def random_images(*shape):
    return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


def assert_close(logits, expected):
    """As for the references: at most 1e-4 of the largest logit."""
    expected = np.asarray(expected)
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()


def pooling_that_records(recorded):
    call = MaxPoolingWithIndices.call

    def pool(layer, features):
        pooled, indices = call(layer, features)
        recorded.append(indices)
        return pooled, indices

    return pool


def pooling_that_replays(recorded):
    def pool(_, features):
        indices = recorded.pop(0)
        return tf.gather(tf.reshape(features, [-1]), indices), indices

    return pool


def balance_classes(model, images):
    """Shifts the biases so that no class wins everywhere, as one may in an untrained network."""
    mean = np.mean(model(images), axis=(0, 1, 2))
    for layer in reversed(model.layers):
        bias = getattr(layer, "bias", None)
        if bias is not None and bias.shape == mean.shape and "auxiliary" not in layer.name:
            bias.assign_sub(mean)
            return


@pytest.fixture(autouse=True, scope="module")
def shallow_networks():
    with pytest.MonkeyPatch.context() as patch:
        make_networks_shallow(patch)
        yield


@pytest.fixture(autouse=True)
def same_weights_in_every_run():
    keras.utils.set_random_seed(0)


@every_model
# An odd side and an even one, and sides of a pixel.
@pytest.mark.parametrize("size", [(47, 64), (1, 1), pytest.param((7, 1), marks=pytest.mark.slow)])
def test_logits_have_the_image_s_size_whatever_it_is(name, variant, size):
    logits = built(name, variant)(random_images(2, *size, 3))
    assert logits.shape == (2, *size, NUM_CLASSES)
    assert logits.dtype == tf.float32
    assert np.isfinite(logits).all()


@every_layer
def test_the_shape_is_known_when_the_input_s_is(name, variant):
    model = without_auxiliary(built_for_four_channels(name, variant))
    assert model.output_shape == (None, 40, 48, NUM_CLASSES)
    model = without_auxiliary(built(name, variant))
    assert model.output_shape == (None, None, None, NUM_CLASSES)


@every_layer
def test_a_network_of_four_channels_takes_the_weights_of_one_of_rgb_images(name, variant):
    source, model = built(name, variant), built_for_four_channels(name, variant)
    adapter = transfer.adapter_of(source)
    assert not transfer.copy_weights(source, model, reset_head=False, adapter=adapter)
    assert len(adapter.adapted) == 1
    gray = random_images(1, 40, 48, 1)
    assert_close(model(np.repeat(gray, 4, axis=-1)), source(np.repeat(gray, 3, axis=-1)))
    # The same image five times, four times without one of its channels.
    images = np.repeat(random_images(1, 40, 48, 4), 5, axis=0)
    images[range(4), ..., range(4)] = 0
    logits = model(images).numpy()
    assert (np.abs(logits[:4] - logits[4]).max((1, 2, 3)) > 0).all()


@every_layer
def test_preprocessing_and_resizing_can_be_left_out(name, variant):
    images = random_images(1, 64, 96, 3)
    model = built(name, variant)
    inner = build(name, variant, preprocessing=None, resize_logits=False)
    inner.set_weights(model.get_weights())
    layer = model.get_layer("preprocessing")
    channels = images[..., ::-1] if layer.channel_order == "bgr" else images
    normalised = ((channels - np.array(layer.mean)) / np.array(layer.std)).astype(np.float32)
    logits, expected = inner(normalised), model(images)
    height, width = logits.shape[1:3]
    # A power of two along both sides, though Caffe's pooling rounds up, to a row more.
    assert round(math.log2(64 / height)) == round(math.log2(96 / width))
    if name == "eomt":  # the scores of resized masks
        found = inner(normalised, training=True)
        masks = resize_bilinear(found["masks_queries"], (64, 96), False)
        logits, expected = QueryScores()(found["class_queries"], masks), np.exp(expected)
    elif "pad_corners" in [layer.name for layer in model.layers]:
        # Padded so that features lie on every n-th pixel, which resizing leaves as they are.
        expected = expected[:, :: 64 // height, :: 96 // width]
    elif height < 64:
        aligned = model.get_layer("resize_logits").align_corners
        logits = resize_bilinear(logits, (64, 96), aligned)
    assert_close(logits, expected)


@every_architecture
def test_the_gradient_reaches_every_weight(name, variant):
    model = built(name, variant)
    before = model.get_weights()
    with tf.GradientTape() as tape:
        heads = logits_of(model, random_images(2, 64, 64, 3))
        loss = sum(
            tf.reduce_mean(tf.square(logits - random_images(*logits.shape) / 255))
            for logits in heads
        )
    model.set_weights(before)  # the moving averages
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
        # A bias before batch normalisation has no effect: its gradient is rounding.
        if variable.name != "bias" and not SHIFT.match(variable.path):
            assert np.abs(gradient).max() > 0, variable.path


# Keras trains models of two classes, with and without a second head; that gradients reach every
# weight is tested above for every architecture.
TRAINED = ("pidnet", "pspnet", "segmenter", "unet")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in TRAINED else pytest.mark.slow) for n in models.names()],
)
def test_keras_trains_it_as_the_readme_says_with_an_auxiliary_head_if_it_has_one(name):
    module = importlib.import_module(f"kerasseg.models.{name}")
    auxiliary = "auxiliary" in inspect.signature(module.build).parameters
    variant = "mmseg" if name == "unet" else module.VARIANTS[-1]  # that of U-Net with a second head
    model = build(name, variant, **({"auxiliary": True} if auxiliary else {}))
    # EoMT has what its queries find beside its logits.
    assert isinstance(model, SegmentationModel) == (auxiliary or name == "eomt")
    # Two positions at stride 32: attention to a single one has no gradient for its queries.
    images = random_images(2, 32, 64, 3)
    labels = np.random.default_rng(0).integers(0, NUM_CLASSES, (2, 4, 8), np.uint8)
    labels = labels.repeat(8, axis=1).repeat(8, axis=2)  # not boundaries alone
    # Eagerly, for tracing takes longer than a step.
    metric = kerasseg.metrics.MeanIoU(NUM_CLASSES)
    model.compile("adamw", kerasseg.losses.CrossEntropy(), metrics=[metric], run_eagerly=True)
    before = {variable.path: variable.numpy() for variable in model.trainable_variables}
    history = model.fit(images, labels, verbose=0).history
    assert list(history) == ["loss", "mean_iou"]
    assert np.isfinite(history["loss"]).all()
    still = [v.path for v in model.trainable_variables if (before[v.path] == v.numpy()).all()]
    assert not [path for path in still if not SHIFT.match(path)]
    assert model.evaluate(images, labels, verbose=0)[1] == metric.result()
    assert model.predict(images, verbose=0).shape == (2, 32, 64, NUM_CLASSES)


@pytest.mark.parametrize("mode", ["eagerly", pytest.param("graphs", marks=pytest.mark.slow)])
def test_saved_networks_load_train_and_export_after_importing_the_package_alone(mode, tmp_path):
    images = random_images(2, 24, 40, 3)
    found = set()
    for name, variant in CASES:
        model = built(name, variant)
        kinds = {type(layer) for layer in model.layers}
        # A network of no other layers than those before it would be loaded as they are.
        if mode != "graphs" and kinds <= found:
            continue
        found |= kinds
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        model.save(folder / f"{variant}.keras")
        np.savez(folder / f"{variant}.npz", images=images, logits=model(images))
    program = Path(__file__).with_name("new_process.py")
    # Not a fork of `new_processes`: there Keras would have chosen its backend before.
    process = [sys.executable, program, tmp_path, mode]
    result = subprocess.run(process, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.parametrize(
    ("name", "variant", "policy", "epsilon"),
    [
        *slow_unless(OWN_LAYERS, "mixed_bfloat16", 2**-7),
        *slow_unless([case for case in FIRST_CASES if case[0] in DYNAMIC], "mixed_float16", 2**-10),
    ],
)
def test_mixed_precision_gives_float32_logits_near_those_of_float32(
    name, variant, policy, epsilon, monkeypatch
):
    reference, images = built(name, variant), random_images(1, 48, 64, 3)
    keras.config.set_dtype_policy(policy)
    try:
        model = build(name, variant)
    finally:
        keras.config.set_dtype_policy("float32")
    model.set_weights(reference.get_weights())
    indices = []
    monkeypatch.setattr(MaxPoolingWithIndices, "call", pooling_that_records(indices))
    logits = model(images).numpy()
    # Where two values tie but for rounding, SegNet would unpool to different places.
    monkeypatch.setattr(MaxPoolingWithIndices, "call", pooling_that_replays(indices))
    expected = reference(images).numpy()
    assert not indices
    assert logits.dtype == np.float32
    error = np.sqrt(np.mean((logits - expected) ** 2) / np.mean(expected**2))
    assert error < 32 * epsilon  # some thirty layers, each rounding to the type's precision
    assert any(layer.compute_dtype == policy.removeprefix("mixed_") for layer in model.layers)


@every_layer
def test_images_of_several_sizes_run_through_one_graph(name, variant):
    model = built(name, variant)
    run = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)])
    for shape in ((1, 37, 50, 3), (2, 64, 41, 3), (2, 1, 7, 3)):
        images = random_images(*shape)
        assert_close(run(images), model(images))


@pytest.mark.parametrize(
    ("name", "variant"),
    # Tracing an export takes as long as all other tests of a variant together. The others have
    # layers of these, which go as graphs through several sizes in the test above.
    slow_unless([case for case in FIRST_CASES if case[0] in DYNAMIC]),
)
def test_the_export_gives_the_model_s_labels_through_the_c_loader(name, variant, tmp_path):
    model = build(name, variant)
    # Darker to the left, or an untrained network sees the same everywhere.
    images = (random_images(1, 45, 62, 3) * np.linspace(0, 1, 62)[:, None]).round()
    balance_classes(model, images)
    serving.save(without_auxiliary(model), tmp_path / "1", [(0, 0, 0)] * NUM_CLASSES)
    batches = [images, *(images[:, :height, :width] for height, width in SMALL_SIZES)]
    pngs = [tf.io.encode_png(tf.cast(batch[0], tf.uint8)).numpy() for batch in batches]
    answers = saved_model.predict_in_clean_process(tmp_path / "1", pngs)
    labels = [tf.io.decode_png(answer)[..., 0].numpy() for answer in answers]
    for batch, label in zip(batches, labels, strict=True):
        assert labels_agree(label, model(batch)[0].numpy())
    assert len(np.unique(labels[0])) > 1


@every_model
def test_layer_names_are_words_and_unique(name, variant):
    names = [layer.name for layer in built(name, variant).layers]
    assert len(set(names)) == len(names)
    # Keras' own names ("conv2d_7") count up with every model built: weights would not load by name.
    assert not [n for n in names if n.startswith(("conv2d", "batch_norm", "re_lu", "concatenate"))]


@every_model
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes must be a whole number of at least 2, got 0"),
        ({"num_classes": True}, "num_classes must be a whole number of at least 2, got True"),
        ({"num_classes": 2.5}, "num_classes must be a whole number of at least 2, got 2.5"),
        ({"num_classes": 1}, "num_classes must be at least 2, got 1: the background is a class"),
        ({"num_classes": 256}, "num_classes must be at most 255, got 256: labels are 8-bit"),
        ({"input_shape": (64, 64)}, r"input_shape must be .*, got \(64, 64\)"),
        ({"input_shape": (None, None, None)}, r"got \(None, None, None\)"),
        ({"input_shape": (64, 0, 3)}, r"got \(64, 0, 3\)"),
        ({"input_shape": (-64, 64, 3)}, r"got \(-64, 64, 3\)"),
        ({"input_shape": (64, 64, True)}, r"got \(64, 64, True\)"),
        ({"input_shape": (64, 64.0, 3)}, r"got \(64, 64.0, 3\)"),
        ({"input_shape": 64}, "got 64"),
        ({"input_shape": None}, "got None"),
        ({"preprocessing": "zscore"}, "got 'zscore'"),
        ({"colour": 1}, "got 'colour'"),
    ],
)
def test_bad_options_are_refused_with_the_value(name, variant, options, message):
    small = SMALL_VARIANTS.get((name, variant), SMALL[name])
    with pytest.raises(ValueError, match=message):
        kerasseg.build(name, **{"num_classes": 2, "variant": variant, **small, **options})


def test_255_classes_are_the_most_that_labels_hold():
    assert build("unet", "milesial", num_classes=255).output_shape[-1] == 255


@pytest.mark.parametrize("name", models.names())
def test_an_unknown_variant_lists_the_known_ones(name):
    known = ", ".join(importlib.import_module(f"kerasseg.models.{name}").VARIANTS)
    with pytest.raises(ValueError, match=f"variant must be one of {known}, got 'best'"):
        kerasseg.build(name, num_classes=2, variant="best")


def test_an_unknown_architecture_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"deeplab, .*unet.*got 'yolo'"):
        kerasseg.build("yolo", num_classes=2)
