"""TIFF files read and written by rows."""

import sys

import numpy as np
import PIL.Image
import pytest
import rasterio
import tifffile
from rasterio.transform import from_origin

from kerasseg.pipelines import predict
from kerasseg.pipelines.errors import ImageFileError, InputError
from kerasseg.pipelines.images import png
from kerasseg.pipelines.images.source_images import Stretch
from kerasseg.pipelines.predictions import tiff_reading

# rasterio 1.4 multiplies as affine 3.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

SIZE = (61, 83)


def draw(channels=3, dtype=np.uint8, size=SIZE):
    shape = (*size, channels) if channels > 1 else size
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)


def read_all(path, stretch=None):
    """Reads rows of groups that overlap, as rows of windows do."""
    with tiff_reading.opened(path, stretch) as rows:
        height = rows.size[0]
        found = np.zeros((*rows.size, 3), np.uint8)
        for top in (*range(0, height - 20, 13), height - 20):
            found[top : top + 20] = rows(top, top + 20)
        return found


WAYS = {
    "one strip": {"rowsperstrip": SIZE[0]},
    "strips": {"rowsperstrip": 7, "compression": "lzw", "predictor": True},
    "tiles": {"tile": (16, 32), "compression": "zlib", "predictor": True},
    "tiles, not compressed": {"tile": (32, 16)},
    "Big Endian": {"tile": (16, 16), "compression": "zstd"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["rgb", "gray", "rgba", "planes"])
def test_rows_are_the_pixels_of_the_file(tmp_path, way, kind):
    pixels = draw({"gray": 1, "rgba": 4}.get(kind, 3))
    options = {**WAYS[way], "photometric": "minisblack" if kind == "gray" else "rgb"}
    if kind == "planes":
        pixels, options["planarconfig"] = np.moveaxis(pixels, -1, 0), "separate"
    order = ">" if way == "Big Endian" else "<"
    with tifffile.TiffWriter(tmp_path / "a.tif", byteorder=order, bigtiff=order == ">") as file:
        file.write(pixels, **options)
    if kind == "planes":
        pixels = np.moveaxis(pixels, 0, -1)
    expected = np.repeat(pixels[..., None], 3, -1) if kind == "gray" else pixels[..., :3]
    np.testing.assert_array_equal(read_all(tmp_path / "a.tif"), expected)


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
@pytest.mark.parametrize("compression", ["raw", "jpeg", "tiff_adobe_deflate"])
def test_what_pillow_writes_is_read_as_pillow_reads_it(tmp_path, mode, compression):
    if (mode, compression) == ("P", "jpeg"):
        pytest.skip("Pillow does not write it")
    picture = PIL.Image.fromarray(draw()).convert(mode)
    picture.save(tmp_path / "a.tif", compression=compression)
    expected = np.asarray(PIL.Image.open(tmp_path / "a.tif").convert("RGB"), int)
    found = read_all(tmp_path / "a.tif")
    # Decoders of JPEG round differently.
    np.testing.assert_allclose(found, expected, atol=3 if compression == "jpeg" else 0)


def test_white_is_zero_is_inverted_and_deep_values_are_stretched(tmp_path):
    gray = draw(1)
    tifffile.imwrite(tmp_path / "white.tif", gray, photometric="miniswhite")
    np.testing.assert_array_equal(read_all(tmp_path / "white.tif")[..., 1], 255 - gray)
    deep = draw(3, np.uint16) // 16
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb", tile=(16, 16))
    expected = np.rint(deep * (255 / 4095))
    np.testing.assert_array_equal(read_all(tmp_path / "deep.tif", Stretch(0, 4095)), expected)
    with pytest.raises(ImageFileError, match="must have 8 bits per channel, got more"):
        read_all(tmp_path / "deep.tif")
    with pytest.raises(ImageFileError, match=r"stretch must be two values .* got p1,p99"):
        read_all(tmp_path / "deep.tif", Stretch(1, 99, percentiles=True))


def test_files_that_cannot_be_read_by_rows_are_refused(tmp_path, monkeypatch):
    file = tmp_path / "a.tif"
    messages = []
    several, turned = {"photometric": "rgb"}, {"extratags": [(274, 3, 1, 6, True)]}
    for write in (
        lambda: tifffile.imwrite(file, np.stack([draw()] * 2), **several),
        lambda: tifffile.imwrite(file, draw(), photometric="rgb", **turned),
        lambda: tifffile.imwrite(file, draw(1) > 99, photometric="minisblack"),
        lambda: file.write_bytes(b"II*\0 damaged"),
    ):
        write()
        with pytest.raises(ImageFileError) as refused:
            read_all(file)
        messages.append(refused.value.what)
    tifffile.imwrite(file, draw(), photometric="rgb", compression="zlib", rowsperstrip=SIZE[0])
    content = bytearray(file.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    (tmp_path / "cut.tif").write_bytes(content)
    monkeypatch.setattr(tiff_reading, "_LARGEST_PART", 100)
    for path in (file, tmp_path / "cut.tif"):
        with pytest.raises(ImageFileError) as refused:
            read_all(path)
        messages.append(refused.value.what)
        monkeypatch.undo()
    for message, expected in zip(
        messages,
        (
            "file must hold one picture, got 2",
            "TIFF must be upright to be read by rows, got orientation 6",
            "TIFF must have channels of 8 bits or more, got 1",
            "TIFF cannot be read",
            "TIFF must be in tiles or strips of at most",
            "TIFF",
        ),
        strict=True,
    ):
        assert message.startswith(expected), message


@pytest.fixture
def located(tmp_path):
    """A GeoTIFF in tiles with smaller copies."""
    place = {"crs": "EPSG:32632", "transform": from_origin(600000, 5300000, 0.5, 0.5)}
    shape = {"width": 150, "height": 131, "count": 3, "dtype": "uint8"}
    stored = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate"}
    with rasterio.open(
        tmp_path / "map.tif", "w", photometric="RGB", nodata=0, **shape, **place, **stored
    ) as file:
        file.write(np.moveaxis(draw(size=(131, 150)), -1, 0))
        file.build_overviews([2])
    return tmp_path / "map.tif"


def test_labels_of_a_geotiff_are_those_of_its_pixels_and_lie_at_its_place(
    tiny_run, located, run_cli, tmp_path
):
    done = run_cli("predict", tiny_run, located, "--tiff", "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output
    PIL.Image.fromarray(draw(size=(131, 150))).save(tmp_path / "plain.png")
    (plain,) = predict.run(tiny_run, tmp_path / "plain.png", output=tmp_path / "out")
    with rasterio.open(located) as image, rasterio.open(tmp_path / "out/map.tif") as label:
        assert (label.crs, label.transform) == (image.crs, image.transform)
        assert label.profile["tiled"]
        assert label.nodata is None  # 0 is a class there
        np.testing.assert_array_equal(label.read(1), np.asarray(PIL.Image.open(plain.label)))
        assert [label.colormap(1)[i][:3] for i in range(3)] == [
            *((128, 128, 128), (255, 0, 0), (0, 0, 255))
        ]
    with rasterio.open(tmp_path / "out/map_overlay.tif") as overlay:
        assert overlay.crs == "EPSG:32632"
        expected = np.asarray(PIL.Image.open(plain.overlay))
        np.testing.assert_array_equal(np.moveaxis(overlay.read(), 0, -1), expected)


def test_results_are_replaced_and_passed_over_but_not_others(tiny_run, located, tmp_path):
    folder = located.parent / "in"
    folder.mkdir()
    located.rename(folder / "map.tif")
    passed_over = []
    for _ in range(2):
        (first,) = predict.run(
            tiny_run, folder, output=folder / "out", tiff=True, on_passed_over=passed_over.extend
        )
    assert {path.name for path, _ in passed_over} == {"map.tif", "map_overlay.tif"}
    with first.label.open("r+b") as file:
        file.seek(200)
        file.write(b"\1\2\3")
    with pytest.raises(InputError, match=r"must not replace files .* got .*map\.tif"):
        predict.run(tiny_run, folder / "map.tif", output=folder / "out", tiff=True)
    predict.run(tiny_run, folder / "map.tif", output=folder / "out", tiff=True, overwrite=True)


def test_a_tiff_too_large_to_be_decoded_is_read_by_rows(tiny_run, located, tmp_path, monkeypatch):
    monkeypatch.setattr(png, "MOST_PIXELS", 131 * 150 - 1)
    (written,) = predict.run(tiny_run, located, output=tmp_path / "out")
    assert (written.label.name, written.overlay.name) == ("map.tif", "map_overlay.tif")
    monkeypatch.setattr(png, "MOST_PIXELS", 131 * 150)
    (written,) = predict.run(tiny_run, located, output=tmp_path / "out")
    assert written.label.name == "map.png"


def test_without_the_extra_the_command_that_installs_it_is_named(
    tiny_run, located, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    assert tiff_reading.count_pixels(located) == 131 * 150  # by Pillow
    with pytest.raises(InputError, match=r"tifffile must be installed .* 'kerasseg\[geo\]'"):
        predict.run(tiny_run, located, output=tmp_path / "out", tiff=True)


def test_a_damaged_tiff_is_a_problem_of_that_image(tiny_run, located, tmp_path):
    content = located.read_bytes()
    located.write_bytes(content[: len(content) // 3])
    with pytest.raises(predict.PredictionError) as refused:
        predict.run(tiny_run, located, output=tmp_path / "out", tiff=True)
    assert "TIFF" in refused.value.problems[0].what
    assert not list((tmp_path / "out").glob("*.tif"))
