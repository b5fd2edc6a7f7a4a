import io

import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasseg import encoded_images
from kerasseg.pipelines import records
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.inputs import sources

HEIGHT, WIDTH = 37, 51
many = settings(deadline=None, max_examples=60, derandomize=True)


def encode(mode, **options):
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
    if mode == "I;16":
        picture = PIL.Image.fromarray(noise[..., 0].astype(np.uint16) * 200)
    else:
        picture = PIL.Image.fromarray(noise, "RGBA" if mode == "RGBA" else None).convert(mode)
    file = io.BytesIO()
    picture.save(file, **options)
    return file.getvalue()


JPEGS = [
    encode(mode, format="JPEG", quality=90, subsampling=subsampling, progressive=progressive)
    for mode in ("RGB", "L")
    for subsampling in (0, 1, 2)
    for progressive in (False, True)
]
PNGS = [encode(mode, format="PNG") for mode in ("RGB", "L", "P", "RGBA", "LA", "I;16", "1")]


@st.composite
def windows(draw):
    """Corner and size of a window within the image."""
    y, x = draw(st.integers(0, HEIGHT - 1)), draw(st.integers(0, WIDTH - 1))
    return (y, x), (draw(st.integers(1, HEIGHT - y)), draw(st.integers(1, WIDTH - x)))


@pytest.mark.parametrize("content", [*JPEGS, *PNGS], ids=range(len(JPEGS) + len(PNGS)))
def test_a_decoded_window_is_that_of_the_whole_image(content):
    if content in JPEGS:
        whole = np.asarray(PIL.Image.open(io.BytesIO(content)).convert("RGB"))
    else:
        whole = tf.io.decode_image(content, channels=3).numpy()
    assert whole.shape == (HEIGHT, WIDTH, 3)
    for decode in (encoded_images.decode, encoded_images.decode_record):
        np.testing.assert_array_equal(decode(content), whole)

    @many
    @given(windows())
    def check(window):
        (y, x), (height, width) = window
        made = sources.decode_window(
            content, tf.constant([HEIGHT, WIDTH]), *map(tf.constant, window)
        )
        assert made.dtype == tf.uint8
        np.testing.assert_array_equal(made, whole[y : y + height, x : x + width])

    check()


def test_numbered_records_are_those_of_their_files(tiny_data):
    files = records.load(tiny_data).files("train")
    numbered = sources.IndexedRecords(files)
    numbers = [int(n) for shard in numbered.shards for n in numbered.elements(shard)]
    whole = [sources.decode(record) for record in tf.data.TFRecordDataset(files)]
    assert numbers == list(range(len(whole)))
    for number in (*numbers[::-3], 0):
        opened = numbered.open(tf.constant(number, tf.int64))
        image, label = opened.cut(tf.constant([3, 5]), tf.constant([20, 30]))
        np.testing.assert_array_equal(image, whole[number][0][3:23, 5:35])
        np.testing.assert_array_equal(label, whole[number][1][3:23, 5:35])


@pytest.mark.parametrize("kept", [5, -3])
def test_a_shard_that_is_cut_short_is_refused(tiny_data, tmp_path, kept):
    shard = tmp_path / "shard"
    with open(records.load(tiny_data).files("train")[0], "rb") as file:  # noqa: PTH123
        shard.write_bytes(file.read()[:kept])
    with pytest.raises(InputError, match="is cut short"):
        sources.IndexedRecords([str(shard)])
