import keras
import numpy as np
import pytest

import kerasseg
from kerasseg.encoders import hub, resnet
from kerasseg.layers import BatchNormalization
from kerasseg.pipelines.runs import initial_weights
from kerasseg.pipelines.runs.training_options import TrainingOptions
from kerasseg.pipelines.training import compiled_model

keras_hub = pytest.importorskip("keras_hub", reason="keras-hub is an extra")


ANY = (None, None)


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """A ResNet of keras-hub, of fewer blocks than any, saved as a preset of its own."""
    keras.utils.set_random_seed(0)
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[2, 2, 2, 2],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="bottleneck_block",
        image_shape=(None, None, 3),
    )
    rng = np.random.default_rng(0)
    for weight in backbone.weights:
        if weight.name in ("moving_mean", "beta"):
            weight.assign(rng.normal(scale=0.1, size=weight.shape))
        if weight.name in ("moving_variance", "gamma"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    folder = tmp_path_factory.mktemp("presets") / "small"
    backbone.save_to_preset(folder)
    return folder, backbone


def ours(backbone, images, output_stride):
    """Our own ResNet with the backbone's weights."""
    inputs = keras.Input((None, None, 3))
    found = resnet.features(inputs, "resnet26", output_stride=output_stride)
    model = keras.Model(inputs, [found[stride] for stride in (4, 8, 16, 32)])
    for layer in backbone.layers:
        if layer.weights:
            model.get_layer(our_name(layer.name)).set_weights(layer.get_weights())
    return [features.numpy() for features in model(images)]


def our_name(name):
    # conv1_conv, stack0_block1_2_bn, stack0_block0_0_conv (the shortcut)
    part, _, kind = name.rpartition("_")
    if part.startswith("conv1"):
        return f"encoder_stem1_{kind}"
    stack, block, unit = part.split("_")
    place = f"encoder_layer{int(stack[5:]) + 1}_{block[5:]}"
    return f"{place}_{'downsample' if unit == '0' else unit}_{kind}"


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_a_dilated_backbone_equals_our_own_dilated_resnet(preset, output_stride, monkeypatch):
    folder, backbone = preset
    monkeypatch.setitem(resnet._STAGES, "resnet26", ((2, 2, 2, 2), True))
    images = np.random.default_rng(1).normal(size=(1, 64, 96, 3)).astype(np.float32)
    inputs = keras.Input((None, None, 3))
    found = hub.features(inputs, f"hub:{folder}", output_stride=output_stride)
    assert sorted(found)[-4:] == [4, 8, 16, 32]
    model = keras.Model(inputs, [found[stride] for stride in (4, 8, 16, 32)])
    expected = ours(backbone, images, output_stride)
    for features, other in zip(model(images), expected, strict=True):
        assert features.shape == other.shape
        np.testing.assert_allclose(features, other, atol=1e-4 * np.abs(other).max())


def test_an_architecture_takes_a_backbone_for_any_size(preset, tmp_path):
    model = kerasseg.build(
        "deeplabv3plus", num_classes=3, encoder=f"hub:{preset[0]}", filters=8, output_stride=16
    )
    images = np.zeros((1, 47, 61, 3), np.float32)
    assert model(images).shape == (1, 47, 61, 3)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images), model(images))


