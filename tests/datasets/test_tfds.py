import importlib
import io
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from kerasseg.pipelines import convert
from kerasseg.pipelines.errors import InputError

# Named so that `tfds` stays the library.
tfds_source = importlib.import_module("kerasseg.pipelines.datasets.tfds")
NAMES = ["ground", "thing", "sky"]


def picture(index):
    """A JPEG file of odd size, of noise, so that no encoder would give these bytes again."""
    pixels = np.random.default_rng(index).integers(0, 256, (*size(index), 3), np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "JPEG", quality=81)
    return buffer.getvalue()


def size(index):
    return 9 + 2 * index, 31 - 2 * index


def mask(index, values):
    return np.random.default_rng(100 + index).choice(np.array(values, np.uint8), size(index))


class Noise(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")
    SPLITS: ClassVar = {"train": range(6), "validation": range(6, 9), "test": range(9, 11)}
    VALUES = (0, 1, 2, 255)
    FEATURES: ClassVar = {
        "image": tfds.features.Image(encoding_format="jpeg"),
        "other": tfds.features.Image(),
        "the_mask": tfds.features.LabeledImage(labels=NAMES, encoding_format="png"),
    }

    def _info(self):
        features = tfds.features.FeaturesDict(self.FEATURES)
        return tfds.core.DatasetInfo(builder=self, features=features, homepage="https://a.example")

    def _split_generators(self, dl_manager):
        return {name: self._examples(indices) for name, indices in self.SPLITS.items()}

    def _examples(self, indices):
        for index in indices:
            yield index, {key: self.value(key, index) for key in self.FEATURES}

    def value(self, key, index):
        feature = self.FEATURES[key]
        if isinstance(feature, tfds.features.Text):
            return self.name_of(index)
        if key in ("image", "image_left"):
            return io.BytesIO(picture(index))
        if key in ("other", "image_right"):
            return np.zeros((3, 5, 3), np.uint8)
        return mask(index, self.VALUES)[..., None]

    def name_of(self, index):
        return f"sub/{index}"

    def _generate_examples(self):
        raise NotImplementedError


class KsegNamedMasks(Noise, skip_registration=True):
    pass


class KsegFilenames(Noise, skip_registration=True):
    FEATURES: ClassVar = {**Noise.FEATURES, "filename": tfds.features.Text()}


class KsegRepeatedFilenames(KsegFilenames, skip_registration=True):
    def name_of(self, index):
        return f"{index % 8}.jpg"  # 0 and 8 are in different splits


class KsegPlainMasks(Noise, skip_registration=True):
    VALUES = (3, 9, 200)
    FEATURES: ClassVar = {
        "image": tfds.features.Image(),
        "segmentation_mask": tfds.features.Image(shape=(None, None, 1)),
    }


class OxfordIiitPet(Noise, skip_registration=True):
    """The features of the real one, without those that do not matter."""

    VERSION = tfds.core.Version("4.0.0")
    SPLITS: ClassVar = {"train": range(5), "test": range(5, 8)}
    VALUES = (1, 2, 3)
    FEATURES: ClassVar = {
        "image": tfds.features.Image(encoding_format="jpeg"),
        "file_name": tfds.features.Text(),
        "segmentation_mask": tfds.features.Image(shape=(None, None, 1), use_colormap=True),
    }

    def name_of(self, index):
        return f"Abyssinian_{index}.jpg"


class Cityscapes(Noise, skip_registration=True):
    VALUES = tuple(range(34))
    FEATURES: ClassVar = {
        "image_id": tfds.features.Text(),
        "image_left": tfds.features.Image(encoding_format="png"),
        "image_right": tfds.features.Image(encoding_format="png"),
        "segmentation_label": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
    }

    def name_of(self, index):
        return f"ulm_{index:06}_000019"


class KsegNoMask(Noise, skip_registration=True):
    FEATURES: ClassVar = {"image": tfds.features.Image(), "other": tfds.features.Image()}


class KsegFloatMask(Noise, skip_registration=True):
    FEATURES: ClassVar = {
        "image": tfds.features.Image(),
        "mask": tfds.features.Image(shape=(None, None, 1), dtype=np.float32),
    }

    def value(self, key, index):
        content = super().value(key, index)
        return content.astype(np.float32) if key == "mask" else content


class KsegMasks(Noise, skip_registration=True):
    """A mask under a name that is not known, and nothing to be tested on."""

    SPLITS: ClassVar = {"train": range(10)}
    VALUES = (0, 1)
    FEATURES: ClassVar = {
        "photo": tfds.features.Image(),
        "image_right": tfds.features.Image(),
        "masks": tfds.features.Image(shape=(None, None, 1)),
    }

    def value(self, key, index):
        return io.BytesIO(picture(index)) if key == "photo" else super().value(key, index)


class KsegOffline(Noise, skip_registration=True):
    def _split_generators(self, dl_manager):
        raise ConnectionError("no route to host\nexample.org")


@pytest.fixture
def prepare(tmp_path, monkeypatch):
    """Prepares a builder of this file, which `tfds.builder` then finds; returns its `data_dir`."""

    def run(cls):
        monkeypatch.setattr(tfds, "builder", lambda name, data_dir: cls(data_dir=data_dir))
        if cls is not KsegOffline:
            cls(data_dir=tmp_path / "tfds").download_and_prepare()
        return tmp_path / "tfds"

    return run


def indices(splits):
    """Tells which index each row is of, by the bytes of its image, as the builder stored them."""
    known = {picture(index): index for index in range(12)}
    return {
        split: {known[image]: (filename, label) for filename, (image, label) in rows.items()}
        for split, rows in splits.items()
    }


def listed(builder, root, split):
    return tfds_source.examples(root, split, builder=builder)


def test_masks_with_names_become_labels_pixel_by_pixel(prepare, convert_and_read):
    source = prepare(KsegNamedMasks)
    splits, converted = convert_and_read("tfds:kseg_named_masks", source)
    found = indices(splits)
    assert {split: sorted(rows) for split, rows in found.items()} == {
        "train": [0, 1, 2, 3, 4, 5],
        "validation": [6, 7, 8],
        "test": [9, 10],
    }
    assert list(converted.classes.names) == NAMES
    for split, rows in found.items():
        for index, (filename, label) in rows.items():
            np.testing.assert_array_equal(label, mask(index, (0, 1, 2, 255)))
            assert filename.startswith(f"{split}/0000000")
            assert filename.endswith(".jpg")


def test_what_is_on_disk_needs_no_code_of_the_builder(prepare, convert_and_read, monkeypatch):
    source = prepare(KsegNamedMasks)
    monkeypatch.undo()
    splits, converted = convert_and_read("tfds:kseg_named_masks", source)
    assert list(converted.classes.names) == NAMES
    for rows in indices(splits).values():
        for index, (_, label) in rows.items():
            np.testing.assert_array_equal(label, mask(index, (0, 1, 2, 255)))


def test_a_version_may_be_asked_for(prepare, monkeypatch):
    source = prepare(KsegNamedMasks)
    monkeypatch.undo()
    assert len(listed("kseg_named_masks:1.0.0", source, "train")) == 6
    with pytest.raises(InputError, match=r"tfds:kseg_named_masks:2\.0\.0: must be"):
        listed("kseg_named_masks:2.0.0", source, "train")


def test_the_datasets_own_file_names_are_kept(prepare):
    source = prepare(KsegFilenames)
    names = {split: {e.filename for e in listed("kseg", source, split)} for split in Noise.SPLITS}
    assert names == {
        split: {f"sub/{index}.jpg" for index in indices} for split, indices in Noise.SPLITS.items()
    }


def test_file_names_that_are_not_unique_are_replaced_by_numbers(prepare):
    source = prepare(KsegRepeatedFilenames)
    names = [e.filename for split in Noise.SPLITS for e in listed("kseg", source, split)]
    assert len(set(names)) == 11
    assert "train/00000005.jpg" in names
    assert "test/00000001.jpg" in names


def test_the_test_split_of_the_pets_is_validation_and_their_trimaps_two_classes(
    prepare, convert_and_read
):
    source = prepare(OxfordIiitPet)
    splits, converted = convert_and_read("tfds:oxford_iiit_pet", source)
    assert converted.classes.names == ("pet", "background")
    found = indices(splits)
    assert {split: sorted(rows) for split, rows in found.items()} == {
        "train": [0, 1, 2, 3, 4],
        "validation": [5, 6, 7],
    }
    for rows in found.values():
        for index, (filename, label) in rows.items():
            assert filename == f"Abyssinian_{index}.jpg"
            trimap = mask(index, (1, 2, 3))
            expected = np.select([trimap == 1, trimap == 2, trimap == 3], [0, 1, 255])
            np.testing.assert_array_equal(label, expected)


def test_cityscapes_has_its_19_classes_and_no_test_split(prepare, convert_and_read):
    source = prepare(Cityscapes)
    splits, converted = convert_and_read("tfds:cityscapes", source)
    assert set(splits) == {"train", "validation"}
    assert converted.classes.names[0] == "road"
    assert converted.classes.names[18] == "bicycle"
    label_ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    for rows in indices(splits).values():
        for index, (filename, label) in rows.items():
            assert filename == f"ulm_{index:06}_000019.jpg"
            raw = mask(index, range(34))
            expected = np.full(raw.shape, 255)
            for train_id, label_id in enumerate(label_ids):
                expected[raw == label_id] = train_id
            np.testing.assert_array_equal(label, expected)


def test_a_palette_names_the_classes_of_masks_without_names(prepare, convert_and_read, tmp_path):
    source = prepare(KsegPlainMasks)
    with pytest.raises(InputError, match="does not name its classes; palette must be a file"):
        tfds_source.describe(source, builder="kseg_plain_masks")
    (tmp_path / "classes.txt").write_text("9: wing 1 2 3\n200: ignore\n3: body\n")
    splits, converted = convert_and_read(
        "tfds:kseg_plain_masks", source, palette=tmp_path / "classes.txt"
    )
    assert converted.classes.names == ("wing", "body")
    for rows in indices(splits).values():
        for index, (_, label) in rows.items():
            raw = mask(index, (3, 9, 200))
            expected = np.select([raw == 9, raw == 3, raw == 200], [0, 1, 255])
            np.testing.assert_array_equal(label, expected)


def test_a_dataset_without_masks_is_refused_with_its_features(prepare):
    source = prepare(KsegNoMask)
    with pytest.raises(InputError, match=r"image and a segmentation mask, got .* image, other"):
        tfds_source.describe(source, builder="kseg_no_mask")


def test_features_and_splits_that_are_not_known_can_be_named(prepare, convert_and_read, tmp_path):
    source = prepare(KsegMasks)
    (tmp_path / "classes.txt").write_text("ground\nthing\n")
    options = {"palette": tmp_path / "classes.txt", "label_feature": "masks"}
    with pytest.raises(InputError, match=r"photo, image_right, masks, of which .*--label-feature"):
        tfds_source.describe(source, builder="kseg_masks", palette=options["palette"])
    options |= {"image_feature": "photo"}
    with pytest.raises(InputError, match=r"validation must have images.*--split-fractions 0\.8,0"):
        convert.run("tfds:kseg_masks", source, tmp_path / "data", **options)
    splits, _ = convert_and_read(
        "tfds:kseg_masks", source, split_fractions=(0.7, 0.3, 0), **options
    )
    found = indices(splits)
    assert {split: len(rows) for split, rows in found.items()} == {"train": 7, "validation": 3}
    assert sorted(index for rows in found.values() for index in rows) == list(range(10))
    for rows in found.values():
        for index, (_, label) in rows.items():
            np.testing.assert_array_equal(label, mask(index, (0, 1)))


@pytest.mark.parametrize(("image", "label"), [("masks", "masks"), ("no", "masks"), ("photo", "no")])
def test_features_that_are_no_image_and_mask_are_refused(prepare, image, label):
    source = prepare(KsegMasks)
    with pytest.raises(InputError, match=f"name them, got {image} and {label}"):
        tfds_source.describe(source, builder="kseg_masks", image_feature=image, label_feature=label)


def test_fractions_keep_the_test_split_as_it_is(prepare):
    source = prepare(OxfordIiitPet)
    listed = {
        split: tfds_source.examples(
            source, split, builder="oxford_iiit_pet", split_fractions=(0.8, 0.2, 0.0)
        )
        for split in ("train", "validation", "test")
    }
    assert {split: len(examples) for split, examples in listed.items()} == {
        "train": 4,
        "validation": 1,
        "test": 3,
    }
    assert {e.filename for e in listed["test"]} == {f"Abyssinian_{i}.jpg" for i in (5, 6, 7)}
    with pytest.raises(InputError, match=r"left out.*as splits of its own \(train, test\)"):
        tfds_source.examples(
            source, "train", builder="oxford_iiit_pet", split_fractions=(0.8, 0.1, 0.1)
        )


def test_a_source_that_is_a_copy_of_another_time_is_the_same(prepare, tmp_path):
    source = prepare(KsegNamedMasks)
    convert.run("tfds:kseg_named_masks", source, tmp_path / "data")
    for path in source.rglob("*.tfrecord*"):
        path.touch()
    remarks = []
    convert.run("tfds:kseg_named_masks", source, tmp_path / "data", on_remark=remarks.append)
    assert remarks == ["already converted, nothing done"]


def test_masks_of_fractions_are_refused(prepare):
    source = prepare(KsegFloatMask)
    with pytest.raises(InputError, match=r"mask must hold whole numbers, got .*float32"):
        tfds_source.describe(source, builder="kseg_float_mask")


def test_a_download_that_fails_says_why(prepare):
    source = prepare(KsegOffline)
    message = r"tfds:kseg_offline: must be .* prepared, got ConnectionError: no route to host exam"
    with pytest.raises(InputError, match=message):
        tfds_source.describe(source, builder="kseg_offline")


def test_an_unknown_dataset_is_refused_without_the_list_of_all(tmp_path):
    with pytest.raises(InputError, match=r"tfds:nonesuch: .*DatasetNotFoundError") as refusal:
        tfds_source.describe(tmp_path, builder="nonesuch")
    assert len(str(refusal.value)) < 300


def test_scene_parse150_is_refused_with_the_dataset_to_take(tmp_path):
    with pytest.raises(InputError, match=r"instances of 100 classes.*--dataset ade20k"):
        tfds_source.describe(tmp_path, builder="scene_parse150:1.0.0")


def test_records_of_another_format_are_refused(prepare):
    source = prepare(KsegNamedMasks)
    info = source / "kseg_named_masks" / "1.0.0" / "dataset_info.json"
    info.write_text(info.read_text().replace('"tfrecord"', '"array_record"', 1))
    with pytest.raises(InputError, match=r"must be stored as tfrecord, got .*ARRAY_RECORD"):
        listed("kseg_named_masks", source, "train")


def record_file(source, split):
    (path,) = source.glob(f"*/*/*-{split}.tfrecord-*")
    return path


def test_a_file_that_is_cut_short_is_refused(prepare):
    source = prepare(KsegNamedMasks)
    path = record_file(source, "train")
    for length in (path.stat().st_size - 1, 5):
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(InputError, match=r"train\.tfrecord.*is damaged or cut short"):
            listed("kseg_named_masks", source, "train")
    path.unlink()
    with pytest.raises(InputError, match=r"train\.tfrecord.*must be a file on this machine"):
        listed("kseg_named_masks", source, "train")


def test_a_damaged_record_is_reported_by_its_name(prepare, tmp_path):
    source = prepare(KsegNamedMasks)
    path = record_file(source, "train")
    content = bytearray(path.read_bytes())
    content[content.index(picture(3)) + 300] ^= 1
    path.write_bytes(content)
    with pytest.raises(convert.ConversionError) as refusal:
        convert.run("tfds:kseg_named_masks", source, tmp_path / "data")
    (problem,) = refusal.value.problems
    assert problem.file.startswith("train/")
    assert problem.what == "record is damaged: its checksum is wrong"


def test_a_record_of_something_else_is_refused(prepare):
    source = prepare(KsegNamedMasks)
    path = str(record_file(source, "train"))
    for record, message in (
        (b"\x08\x01", "must be a tf.train.Example, got a field of wire type 0"),
        (b"\x0a\x7f\x0a", "must be a tf.train.Example, got a field of 127 bytes where 1 are left"),
        (tf.train.Example().SerializeToString(), "every record must hold image and the_mask"),
    ):
        with tf.io.TFRecordWriter(path) as writer:
            writer.write(record)
        with pytest.raises(InputError, match=message):
            listed("kseg_named_masks", source, "train")


def test_records_are_read_as_tensorflow_reads_them(tmp_path):
    features = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes(70000)])),
        "many": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"a", b"b"])),
        "number": tf.train.Feature(int64_list=tf.train.Int64List(value=[2**60])),
        "real": tf.train.Feature(float_list=tf.train.FloatList(value=[0.5] * 300)),
        "empty": tf.train.Feature(),
        "straße": tf.train.Feature(bytes_list=tf.train.BytesList(value=["道路".encode()])),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    path = str(tmp_path / "a.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for record in (b"", example.SerializeToString()):
            writer.write(record)
    reader = importlib.import_module("kerasseg.pipelines.datasets._tfrecords")
    (_, empty), (offset, record) = reader.frames(path)
    assert reader.features(empty) == {}
    found = reader.features(record)
    assert {key: bytes(value) for key, value in found.items()} == {
        "image": bytes(70000),
        "straße": "道路".encode(),
    }
    assert reader.read(path, offset, len(record)) == example.SerializeToString()
    length = struct.unpack_from("<Q", Path(path).read_bytes(), offset - 12)[0]
    assert length == len(record)


def test_no_folder_is_taken_for_one(tmp_path):
    assert not tfds_source.is_source(tmp_path)
