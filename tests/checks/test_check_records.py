"""`kerasseg check` on converted datasets."""

import hashlib
import io
import json
import re
import shutil
import struct

import numpy as np
import PIL.Image
import pytest
from checked_trees import (
    found,
    label_path,
    read_pixels,
    save_as,
    shorten,
    the_only_finding,
)

from kerasseg.pipelines import check, convert, records
from kerasseg.pipelines.checks import report as check_report
from kerasseg.pipelines.errors import InputError

# Converted datasets


@pytest.fixture
def converted(folder_tree, tmp_path):
    return convert.run("folder", folder_tree, tmp_path / "data")


def shard_of(dataset, split="train"):
    return dataset.root / dataset.splits[split].shards[0]["file"]


def change_manifest(dataset, change):
    path = dataset.root / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    return manifest


def write_shard(dataset, split, examples):
    """Writes a split anew, framing and manifest right, with these features of each record."""
    file = io.BytesIO()
    writer = records.RecordWriter(file)
    for features in examples:
        writer.write(records.encode_example(features))
    shard_of(dataset, split).write_bytes(file.getvalue())

    def change(manifest):
        manifest["splits"][split]["examples"] = len(examples)
        manifest["splits"][split]["shards"] = [
            {
                "file": shard_of(dataset, split).name,
                "examples": len(examples),
                "bytes": len(file.getvalue()),
                "sha256": hashlib.sha256(file.getvalue()).hexdigest(),
            }
        ]
        manifest["splits"][split]["class_pixels"] = []

    manifest = change_manifest(dataset, change)
    splits = {name: records.Split(name, **s) for name, s in manifest["splits"].items()}
    new = records.fingerprint(dataset.classes, splits)
    change_manifest(dataset, lambda manifest: manifest.update(fingerprint=new))


def read_examples(dataset, split="train"):
    """Reads the features with TensorFlow."""
    import tensorflow as tf

    examples = []
    for record in tf.data.TFRecordDataset(dataset.files(split)):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        examples.append({key: f.bytes_list.value[0] for key, f in features.items()})
    return examples


def png(pixels, **options):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_a_conversion_has_nothing_wrong_and_the_counts_of_its_source(
    converted, folder_tree, tmp_path
):
    report = check.run(tmp_path / "data", full=True)
    assert report.findings == []
    assert (report.dataset, report.is_converted) == ("folder", True)
    for ours, raw in zip(report.splits, check.run(folder_tree).splits, strict=True):
        assert (ours.class_pixels, ours.images_with_class) == (
            raw.class_pixels,
            raw.images_with_class,
        )
        assert ours.class_pixels == converted.splits[ours.name].class_pixels
        assert ours.label_kinds == {"8-bit gray": 3}
        assert ours.image_kinds == raw.image_kinds


def test_records_written_again_have_nothing_wrong(converted):
    """The helper itself adds no fault."""
    write_shard(converted, "train", read_examples(converted))
    assert check.run(converted.root).findings == []


def test_a_conversion_whose_labels_were_not_counted_has_nothing_wrong(folder_tree, tmp_path):
    for split in ("train", "val"):
        label = read_pixels(label_path(folder_tree, "three", split))
        save_as(label_path(folder_tree, "three", split), label)  # gray, as copying demands
    encoding = convert.Encoding(verify="checksums")
    dataset = convert.run("folder", folder_tree, tmp_path / "data", encoding=encoding)
    assert dataset.splits["train"].class_pixels == []
    report = check.run(dataset.root)
    assert report.findings == []
    assert sum(report.splits[0].class_pixels) > 0


@pytest.mark.parametrize("place", ["length", "its checksum", "content", "its own checksum"])
def test_a_flipped_byte_is_one_error_that_names_the_place(converted, place):
    content = bytearray(shard_of(converted).read_bytes())
    (length,) = struct.unpack("<Q", content[:8])
    second = 12 + length + 4
    position = {
        "length": second + 2,
        "its checksum": second + 9,
        "content": second + 12 + 100,
        "its own checksum": second + 12 + struct.unpack_from("<Q", content, second)[0] + 1,
    }[place]
    content[position] ^= 4
    shard_of(converted).write_bytes(content)
    finding = the_only_finding(check.run(converted.root))
    assert (finding.severity, finding.split) == ("error", "train")
    assert finding.file == shard_of(converted).name
    if "length" in place or place == "its checksum":
        assert finding.what == f"shard has a damaged length of a record, at byte {second}"
    else:
        assert finding.what == f"record 1, at byte {second + 12}, has a wrong checksum"
        assert check.run(converted.root).splits[0].labels == 2