def test_images_smaller_than_a_backbone_takes_are_padded(tmp_path):
    keras.utils.set_random_seed(0)
    # Its poolings round down: of fewer than 32 rows it keeps none.
    backbone = keras_hub.models.DenseNetBackbone([1, 1, 1, 1], growth_rate=8, image_shape=(*ANY, 3))
    backbone.save_to_preset(tmp_path)
    model = kerasseg.build("pan", num_classes=3, encoder=f"hub:{tmp_path}", output_stride=32)
    for size in ((1, 1), (3, 70), (33, 31)):
        assert model(np.full((1, *size, 3), 99, np.float32)).shape == (1, *size, 3)
    images = np.random.default_rng(1).normal(size=(1, 47, 61, 3)).astype(np.float32)
    inputs = keras.Input((*ANY, 3))
    found = hub.features(inputs, f"hub:{tmp_path}")
    levels = keras.Model(backbone.inputs, list(backbone.pyramid_outputs.values()))
    pairs = zip(keras.Model(inputs, list(found.values()))(images), levels([images]), strict=True)
    for features, expected in pairs:
        np.testing.assert_array_equal(features.shape, expected.shape)
        np.testing.assert_allclose(features, expected, atol=1e-4 * np.abs(expected).max())


def test_a_backbone_of_rgb_images_is_adapted_to_other_channels(preset):
    gray = np.random.default_rng(1).normal(size=(1, 64, 64, 1)).astype(np.float32)
    found = {}
    for channels in (3, 4):
        inputs = keras.Input((*ANY, channels))
        features = hub.features(inputs, f"hub:{preset[0]}", output_stride=16)
        found[channels] = keras.Model(inputs, features[32])(np.repeat(gray, channels, axis=-1))
    np.testing.assert_allclose(found[4], found[3], atol=1e-4 * np.abs(found[3]).max())


def test_a_training_says_that_a_backbone_was_adapted(preset, capsys):
    encoder = f"hub:{preset[0]}"
    options = {"num_classes": 2, "encoder": encoder, "filters": 8, "output_stride": 16}
    model = kerasseg.build("deeplabv3plus", **options, input_shape=(*ANY, 4))
    training = TrainingOptions(model="deeplabv3plus", model_options={"encoder": encoder})
    loaded = initial_weights.load(model, training, dataset=None)
    assert "encoder_hub: the RGB kernel was adapted to 4 channels" in loaded["adapted_kernels"]
    assert loaded["adapted_kernels"] in capsys.readouterr().err


def test_images_of_other_channels_than_a_preset_of_other_images_are_refused(tmp_path):
    backbone = keras_hub.models.DenseNetBackbone([1, 1, 1, 1], growth_rate=8, image_shape=(*ANY, 2))
    backbone.save_to_preset(tmp_path)
    with pytest.raises(ValueError, match=r"images must have 2 channels for encoder hub:.*, got 4"):
        kerasseg.build("pan", num_classes=2, encoder=f"hub:{tmp_path}", input_shape=(*ANY, 4))


def of_images(size):
    return keras_hub.models.ResNetBackbone(
        [64], [7], [64, 128, 256, 512], [1, 1, 1, 1], [1, 2, 2, 2], "basic_block", image_shape=size
    )


def test_a_preset_for_images_of_one_size_takes_any(monkeypatch):
    backbone = of_images((64, 96, 3))
    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", lambda preset: backbone)
    inputs = keras.Input((*ANY, 3))
    found = keras.Model(inputs, hub.features(inputs, "hub:any"))
    images = np.random.default_rng(1).normal(size=(1, 64, 96, 3)).astype(np.float32)
    np.testing.assert_allclose(found(images)[32], backbone(images), rtol=1e-4, atol=1e-5)
    assert found(images[:, :33, :95])[32].shape == (1, 2, 3, 512)


def mix_transformer():
    return keras_hub.models.MiTBackbone(
        layerwise_depths=[1, 1, 1, 1],
        num_layers=4,
        layerwise_num_heads=[1, 1, 1, 1],
        layerwise_sr_ratios=[8, 4, 2, 1],
        max_drop_path_rate=0,
        layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2],
        image_shape=(32, 32, 3),
        hidden_dims=[4, 4, 4, 4],
    )


def plain_transformer():
    return keras_hub.models.DINOV2Backbone(
        14, 1, 8, 1, 8, image_shape=(28, 28, 3), position_embedding_shape=(28, 28, 3)
    )


