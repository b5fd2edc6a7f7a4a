"""Converting and checking images of 1 to 16 channels and 8 or 16 bits."""

import io
import json
from pathlib import Path

import channel_trees
import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

from kerasseg import encoded_images
from kerasseg.pipelines import check, convert, records
from kerasseg.pipelines.checks import page
from kerasseg.pipelines.cli import main
from kerasseg.pipelines.conversion.pairs import Encoding
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.images.treatments import Stretch
from kerasseg.pipelines.records.reader import frames, parse_example


def kerasseg(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def images_of(dataset):
    """Decodes all images of the records with TensorFlow."""
    found = {}
    for split in dataset.splits:
        for path in dataset.files(split):
            content = Path(path).read_bytes()
            with io.BytesIO(content) as file:
                for frame in frames(file, len(content)):
                    features = parse_example(frame.content)
                    found[features["filename"].decode()] = encoded_images.decode(
                        features["image"], dataset.channels, dataset.bits
                    ).numpy()
    return found


@pytest.mark.parametrize(
    ("channels", "dtype", "ending"),
    [(1, np.uint8, ".tif"), (4, np.uint16, ".tif"), (12, np.uint8, ".tif"), (5, np.uint16, ".npy")],
)
def test_the_command_line_converts_all_channels(tmp_path, channels, dtype, ending):
    expected = channel_trees.write(tmp_path / "source", channels, dtype, ending)
    bits = 8 * np.dtype(dtype).itemsize
    options = ("--channels", channels, "--bits", bits, "--output", tmp_path / "data")
    ran = kerasseg("convert", "--dataset", "folder", "--source", tmp_path / "source", *options)
    assert ran.exit_code == 0, ran.output
    dataset = records.load(tmp_path / "data")
    assert (dataset.channels, dataset.bits) == (channels, bits)
    manifest = json.loads((dataset.root / "manifest.json").read_text())
    assert [manifest[key] for key in ("format", "channels", "bits")] == [2, channels, bits]
    found = images_of(dataset)
    assert found.keys() == expected.keys()
    for name, pixels in expected.items():
        np.testing.assert_array_equal(found[name], pixels)
    report = check.run(tmp_path / "data", full=True)
    assert report.verdict == "nothing wrong"
    kind = f"png of {channels} channel{'s' if channels > 1 else ''}, {bits} bits"
    assert report.splits[0].image_kinds == {kind: 2}


def test_rgb_of_8_bits_leaves_no_trace_of_the_options(tmp_path):
    root = tmp_path / "source"
    channel_trees.write(root, 3)
    dataset = convert.run("folder", root, tmp_path, encoding=Encoding(channels=3, bits=8))
    manifest = json.loads((dataset.root / "manifest.json").read_text())
    assert manifest["format"] == 1
    assert not {"channels", "bits"} & (manifest.keys() | manifest["how"].keys())
    assert not (tmp_path / "source.incomplete").exists()


def test_tensorflow_datasets_reads_the_channels_one_below_the_other(tmp_path):
    import tensorflow_datasets as tfds

    expected = channel_trees.write(tmp_path / "source", 4, np.uint16)
    encoding = Encoding(channels=4, bits=16)
    convert.run("folder", tmp_path / "source", tmp_path / "data", encoding=encoding)
    loaded = tfds.load("folder", data_dir=tmp_path / "data", split="train")
    for example in loaded.as_numpy_iterator():
        assert example["image"].dtype == np.uint16
        planes = np.moveaxis(expected[example["filename"].decode()], -1, 0)
        np.testing.assert_array_equal(example["image"].reshape(planes.shape), planes)


def test_other_channels_or_bits_are_another_conversion(tmp_path):
    channel_trees.write(tmp_path / "source", 4, np.uint16)

    def convert_to(**options):
        encoding = Encoding(**options)
        return convert.run("folder", tmp_path / "source", tmp_path / "data", encoding=encoding)

    convert_to(channels=4, bits=16)
    with pytest.raises(InputError, match="--bits: 16 before, 8 now; --stretch: none before, 0,9 "):
        convert_to(channels=4, stretch=Stretch(0, 9))
    with pytest.raises(InputError, match="--channels: 4 before, 3 now"):
        convert_to(channels=3, bits=16)


def test_an_interrupted_conversion_does_not_go_on_with_other_bits(tmp_path):
    expected = channel_trees.write(tmp_path / "source", 4, np.uint16)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert.run(
            "folder", tmp_path / "source", tmp_path / "data", on_progress=stop, workers=1,
            encoding=Encoding(channels=4, stretch=Stretch(0, 65535)),
        )  # fmt: skip
    encoding = Encoding(channels=4, bits=16)
    dataset = convert.run("folder", tmp_path / "source", tmp_path / "data", encoding=encoding)
    for name, pixels in images_of(dataset).items():
        np.testing.assert_array_equal(pixels, expected[name])


def test_images_of_other_channels_are_listed_by_convert_and_check(tmp_path):
    root = tmp_path / "source"
    channel_trees.write(root, 4)
    (root / "images/train/tile 1.tif").unlink()
    pixels, _ = channel_trees.pair(3, np.uint8, 5)
    (root / "images/train/tile 1.png").write_bytes(channel_trees.picture(pixels))
    with pytest.raises(convert.ConversionError) as error:
        convert.run("folder", root, tmp_path / "data", encoding=Encoding(channels=4))
    (problem,) = error.value.problems
    assert problem.file == "images/train/tile 1.png"
    assert problem.what == "image must have 4 channels, got 3 (PNG, uint8)"
    assert "--channels 3" in problem.cause
    (finding,) = check.run(root, "folder", channels=4).findings
    assert (finding.kind, finding.what) == ("other channels", problem.what)
    deep, _ = channel_trees.pair(4, np.uint16, 5)
    (root / "images/train/tile 1.png").write_bytes(channel_trees.encode(deep, ".tif"))
    (finding,) = check.run(root, "folder", channels=4).findings
    assert finding.kind == "deep image"
    assert check.run(root, "folder", channels=4, bits=16).verdict == "nothing wrong"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--dataset", "camvid", "--channels", "4"), "channels must be 3 and bits 8 for dataset"),
        (("--dataset", "voc2012", "--bits", "16"), "got 3 and 16; dataset folder takes"),
        (("--dataset", "folder", "--bits", "16", "--image-format", "jpeg"), "must be png"),
        (("--dataset", "folder", "--channels", "4", "--verify", "checksums"), "channels or bits"),
        (("--dataset", "folder", "--channels", "17"), "17 is not in the range 1<=x<=16"),
        (("--dataset", "folder", "--bits", "12"), "'12' is not one of '8', '16'"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, arguments, told):
    ran = kerasseg("convert", *arguments, "--source", tmp_path, "--output", tmp_path / "data")
    assert ran.exit_code in (1, 2)
    assert told in ran.output
    assert not (tmp_path / "data").exists()


def test_the_page_shows_the_first_three_channels_or_the_only_one_as_gray(tmp_path):
    for channels, dtype in ((1, np.uint8), (2, np.uint16), (4, np.uint16)):
        root = tmp_path / str(channels)
        pixels = channel_trees.write(root, channels, dtype)["images/train/tile 0.tif"]
        bits = 8 * np.dtype(dtype).itemsize
        encoding = Encoding(channels=channels, bits=bits)
        convert.run("folder", root, root / "data", encoding=encoding)
        for report in (
            check.run(root, "folder", channels=channels, bits=bits),
            check.run(root / "data"),
        ):
            shown = next(p for p in report.pictures if p.file == "images/train/tile 0.tif")
            (root / "shown.jpg").write_bytes(shown.image)
            found = np.asarray(PIL.Image.open(root / "shown.jpg"), float)
            eight = pixels // (257 if bits == 16 else 1)
            first = eight[..., :3] if channels > 2 else np.repeat(eight[..., :1], 3, axis=-1)
            assert np.abs(found - first).mean() < 12  # a JPEG of noise
            assert "<img" in page.render(report)


def test_a_shard_of_another_dataset_is_found(tmp_path):
    channel_trees.write(tmp_path / "three", 3)
    channel_trees.write(tmp_path / "four", 4)
    three = convert.run("folder", tmp_path / "three", tmp_path / "data3")
    four = convert.run(
        "folder", tmp_path / "four", tmp_path / "data4", encoding=Encoding(channels=4)
    )
    name = three.splits["train"].shards[0]["file"]
    (four.root / name).write_bytes((three.root / name).read_bytes())
    kinds = {finding.kind for finding in check.run(four.root).findings}
    assert "damaged image" in kinds  # images of three channels
    manifest = json.loads((four.root / "manifest.json").read_text())
    del manifest["channels"], manifest["bits"]
    (four.root / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="format must be 1, got 2"):
        check.run(four.root)