def test_a_shard_cut_short_is_one_error(converted):
    shorten(shard_of(converted), -10)
    finding = the_only_finding(check.run(converted.root))
    assert finding.kind == "damaged shard"
    assert "is cut short in a record of" in finding.what


def test_a_shard_that_lacks_whole_records_is_one_error(converted):
    content = shard_of(converted).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    shard_of(converted).write_bytes(content[: 12 + length + 4])
    finding = the_only_finding(check.run(converted.root))
    assert finding.kind == "changed shard"
    assert finding.what == f"shard must have {len(content)} bytes, got {length + 16}"


def test_a_shard_that_is_not_there_is_one_error(converted):
    shard_of(converted).unlink()
    finding = the_only_finding(check.run(converted.root))
    assert (finding.kind, finding.file) == ("missing shard", shard_of(converted).name)


def test_exchanged_shards_are_an_error_each_that_names_the_other(converted):
    paths = [shard_of(converted, split) for split in ("train", "validation")]
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, reversed(contents), strict=True):
        path.write_bytes(content)
    findings = found(check.run(converted.root))
    shards = [f for f in findings if f.kind == "exchanged shard"]
    assert [(f.file, f.what.rsplit(" ")[-1]) for f in shards] == [
        (paths[0].name, paths[1].name),
        (paths[1].name, paths[0].name),
    ]


def test_a_shard_of_the_same_length_but_other_content_is_an_error(converted):
    examples = read_examples(converted)
    before = shard_of(converted).stat().st_size
    examples.sort(key=lambda example: example["filename"])
    manifest = (converted.root / "manifest.json").read_text()
    write_shard(converted, "train", [examples[1], examples[0], examples[2]])
    (converted.root / "manifest.json").write_text(manifest)
    assert shard_of(converted).stat().st_size == before
    finding = the_only_finding(check.run(converted.root))
    assert (finding.kind, finding.file) == ("changed shard", shard_of(converted).name)
    assert "sha256" in finding.what


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            lambda split: split["class_pixels"].__setitem__(1, split["class_pixels"][1] + 7),
            r"class_pixels must be \d+ of side walk, got \d+",
        ),
        (lambda split: split["class_pixels"].pop(), "class_pixels must be of 3 classes, got 2"),
        (lambda split: split.update(ignored_pixels=1), r"ignored_pixels must be \d\d+, got 1$"),
        (
            lambda split: split["pixels_with_class"].__setitem__(0, 5),
            r"pixels_with_class must be \d+ of road, got 5",
        ),
        (
            lambda split: split.update(examples=4),
            "examples must be 3, the sum of the shards, got 4",
        ),
        (
            lambda split: (split.update(examples=4), split["shards"][0].update(examples=4)),
            "examples of folder-train.* must be 3, got 4",
        ),
    ],
)
def test_a_manifest_that_was_edited_is_an_error(converted, change, what):
    change_manifest(converted, lambda manifest: change(manifest["splits"]["train"]))
    finding = the_only_finding(check.run(converted.root))
    assert (finding.severity, finding.kind) == ("error", "manifest")
    assert (finding.split, finding.file) == ("train", "manifest.json")
    assert re.search(what, finding.what)


def test_the_histogram_of_the_manifest_is_quoted_with_what_was_counted(converted):
    def change(manifest):
        manifest["splits"]["train"]["class_pixels"][1] += 7

    change_manifest(converted, change)
    pixels = converted.splits["train"].class_pixels[1]
    what = the_only_finding(check.run(converted.root)).what
    assert what == f"class_pixels must be {pixels} of side walk, got {pixels + 7}"


def test_a_fingerprint_that_is_not_that_of_the_shards_is_an_error(converted):
    change_manifest(converted, lambda manifest: manifest.update(fingerprint="0123"))
    finding = the_only_finding(check.run(converted.root))
    assert (finding.severity, finding.kind) == ("error", "manifest")
    assert finding.what == f"fingerprint must be {converted.fingerprint}, got 0123"


