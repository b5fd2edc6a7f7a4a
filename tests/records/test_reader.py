import io

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from kerasseg.pipelines import records
from kerasseg.pipelines.errors import ImageFileError, InputError
from kerasseg.pipelines.records import reader, wire

FEATURES = {"filename": b"a.png", "image": b"\x89PNG" * 50, "segmentation_mask": b"\x00\xff"}


def encode(features):
    return b"".join(records.encode_example(features))


def tensorflow_example(**features):
    message = tf.train.Example()
    for key, values in features.items():
        message.features.feature[key].bytes_list.value.extend(values)
    return message


def write_with_tensorflow(path, contents):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in contents:
            writer.write(content)
    return path.read_bytes()


def read(content):
    return list(reader.frames(io.BytesIO(content), len(content)))


@given(st.fixed_dictionaries({key: st.binary(max_size=300) for key in FEATURES}))
def test_what_tensorflow_serialises_is_parsed(features):
    message = tensorflow_example(**{key: [value] for key, value in features.items()})
    assert reader.parse_example(message.SerializeToString()) == features


def test_a_key_with_a_long_value_is_parsed():
    features = {**FEATURES, "image": b"\x01" * 3_000_000}
    assert reader.parse_example(encode(features)) == features


@given(st.integers(0, len(encode(FEATURES)) - 1))
def test_a_record_that_is_cut_anywhere_is_refused(length):
    with pytest.raises(ImageFileError, match="record must"):
        reader.parse_example(encode(FEATURES)[:length])


@given(st.binary(max_size=60))
def test_bytes_of_every_kind_are_only_refused(content):
    with pytest.raises(ImageFileError, match="record must"):
        reader.parse_example(content)


@given(st.integers(0, 40), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_gives_the_three_features(position, change):
    content = bytearray(encode(FEATURES))
    content[position] ^= change
    try:
        features = reader.parse_example(bytes(content))
    except ImageFileError:
        return
    assert features.keys() == FEATURES.keys()


@pytest.mark.parametrize(
    ("features", "got"),
    [
        ({"image": [b"1"], "filename": [b"2"]}, "filename, image"),
        ({**{k: [v] for k, v in FEATURES.items()}, "size": [b"3"]}, "segmentation_mask, size"),
        ({**{k: [v] for k, v in FEATURES.items()}, "image": [b"1", b"2"]}, "one value"),
        ({**{k: [v] for k, v in FEATURES.items()}, "image": []}, "one value"),
    ],
)
def test_other_features_than_the_three_of_one_value_are_refused(features, got):
    with pytest.raises(ImageFileError, match=got):
        reader.parse_example(tensorflow_example(**features).SerializeToString())


def test_a_feature_of_numbers_is_refused():
    message = tensorflow_example(**{k: [v] for k, v in FEATURES.items() if k != "image"})
    message.features.feature["image"].int64_list.value.append(1)
    with pytest.raises(ImageFileError, match="list of bytes in feature 'image'"):
        reader.parse_example(message.SerializeToString())


def test_a_feature_that_is_there_twice_is_refused():
    entries = encode(FEATURES)
    inner = entries[entries.index(b"\n", 1) :]  # what stands behind tag and length of the features
    doubled = wire.field(1, [inner + inner])
    with pytest.raises(ImageFileError, match="feature 'filename' twice"):
        reader.parse_example(b"".join(doubled))


def test_a_number_without_end_is_refused():
    with pytest.raises(ImageFileError, match="number without end"):
        reader.parse_example(b"\x0a" + b"\xff" * 30)


@given(st.lists(st.binary(max_size=100), max_size=4))
def test_frames_are_those_that_tensorflow_wrote(tmp_path_factory, contents):
    content = write_with_tensorflow(tmp_path_factory.mktemp("frames") / "x", contents)
    found = read(content)
    assert [frame.content for frame in found] == contents
    assert all(frame.whole for frame in found)
    for frame in found:
        assert content[frame.offset :][: len(frame.content)] == frame.content


def test_a_damaged_content_is_reported_and_the_next_record_found(tmp_path):
    content = bytearray(write_with_tensorflow(tmp_path / "x", [b"first", b"second"]))
    content[12] ^= 1
    assert [(f.content[1:], f.whole) for f in read(bytes(content))] == [
        (b"irst", False),
        (b"econd", True),
    ]


@pytest.mark.parametrize("position", range(12))
def test_a_damaged_length_ends_the_file(tmp_path, position):
    content = bytearray(write_with_tensorflow(tmp_path / "x", [b"first", b"second"]))
    second = 12 + 5 + 4
    content[second + position] ^= 0x40
    frames = reader.frames(io.BytesIO(content), len(content))
    assert next(frames).content == b"first"
    with pytest.raises(InputError, match=f"damaged length of a record, at byte {second}"):
        next(frames)


@given(st.integers(22, 42))
def test_a_file_that_is_cut_short_in_its_second_record_is_distinguished_from_a_whole_one(length):
    file = io.BytesIO()
    writer = records.RecordWriter(file)
    writer.write([b"first"])
    writer.write([b"second"])
    content = file.getvalue()
    assert len(content) == 21 + 22
    frames = reader.frames(io.BytesIO(content[:length]), length)
    assert next(frames).content == b"first"
    with pytest.raises(InputError, match="is cut short"):
        next(frames)


def test_no_more_than_the_file_has_is_asked_for():
    class File(io.BytesIO):
        largest = 0

        def read(self, size, /):
            self.largest = max(self.largest, size)
            return super().read(size)

    # The length says 2^40, and its checksum is right.
    length = (2**40).to_bytes(8, "little")
    file = File(length + wire.masked_crc([length]) + b"123456789")
    with pytest.raises(InputError, match="of 1099511627776 bytes, of which 5 are there"):
        list(reader.frames(file, 21))
    assert file.largest == 12
