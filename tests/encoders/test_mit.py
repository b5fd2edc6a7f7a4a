"""Mix transformers: what tensors tell of them, the names of their files, and tiny maps."""

import keras
import mit_tensors
import numpy as np
import pytest
import safetensors.numpy

import kerasseg
from kerasseg import checkpoints
from kerasseg.checkpoints import imagenet
from kerasseg.encoders import _mit_weights, mit
from kerasseg.pipelines import models

TINY = ((4, 4, 10, 8), (1, 2, 1, 1))


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(mit.SIZES, "mit_b0", TINY)


def drawn(variant="paper"):
    model = kerasseg.build("segformer", num_classes=3, variant=variant, filters=6)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.dtype == "float32":
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


def assert_same_encoder(model, source):
    compared = 0
    for layer in source.layers:
        if layer.name.startswith("encoder_"):
            pairs = zip(layer.weights, model.get_layer(layer.name).weights, strict=True)
            for expected, found in pairs:
                if "seed_generator" not in expected.path:
                    np.testing.assert_array_equal(found, expected)
                    compared += 1
    assert compared > 60


@pytest.mark.parametrize(
    ("names", "prefix", "others"),
    [
        (mit_tensors.HUGGINGFACE, "segformer.", ["classifier"]),  # nvidia/mit-b0
        (mit_tensors.HUGGINGFACE, "segformer.", ["decode_head.classifier"]),  # a whole network
        (mit_tensors.HUGGINGFACE_5, "", []),
        (mit_tensors.MMSEG, "", []),  # mit_b0_20220624-7e0fe6dd.pth
        (mit_tensors.MMSEG, "backbone.", ["decode_head.conv_seg"]),
        (mit_tensors.NVIDIA, "", ["head"]),  # NVIDIA's mit_b0.pth
    ],
)
def test_encoder_weights_load_from_the_files_of_every_source(names, prefix, others, tmp_path):
    source, model = drawn(), kerasseg.build("segformer", num_classes=2, filters=4)
    state = {prefix + name: v for name, v in mit_tensors.tensors(source, names).items()}
    state |= {f"{name}.weight": np.zeros((3, 8), np.float32) for name in others}
    safetensors.numpy.save_file(state, tmp_path / "mit.safetensors")
    imagenet.load_encoder(model, "mit_b0", str(tmp_path / "mit.safetensors"))
    assert_same_encoder(model, source)


@pytest.mark.parametrize(
    ("source", "names", "prefix"),
    [
        ("huggingface", mit_tensors.HUGGINGFACE, "segformer."),
        ("huggingface", mit_tensors.HUGGINGFACE_5, ""),
        ("mmseg", mit_tensors.MMSEG, "backbone."),
        ("smp", mit_tensors.NVIDIA, "encoder."),
    ],
)
def test_an_encoder_alone_is_imported_with_the_epsilon_of_its_source(source, names, prefix):
    network = drawn()
    state = {prefix + name: v for name, v in mit_tensors.tensors(network, names).items()}
    model = checkpoints.from_state_dict(state, source=source, model="encoder", encoder="mit_b0")
    assert_same_encoder(model, network)
    epsilon = model.get_layer("encoder_stage0_norm").epsilon
    assert epsilon == (1e-5 if source == "huggingface" else 1e-6)


def head_tensors(model, levels):
    """The decoder's weights as transformers stores them."""
    places = {"decoder_fuse_bn": "batch_norm", "logits": "classifier"}
    kernel, *projections = map(
        mit_tensors.in_torch_layout, model.get_layer("decoder_fuse").get_weights()
    )
    state = {
        "decode_head.batch_norm.num_batches_tracked": np.array(7),
        "decode_head.linear_fuse.weight": kernel,
    }
    for level in range(4):
        for kind in ("bias", "weight"):
            state[f"decode_head.{levels}.{level}.proj.{kind}"] = projections.pop()
    for ours, theirs in places.items():
        kinds = ("weight", "bias", "running_mean", "running_var")
        for kind, weight in zip(kinds, model.get_layer(ours).weights, strict=False):
            values = mit_tensors.in_torch_layout(weight.numpy())
            state[f"decode_head.{theirs}.{kind}"] = values
    return state


@pytest.mark.parametrize(
    ("names", "levels"),
    [
        (mit_tensors.HUGGINGFACE, "linear_c"),
        (mit_tensors.HUGGINGFACE_5, "linear_projections"),
    ],
)
def test_a_network_is_imported_in_the_published_names_and_in_those_of_transformers_5(names, levels):
    source = drawn()
    state = {f"segformer.{name}": v for name, v in mit_tensors.tensors(source, names).items()}
    model = checkpoints.from_state_dict(
        {**state, **head_tensors(source, levels)},
        source="huggingface",
        model="segformer",
        preprocessing="source",
        resize_logits=True,
    )
    images = np.random.default_rng(1).uniform(0, 255, (1, 33, 41, 3)).astype(np.float32)
    np.testing.assert_allclose(model(images), source(images), rtol=1e-5)