def one_size_only():
    """A pyramid with the right strides whose last level has the size of the preset's images."""
    backbone = of_images((64, 64, 3))
    backbone.pyramid_outputs["P5"] = keras.layers.Reshape((2, 2, 512))(
        keras.layers.Flatten()(backbone.pyramid_outputs["P5"])
    )
    return backbone


def renamed():
    backbone = of_images((*ANY, 3))
    levels = backbone.pyramid_outputs
    backbone.pyramid_outputs = {f"P{index}": levels[f"P{index + 1}"] for index in (1, 2, 3, 4)}
    return backbone


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        # Its levels are called P1 to P4 by their stages.
        (
            mix_transformer,
            ", a MiTBackbone, whose weights the encoder .* one of mit_b0, .* mit_b5,",
        ),
        (plain_transformer, ", a DINOV2Backbone, .* one of dinov2_small, .* as encoder_weights"),
        (one_size_only, ", a ResNetBackbone, .* one of resnet18, "),
        (renamed, ", a ResNetBackbone, .* one of resnet18, "),
    ],
)
def test_a_backbone_without_a_pyramid_of_any_size_is_refused_and_the_encoder_named(
    make, advice, monkeypatch
):
    backbone = make()
    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", lambda preset: backbone)
    message = rf"levels Pn of the stride 2\^n for images of any size, got 'hub:any'{advice}"
    with pytest.raises(ValueError, match=message):
        hub.features(keras.Input((*ANY, 3)), "hub:any")


def test_a_backbone_that_lacks_a_level_is_refused_where_it_is_needed(preset, monkeypatch):
    backbone = keras_hub.models.Backbone.from_preset(str(preset[0]))
    levels = {level: backbone.pyramid_outputs[level] for level in ("P3", "P5")}
    monkeypatch.setattr(type(backbone), "pyramid_outputs", levels, raising=False)
    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", lambda preset: backbone)
    message = r"must have features of strides 4 and 32, got 'hub:any', which has 8 and 32\."
    with pytest.raises(ValueError, match=message):
        kerasseg.build("deeplabv3plus", num_classes=2, encoder="hub:any", filters=8)
    assert kerasseg.build("deeplab", num_classes=2, encoder="hub:any").name == "deeplab"


def test_its_normalisation_is_ours_and_can_be_frozen(preset):
    model = kerasseg.build("pspnet", num_classes=3, encoder=f"hub:{preset[0]}", filters=8)
    options = TrainingOptions(model="pspnet", batch_norm="frozen-encoder")
    compiled_model.set_batch_norm(model.layers, options, lambda: 0)
    encoder = model.get_layer("encoder_hub")
    found = [la for la in encoder.layers if isinstance(la, keras.layers.BatchNormalization)]
    # One for each convolution: the stem, three in a block, and a shortcut in a stage.
    assert len(found) == 1 + 4 * (2 * 3 + 1)
    assert all(isinstance(layer, BatchNormalization) for layer in found)
    assert not any(layer.trainable for layer in found)
    assert model.get_layer("head_bn").trainable


def test_optimizers_know_its_variables(preset):
    """By their paths, which tell the encoder from the decoder."""
    model = kerasseg.build("pspnet", num_classes=3, encoder=f"hub:{preset[0]}", filters=8)
    found = model.get_layer("encoder_hub").trainable_variables
    assert found
    assert all(variable.path.startswith("encoder_hub/") for variable in found)


def test_a_preset_that_cannot_be_loaded_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"must be a preset of keras-hub.*got '.*absent'"):
        kerasseg.build("pspnet", num_classes=2, encoder=f"hub:{tmp_path / 'absent'}")


def test_a_missing_keras_hub_is_reported(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "keras_hub", None)
    with pytest.raises(ValueError, match=r"needs keras-hub: pip install 'kerasseg\[hub\]'"):
        kerasseg.build("pspnet", num_classes=2, encoder="hub:resnet_50_imagenet")
