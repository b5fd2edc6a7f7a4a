import hashlib
import io
import json

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from kerasseg.pipelines import records
from kerasseg.pipelines.classes import ClassSpace
from kerasseg.pipelines.errors import InputError

# Where the varint of a length, or of the lengths around it, grows by a byte.
LENGTHS = [0, 1, 117, 118, 119, 127, 128, 129, 16375, 16376, 16383, 16384, 16385, 2**21]
CLASSES = ClassSpace(("road", "car"), ((128, 64, 128), (0, 0, 142)))


def encode_example(features):
    return b"".join(records.encode_example(features))


@given(st.dictionaries(st.text(), st.binary(max_size=300), max_size=5))
def test_an_example_parsed_by_tensorflow_holds_what_was_encoded(features):
    parsed = tf.train.Example.FromString(encode_example(features))
    assert byte_features(parsed) == features


@pytest.mark.parametrize("length", LENGTHS)
def test_an_example_of_any_length_is_parsed_by_tensorflow(length):
    features = {"image": b"\x80" * length, "k" * min(length, 20_000): b"value"}
    parsed = tf.train.Example.FromString(encode_example(features))
    assert byte_features(parsed) == features


def test_the_order_of_the_keys_does_not_change_the_bytes():
    one = encode_example({"image": b"1", "filename": b"2"})
    other = encode_example({"filename": b"2", "image": b"1"})
    assert one == other


def test_an_example_has_the_bytes_of_deterministic_serialisation():
    message = tf.train.Example()
    for key, value in (("image", b"\x00" * 200), ("filename", b"a.png")):
        message.features.feature[key].bytes_list.value.append(value)
    encoded = encode_example({"image": b"\x00" * 200, "filename": b"a.png"})
    assert encoded == message.SerializeToString(deterministic=True)


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_the_writer_counts_and_hashes_what_it_writes(contents):
    file = io.BytesIO()
    writer = records.RecordWriter(file)
    for content in contents:
        writer.write([content[:3], content[3:]])
    assert writer.examples == len(contents)
    assert writer.bytes == len(file.getvalue()) == sum(len(content) + 16 for content in contents)
    assert writer.sha256 == hashlib.sha256(file.getvalue()).hexdigest()


@pytest.mark.parametrize("length", LENGTHS)
def test_tensorflow_reads_the_records_and_finds_both_checksums_right(tmp_path, length):
    contents = [b"first", b"\xfe" * length, b""]
    path = write_records(tmp_path / "some.tfrecord", contents)
    assert read_records(path) == contents


@pytest.mark.parametrize(
    "position", [0, 7, 8, 11, 12, 16, 17, 20], ids=lambda position: f"byte {position}"
)
def test_a_flipped_byte_anywhere_in_a_record_is_data_loss(tmp_path, position):
    # length 0..7, its checksum 8..11, content 12..16, its checksum 17..20
    path = write_records(tmp_path / "some.tfrecord", [b"12345"])
    content = bytearray(path.read_bytes())
    assert len(content) == 21
    content[position] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(tf.errors.DataLossError):
        read_records(path)


def test_a_missing_folder_is_refused_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder.*kerasseg convert"):
        records.load(tmp_path / "nowhere")


def test_a_folder_without_a_dataset_is_refused_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(InputError, match=r"got no manifest\.json.*kerasseg convert"):
        records.load(tmp_path)


@pytest.mark.parametrize("above", ["camvid/1.0.0", "camvid", "."])
def test_a_dataset_is_found_by_its_folder_and_by_the_folders_above(tmp_path, above):
    write_dataset(tmp_path / "camvid" / "1.0.0")
    dataset = records.load(str(tmp_path / above))
    assert dataset.root == tmp_path / "camvid" / "1.0.0"
    assert dataset.name == "camvid"
    assert dataset.classes == CLASSES
    assert dataset.fingerprint == "0123456789abcdef"
    assert list(dataset.splits) == ["train", "validation"]
    assert dataset.splits["train"].examples == 1
    assert dataset.splits["train"].class_pixels == [3, 4]


def test_two_datasets_below_a_folder_are_refused_and_both_named(tmp_path):
    for name in ("ade20k", "camvid"):
        write_dataset(tmp_path / name / "1.0.0")
    with pytest.raises(InputError, match=r"several datasets.*ade20k/1\.0\.0.*camvid/1\.0\.0"):
        records.load(tmp_path)


@pytest.mark.parametrize("leftover", ["1.0.0.incomplete", "1.0.0.replaced"])
def test_what_an_interrupted_conversion_left_is_never_taken_for_a_dataset(tmp_path, leftover):
    write_dataset(tmp_path / "camvid" / leftover)
    for folder in (tmp_path, tmp_path / "camvid", tmp_path / "camvid" / leftover):
        with pytest.raises(InputError, match="must hold a converted dataset"):
            records.load(folder)
    write_dataset(tmp_path / "camvid" / "1.0.0")
    assert records.load(tmp_path).root == tmp_path / "camvid" / "1.0.0"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', "\x00"])
def test_a_damaged_manifest_is_refused_by_name_with_the_remedy(tmp_path, content):
    path = tmp_path / records.MANIFEST
    path.write_text(content)
    with pytest.raises(InputError, match=r"manifest\.json: damaged.*--overwrite"):
        records.load(tmp_path)


def test_a_manifest_of_another_format_is_refused_with_both_numbers(tmp_path):
    path = write_dataset(tmp_path) / records.MANIFEST
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(InputError, match=r"format must be 1, got 99.*--overwrite"):
        records.load(tmp_path)


def test_the_files_of_a_split_are_its_shards_in_order(tmp_path):
    write_dataset(tmp_path)
    assert records.load(tmp_path).files("train") == [
        str(tmp_path / "camvid-train.tfrecord-00000-of-00002"),
        str(tmp_path / "camvid-train.tfrecord-00001-of-00002"),
    ]