def test_a_manifest_that_describes_its_shards_otherwise_is_refused(converted):
    change_manifest(converted, lambda m: m["splits"]["train"]["shards"][0].pop("sha256"))
    with pytest.raises(InputError, match="shards must have file, examples, bytes and sha256"):
        check.run(converted.root)


def relabel(dataset, **changes):
    examples = read_examples(dataset)
    examples[0].update(changes)
    write_shard(dataset, "train", examples)
    return examples[0]["filename"].decode()


def test_a_value_outside_the_classes_is_found_in_a_record_whose_checksums_are_right(converted):
    size = read_pixels(io.BytesIO(read_examples(converted)[0]["image"])).shape[:2]
    label = np.ones(size, np.uint8)
    label[0, :5] = 3
    name = relabel(converted, segmentation_mask=png(label))
    report = check.run(converted.root)
    finding = the_only_finding(report)
    assert (finding.kind, finding.file) == ("label values", name)
    assert finding.what == "label values must be 0 to 2 or 255, got 3 (5 pixels)"
    assert report.unlisted == [check_report.UnlistedValue(3, 5, 1)]


def test_a_label_of_another_size_is_found_in_a_record(converted):
    name = relabel(converted, segmentation_mask=png(np.ones((5, 6), np.uint8)))
    finding = the_only_finding(check.run(converted.root))
    assert (finding.kind, finding.file) == ("size mismatch", name)


def test_a_label_that_is_no_8_bit_gray_png_is_found_in_a_record(converted):
    size = read_pixels(io.BytesIO(read_examples(converted)[0]["image"])).shape[:2]
    name = relabel(converted, segmentation_mask=png(np.ones(size, np.uint16)))
    finding = the_only_finding(check.run(converted.root))
    assert (finding.kind, finding.file) == ("label format", name)
    assert "8-bit gray PNG" in finding.what


def test_a_damaged_image_is_found_in_a_record(converted):
    name = relabel(converted, image=read_examples(converted)[0]["image"][:-30])
    finding = the_only_finding(check.run(converted.root))
    assert (finding.kind, finding.file) == ("damaged image", name)


def test_an_image_of_16_bits_is_found_in_a_record(converted):
    name = relabel(converted, image=png(np.full((9, 9), 4095, np.uint16)))
    finding = the_only_finding(check.run(converted.root))
    assert (finding.kind, finding.file) == ("deep image", name)


def test_a_record_that_is_no_example_is_found(converted):
    examples = read_examples(converted)
    del examples[1]["image"]
    write_shard(converted, "train", examples)
    finding = the_only_finding(check.run(converted.root))
    assert finding.kind == "damaged record"
    assert finding.file == f"{shard_of(converted).name}, record 1"
    assert "got filename, segmentation_mask" in finding.what


def test_a_file_name_that_is_not_utf8_is_found_in_a_record(converted):
    examples = read_examples(converted)
    examples[1]["filename"] = b"stra\xdfe.png"
    write_shard(converted, "train", examples)
    assert the_only_finding(check.run(converted.root)).what == "filename must be UTF-8"


def test_a_file_name_that_is_there_twice_is_an_error(converted):
    examples = read_examples(converted)
    examples[2]["filename"] = examples[0]["filename"]
    write_shard(converted, "train", examples)
    finding = the_only_finding(check.run(converted.root))
    assert (finding.severity, finding.kind) == ("error", "filename twice")
    assert finding.file == examples[0]["filename"].decode()


def test_an_image_in_two_splits_is_found_in_records(converted):
    train, validation = read_examples(converted), read_examples(converted, "validation")
    write_shard(
        converted, "validation", [*validation, {**train[1], "filename": b"images/val/x.png"}]
    )
    finding = the_only_finding(check.run(converted.root))
    assert (finding.kind, finding.file) == ("leak between splits", "images/val/x.png")
    assert finding.what.endswith(train[1]["filename"].decode())


def test_options_of_a_raw_dataset_are_refused_for_a_converted_one(converted):
    with pytest.raises(InputError, match="must be left out for a converted one, got map, classes"):
        check.run(converted.root, class_map="255:1", classes=11)


def test_a_folder_that_holds_two_converted_datasets_is_refused_with_both(converted, tmp_path):
    shutil.copytree(converted.root, tmp_path / "data" / "another" / "1.0.0")
    with pytest.raises(InputError, match="holds several datasets, choose one"):
        check.run(tmp_path / "data")
