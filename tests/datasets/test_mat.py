import io
import random
import struct
import zlib

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from kerasseg.pipelines.datasets import _mat
from kerasseg.pipelines.errors import ImageFileError

VALUES = np.random.default_rng(0).integers(0, 21, (37, 53), np.uint8)


def save(variables, compressed=True):
    file = io.BytesIO()
    scipy.io.savemat(file, variables, do_compression=compressed)
    return file.getvalue()


def labels(values):
    """Has the fields of SBD's files, with sparse boundaries of each of the 20 classes."""
    boundaries = np.empty((20, 1), object)
    for index in range(20):
        boundaries[index, 0] = scipy.sparse.csc_matrix(values == index)
    return {
        "Boundaries": boundaries,
        "Segmentation": values,
        "CategoriesPresent": np.array([[1], [15]], np.uint8),
    }


def read(content):
    return _mat.read_struct_field(content, "GTcls", "Segmentation")


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("size", [(37, 53), (1, 1), (1, 9), (3, 1), (500, 334)])
def test_the_matrix_is_the_one_that_was_saved(size, compressed):
    values = np.random.default_rng(1).integers(0, 256, size, np.uint8)
    other = {"a": np.eye(3), "text": "x", "GTcls": labels(values), "z": values[:1]}
    content = save(other, compressed)
    found = read(content)
    np.testing.assert_array_equal(found, values)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(
        found, scipy.io.loadmat(io.BytesIO(content))["GTcls"]["Segmentation"][0, 0]
    )


def test_the_order_of_the_fields_does_not_matter():
    reversed_fields = dict(reversed(labels(VALUES).items()))
    np.testing.assert_array_equal(read(save({"GTcls": reversed_fields})), VALUES)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"GTinst": {"Segmentation": VALUES}}, "must hold the struct GTcls"),
        ({"GTcls": VALUES}, "must hold a 1 x 1 struct"),
        ({"GTcls": {"Boundaries": VALUES}}, "must have the field Segmentation"),
        ({"GTcls": {"Segmentation": VALUES.astype(float)}}, r"must be a matrix of uint8, got type"),
        ({"GTcls": {"Segmentation": VALUES[None]}}, r"uint8, got type 2 of size \(1, 37, 53\)"),
        ({"GTcls": {"Segmentation": VALUES[:0]}}, r"uint8, got type \d of size \(0, 53\)"),
    ],
)
def test_another_kind_of_file_is_refused(variables, message):
    with pytest.raises(ImageFileError, match=message):
        read(save(variables))


@pytest.mark.parametrize(
    "content", [b"", b"\x89HDF\r\n\x1a\n" * 40, b"\x89PNG\r\n\x1a\n", b"x" * 500]
)
def test_another_format_is_refused(content):
    with pytest.raises(ImageFileError, match=r"must be a MATLAB 5\.0 file"):
        read(content)


def test_a_compressed_file_that_was_cut_is_damaged_wherever_it_was():
    content = save({"GTcls": labels(VALUES)})
    for length in range(136, len(content), 7):
        with pytest.raises(ImageFileError, match="MATLAB file is damaged"):
            read(content[:length])


def test_a_plain_file_that_was_cut_within_the_matrix_is_damaged():
    content = save({"GTcls": labels(VALUES)}, compressed=False)
    begin = content.index(VALUES.T.tobytes())
    for length in range(136, begin + VALUES.size, 97):
        with pytest.raises(ImageFileError, match=r"MATLAB file is damaged \(it is cut short\)"):
            read(content[:length])


@pytest.mark.parametrize("compressed", [True, False])
def test_flipped_bits_are_read_or_refused_and_nothing_else(compressed):
    content = save({"GTcls": labels(VALUES)}, compressed)
    generator = random.Random(0)
    refused = 0
    for _ in range(2000):
        damaged = bytearray(content)
        # Most of them in the first bytes, where types and sizes are.
        for _ in range(generator.choice((1, 1, 3))):
            place = generator.randrange(min(len(content), generator.choice((400, len(content)))))
            damaged[place] ^= 1 << generator.randrange(8)
        try:
            found = read(bytes(damaged))
        except ImageFileError:
            refused += 1
        else:
            assert found.size <= len(content) * 8
    assert refused > 200


def test_a_part_that_inflates_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr(_mat, "_LARGEST", 2**16)
    header = save({"GTcls": labels(VALUES)})[:128]
    part = zlib.compress(bytes(2**20))
    with pytest.raises(ImageFileError, match="a compressed part has no end"):
        read(header + struct.pack("<II", 15, len(part)) + part)


def test_a_matrix_that_claims_more_values_than_it_has_is_damaged():
    content = save({"GTcls": labels(VALUES)}, compressed=False)
    size = struct.pack("<ii", *VALUES.shape)
    assert content.count(size) >= 1
    begin = content.rindex(size, 0, content.index(VALUES.T.tobytes()))
    damaged = content[:begin] + struct.pack("<ii", 2**30, 2**30) + content[begin + 8 :]
    with pytest.raises(ImageFileError, match="Segmentation has 1961 values instead of 1073741824"):
        read(damaged)