def test_the_size_of_an_encoder_is_read_from_its_tensors():
    pattern, patches = r"layers\.(\d)\.1\.(\d+)\.", "layers.0.0.projection.weight"
    for name, (widths, depths) in mit.SIZES.items():
        state = {patches: np.zeros((widths[0], 3, 7, 7), np.float32)}
        for stage, depth in enumerate(depths):
            for block in range(depth):
                state[f"layers.{stage}.1.{block}.norm1.weight"] = np.zeros(widths[stage])
        assert _mit_weights.name_told_by(state, patches, pattern) == name
    del state["layers.3.1.2.norm1.weight"]
    message = r"mix transformer of mit_b0, .*mit_b5, got width 64 and \(3, 6, 40, 2\) blocks"
    with pytest.raises(ValueError, match=message):
        _mit_weights.name_told_by(state, patches, pattern)


def test_the_published_encoders_have_the_published_parameters(monkeypatch):
    """Table 1 of the paper, in millions."""
    monkeypatch.undo()
    millions = {"mit_b0": 3.4, "mit_b1": 13.1, "mit_b2": 24.2}
    for name, expected in millions.items():
        images = keras.Input((None, None, 3))
        with keras.StatelessScope(initialize_variables=False):
            found = mit.features(images, name)
        count = sum(layer.count_params() for layer in keras.Model(images, found).layers)
        assert abs(count / 1e6 - expected) < 0.6


def test_depths_count_blocks_over_all_stages():
    model = drawn()
    names = [layer.name for layer in model.layers if layer.name.startswith("encoder_")]
    depths = mit.depths(names)
    assert set(depths) == set(names)
    expected = {
        "encoder_stage0_patches": 0,
        "encoder_stage0_patches_norm": 0,
        "encoder_stage0_block0_q": 1,
        "encoder_stage0_norm": 1,
        "encoder_stage1_patches": 2,
        "encoder_stage1_block0_fc2": 2,
        "encoder_stage1_block1_reduce_norm": 3,
        "encoder_stage1_norm": 3,
        "encoder_stage2_patches_norm": 4,
        "encoder_stage3_block0_attention": 5,
        "encoder_stage3_norm": 5,
    }
    assert expected.items() <= depths.items()
    assert mit.depths([]) == {}


def test_paths_are_dropped_in_training_only_more_of_them_the_deeper():
    model = kerasseg.build("segformer", num_classes=2, filters=4, drop_path=0.4)
    rates = [layer.rate for layer in model.layers if layer.name.endswith("_drop_path")]
    assert rates == pytest.approx([0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4])
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(model(images), model(images))
    assert np.ptp(model(images, training=True) - model(images, training=True)) > 0


def test_a_map_smaller_than_a_window_of_the_reduction_is_padded_to_one():
    images = keras.Input((None, None, 3))
    encoder = keras.Model(images, mit.features(images, "mit_b0"))
    # 9 x 40 pixels are 3 x 10 positions at stride 4, of which a window has 8 x 8.
    values = np.random.default_rng(0).normal(size=(1, 9, 40, 3)).astype(np.float32)
    patches, reduced, keys_values = (
        keras.Model(images, encoder.get_layer(f"encoder_stage0_block0_{name}").output)(values)
        for name in ("norm1", "reduce", "kv")
    )
    assert patches.shape == (1, 3, 10, 4)
    assert keys_values.shape == (1, 1, 1, 8)
    layer = encoder.get_layer("encoder_stage0_block0_reduce")
    # The last two columns do not fill a second window.
    expected = np.einsum("hwi,hwio->o", patches[0, :, :8], layer.kernel[:3])
    np.testing.assert_allclose(reduced[0, 0, 0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"encoder": "resnet18", "drop_path": 0.1},
            "drop_path must be left out for encoder resnet",
        ),
        ({"filters": 0}, "filters must be a whole number of at least 1, got 0"),
        ({"encoder": "vgg16", "output_stride": 8}, "got 'output_stride'"),
    ],
)
def test_what_has_no_meaning_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        kerasseg.build("segformer", num_classes=2, **options)


def test_an_encoder_cannot_be_dilated():
    message = "output_stride must be 32 for encoder mit_b0, got 16"
    with pytest.raises(ValueError, match=message):
        kerasseg.build("deeplabv3plus", num_classes=2, encoder="mit_b0")


def test_its_costs_are_listed_at_the_output_stride_that_it_has(monkeypatch):
    monkeypatch.setattr(models, "_encoders", lambda module: ["mit_b0"])
    ((name, parameters, *_),) = models.encoder_rows(
        "deeplabv3plus", image_size=(64, 64), num_classes=2
    )
    model = kerasseg.build("deeplabv3plus", num_classes=2, encoder="mit_b0", output_stride=32)
    assert (name, parameters) == ("mit_b0", f"{model.count_params():,}")


@pytest.mark.parametrize(
    ("encoder", "variant", "filters"),
    [("mit_b0", "paper", 256), ("mit_b2", "paper", 768), ("mit_b2", "mmseg", 256)],
)
def test_the_decoder_is_as_wide_as_published(encoder, variant, filters, monkeypatch):
    monkeypatch.setitem(mit.SIZES, encoder, TINY)
    model = kerasseg.build("segformer", num_classes=2, encoder=encoder, variant=variant)
    assert model.get_layer("decoder_fuse").kernel.shape == (1, 1, 4 * filters, filters)