def test_an_unknown_split_is_refused_with_the_known_ones(tmp_path):
    write_dataset(tmp_path)
    with pytest.raises(InputError, match=r"must be one of train, validation, got 'val'"):
        records.load(tmp_path).files("val")


def test_a_missing_shard_is_refused_by_name_with_the_remedy(tmp_path):
    write_dataset(tmp_path)
    (tmp_path / "camvid-train.tfrecord-00001-of-00002").unlink()
    with pytest.raises(InputError, match=r"-00001-of-00002: .*17 bytes, got no file.*--overwrite"):
        records.load(tmp_path).files("train")


def test_a_shard_that_is_cut_short_is_refused_by_name_with_both_sizes(tmp_path):
    write_dataset(tmp_path)
    path = tmp_path / "camvid-train.tfrecord-00001-of-00002"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"-00001-of-00002: must have 17 bytes, got 16"):
        records.load(tmp_path).files("train")


def test_classes_that_were_edited_in_the_manifest_are_found(tmp_path):
    folder = write_dataset(tmp_path)
    manifest = folder / records.MANIFEST
    manifest.write_text(manifest.read_text().replace("car", "van"))
    with pytest.raises(InputError, match=r"damaged manifest \(classes_fingerprint must be"):
        records.load(folder)


def test_the_fingerprint_changes_with_a_shard_and_with_a_class():
    def split(sha256):
        return {"train": records.Split("train", 1, [{"sha256": sha256}], [1], [1], 0)}

    first = records.fingerprint(CLASSES, split("aa"))
    assert first == records.fingerprint(CLASSES, split("aa"))
    assert first != records.fingerprint(CLASSES, split("ab"))
    assert first != records.fingerprint(ClassSpace(("way", "car"), CLASSES.colors), split("aa"))


def byte_features(example: tf.train.Example):
    features = example.features.feature
    assert all(len(feature.bytes_list.value) == 1 for feature in features.values())
    return {key: feature.bytes_list.value[0] for key, feature in features.items()}


def write_records(path, contents):
    with path.open("wb") as file:
        writer = records.RecordWriter(file)
        for content in contents:
            writer.write([content[:3], content[3:]])
    assert writer.bytes == path.stat().st_size
    assert writer.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    return path


def read_records(path):
    return [record.numpy() for record in tf.data.TFRecordDataset(str(path))]


def write_dataset(folder):
    folder.mkdir(parents=True, exist_ok=True)
    splits = {}
    for split in ("train", "validation"):
        shards = []
        for index in range(2):
            path = folder / f"camvid-{split}.tfrecord-{index:05d}-of-00002"
            path.write_bytes(b"\x01" * (16 + index))
            shards.append(
                {"file": path.name, "examples": 1 - index, "bytes": 16 + index, "sha256": "aa"}
            )
        splits[split] = {
            "examples": 1,
            "shards": shards,
            "class_pixels": [3, 4],
            "pixels_with_class": [7, 7],
            "ignored_pixels": 5,
        }
    manifest = {
        "format": 1,
        "dataset": "camvid",
        "class_names": CLASSES.names,
        "colors": CLASSES.colors,
        "classes_fingerprint": CLASSES.fingerprint,
        "fingerprint": "0123456789abcdef",
        "splits": splits,
    }
    (folder / records.MANIFEST).write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize(
    "change",
    [
        {"splits": []},
        {"channels": 0},
        {"channels": "4"},
        {"bits": 12},
        {"splits": {}},
        {"splits": {"train": []}},
        {"splits": {"train": {"shards": [{"file": "a"}]}}},
        {"examples": "1"},
        {"class_pixels": [3, "4"]},
        {"ignored_pixels": -1},
        {"shards": [{"file": "../a", "examples": 1, "bytes": 1, "sha256": "a"}]},
        {"shards": [{"file": "\ud800", "examples": 1, "bytes": 1, "sha256": "a"}]},
        {"shards": [{"file": "a", "examples": 1, "bytes": "1", "sha256": "a"}]},
    ],
)
def test_a_manifest_with_values_of_other_types_is_refused(tmp_path, change):
    path = write_dataset(tmp_path) / records.MANIFEST
    manifest = json.loads(path.read_text())
    top = change.keys() & {"splits", "channels", "bits"}
    where = manifest if top else manifest["splits"]["train"]
    path.write_text(json.dumps(manifest | change if where is manifest else manifest))
    if where is not manifest:
        where.update(change)
        path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"manifest\.json: damaged manifest"):
        records.load(tmp_path)


def test_the_manifest_tells_channels_and_bits_in_a_format_that_older_releases_refuse(tmp_path):
    path = write_dataset(tmp_path) / records.MANIFEST
    assert (records.load(tmp_path).channels, records.load(tmp_path).bits) == (3, 8)
    manifest = json.loads(path.read_text()) | {"channels": 4, "bits": 16}
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"format must be 2, got 1; convert again"):
        records.load(tmp_path)
    path.write_text(json.dumps(manifest | {"format": 2}))
    assert (records.load(tmp_path).channels, records.load(tmp_path).bits) == (4, 16)


def test_a_shard_whose_name_is_too_long_for_a_file_is_missing(tmp_path):
    path = write_dataset(tmp_path) / records.MANIFEST
    path.write_text(path.read_text().replace("camvid-train", "c" * 500))
    with pytest.raises(InputError, match="must have 16 bytes, got no file"):
        records.load(tmp_path).files("train")


def test_a_manifest_that_is_nested_without_end_is_refused(tmp_path):
    (tmp_path / records.MANIFEST).write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"manifest\.json: damaged manifest"):
        records.load(tmp_path)
