import dataclasses
import http.server
import io
import json
import os
import shutil
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile

import kerasseg
from kerasseg.pipelines import convert, export, fit, predict
from kerasseg.pipelines.downloads.download import Limits
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.images.source_images import Stretch
from kerasseg.pipelines.runs import run_folder


@pytest.fixture
def photos(tmp_path):
    """Images of three kinds and odd sizes, one in a sub-folder."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name, size in (("a.png", (31, 45)), ("b.jpg", (40, 33)), ("sub/c.jpeg", (25, 60))):
        image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        PIL.Image.fromarray(image).save(folder / name)
    return folder


def test_labels_are_the_argmax_at_the_image_s_size_with_the_classes_palette(
    tiny_run, photos, tmp_path
):
    written = predict.run(tiny_run, [photos], output=tmp_path / "out")
    assert [w.label.relative_to(tmp_path / "out").as_posix() for w in written] == [
        "a.png",
        "b.png",
        "sub/c.png",
    ]
    model = kerasseg.load(tiny_run)
    image = np.asarray(PIL.Image.open(photos / "a.png"), np.float32)
    with PIL.Image.open(written[0].label) as label:
        assert label.mode == "P"
        assert label.getpalette()[:9] == [128, 128, 128, 255, 0, 0, 0, 0, 255]
        np.testing.assert_array_equal(label, np.argmax(model(image[None])[0], axis=-1))


def test_overlays_mix_the_image_with_the_classes_colours(tiny_run, photos, tmp_path):
    (written,) = predict.run(tiny_run, [photos / "a.png"], output=tmp_path, opacity=0.25)
    image = np.asarray(PIL.Image.open(photos / "a.png"), float)
    colors = np.asarray(PIL.Image.open(written.label).convert("RGB"), float)
    overlay = np.asarray(PIL.Image.open(written.overlay), float)
    np.testing.assert_allclose(overlay, 0.75 * image + 0.25 * colors, atol=0.5)


def test_overlays_leave_a_background_undrawn_unless_it_is_to_be_drawn(tiny_run, photos, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    description = json.loads((run / "run.json").read_text())
    description["class_names"][0] = "background"
    (run / "run.json").write_text(json.dumps(description))
    image = np.asarray(PIL.Image.open(photos / "a.png"), float)
    for draw in (False, True):
        (written,) = predict.run(
            run, [photos / "a.png"], output=tmp_path / f"{draw}", draw_background=draw, opacity=1
        )
        with PIL.Image.open(written.label) as picture:
            label, colors = np.asarray(picture), np.asarray(picture.convert("RGB"), float)
        assert 0 < (label == 0).sum() < label.size
        expected = colors if draw else np.where(label[..., None] == 0, image, colors)
        np.testing.assert_array_equal(np.asarray(PIL.Image.open(written.overlay)), expected)


def test_a_photograph_is_predicted_as_a_viewer_shows_it(tiny_run, tmp_path):
    stored = np.random.default_rng(0).integers(0, 256, (31, 45, 3)).astype(np.uint8)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    PIL.Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    PIL.Image.fromarray(np.rot90(stored, -1)).save(tmp_path / "upright.png")
    images = [tmp_path / "turned.png", tmp_path / "upright.png"]
    turned, upright = predict.run(tiny_run, images, output=tmp_path / "out")
    assert np.asarray(PIL.Image.open(turned.label)).shape == (45, 31)
    for kind in ("label", "overlay"):
        pictures = (np.asarray(PIL.Image.open(getattr(w, kind))) for w in (turned, upright))
        np.testing.assert_array_equal(*pictures)


def test_without_output_the_run_takes_the_predictions(tiny_run, photos, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    (written,) = predict.run(run, [photos / "b.jpg"])
    assert written.label == run / "predictions" / "b.png"


def test_gray_and_transparent_images_are_predicted(tiny_run, tmp_path):
    for mode in ("L", "RGBA"):
        PIL.Image.new(mode, (20, 24)).save(tmp_path / f"{mode}.png")
        (written,) = predict.run(tiny_run, [tmp_path / f"{mode}.png"], output=tmp_path / "out")
        assert np.asarray(PIL.Image.open(written.label)).shape == (24, 20)


def save_lossless(path, pixels, format_):
    options = {"lossless": True} if format_ in ("WEBP", "JPEG2000") else {}
    PIL.Image.fromarray(pixels).save(path, format_, **options)


def test_every_format_is_predicted_as_the_png_of_its_pixels(tiny_run, photos, tmp_path):
    pixels = np.asarray(PIL.Image.open(photos / "a.png"))
    images = tmp_path / "in"
    images.mkdir()
    for format_ in ("TIFF", "WEBP", "BMP", "PPM", "TGA", "PNG"):
        save_lossless(images / f"of-{format_}.{format_}", pixels, format_)
    for format_ in ("GIF", "PNG"):  # of 256 colours
        save_lossless(images / f"gray-of-{format_}.{format_}", pixels[..., 0], format_)
    written = {file.image.stem: file for file in predict.run(tiny_run, images, output=tmp_path)}
    assert len(written) == 8
    for name, found in written.items():
        expected = written["gray-of-PNG" if name.startswith("gray") else "of-PNG"]
        assert found.label.read_bytes() == expected.label.read_bytes(), name
        assert found.overlay.read_bytes() == expected.overlay.read_bytes(), name


def test_a_tiff_with_an_orientation_is_predicted_upright(tiny_run, tmp_path):
    stored = np.random.default_rng(0).integers(0, 256, (31, 45, 3)).astype(np.uint8)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(stored).save(tmp_path / "turned.tif", exif=exif)
    PIL.Image.fromarray(np.rot90(stored, -1)).save(tmp_path / "upright.png")
    images = [tmp_path / "turned.tif", tmp_path / "upright.png"]
    turned, upright = predict.run(tiny_run, images, output=tmp_path / "out")
    assert turned.overlay.read_bytes() == upright.overlay.read_bytes()


def test_images_are_stretched_as_those_of_the_training(tiny_training, tmp_path):
    random, source = np.random.default_rng(0), tmp_path / "source"
    for split in ("train", "validation"):
        (source / "images" / split).mkdir(parents=True)
        (source / "labels" / split).mkdir(parents=True)
        for index in range(4):
            deep = random.integers(0, 4096, (40, 48, 3), np.uint16)
            tifffile.imwrite(source / f"images/{split}/{index}.tif", deep, photometric="rgb")
            label = (deep[..., 0] > 2000).astype(np.uint8)
            PIL.Image.fromarray(label).save(source / f"labels/{split}/{index}.png")
    (source / "classes.txt").write_text("dark\nbright\n")
    encoding = convert.Encoding(stretch=Stretch.parse("0,4095"))
    convert.run("folder", source, tmp_path / "data", encoding=encoding)
    options = dataclasses.replace(tiny_training, epochs=1)
    run = fit.run(options, tmp_path / "data" / "folder", tmp_path / "run").folder
    assert run_folder.load(run).stretch == "0,4095"
    image = source / "images/validation/0.tif"
    (own,) = predict.run(run, image, output=tmp_path / "own")
    shallow = np.rint(tifffile.imread(image) * (255 / 4095)).astype(np.uint8)
    PIL.Image.fromarray(shallow).save(tmp_path / "shallow.png")
    (expected,) = predict.run(run, tmp_path / "shallow.png", output=tmp_path / "out")
    assert own.label.read_bytes() == expected.label.read_bytes()
    version = export.run(run, output=tmp_path / "served")
    card = (version / "assets.extra" / "model_card.md").read_text()
    assert "Images must be stretched as those of the training: `--stretch 0,4095`." in card


def test_an_image_of_16_bits_is_stretched_or_refused(tiny_run, run_cli, tmp_path):
    """Twelve bits in a 16-bit file, which a network would see as black."""
    deep = np.random.default_rng(0).integers(0, 4096, (20, 30), np.uint16)
    for name in ("deep.png", "deep.tif"):
        PIL.Image.fromarray(deep).save(tmp_path / name)
    shallow = np.rint(deep * (255 / 4095)).astype(np.uint8)
    PIL.Image.fromarray(shallow).save(tmp_path / "shallow.png")
    (expected,) = predict.run(tiny_run, tmp_path / "shallow.png", output=tmp_path / "out")
    for name in ("deep.png", "deep.tif"):
        with pytest.raises(predict.PredictionError) as caught:
            predict.run(tiny_run, tmp_path / name, output=tmp_path / "out")
        assert "--stretch LOW,HIGH" in caught.value.problems[0].cause
        command = ("predict", tiny_run, tmp_path / name, "--output", tmp_path / name[-3:])
        assert run_cli(*command, "--stretch", "0,4095").exit_code == 0
        overlay = tmp_path / name[-3:] / "deep_overlay.png"
        assert overlay.read_bytes() == expected.overlay.read_bytes()


def test_bad_images_are_listed_together_and_the_others_written(tiny_run, photos, tmp_path):
    (photos / "a.png").write_bytes((photos / "a.png").read_bytes()[:-20])
    (photos / "text.png").write_text("not an image")
    (photos / "empty.tif").touch()
    (photos / "half.tif").write_bytes(b"II*\0\x08\0\0\0")
    os.mkfifo(photos / "pipe.jpg")
    (photos / "nowhere.jpg").symlink_to(photos / "gone.jpg")
    (photos / ("n" * 251 + ".jpg")).write_bytes((photos / "b.jpg").read_bytes())
    with pytest.raises(predict.PredictionError) as caught:
        predict.run(tiny_run, [photos], output=tmp_path / "out")
    problems = {Path(problem.file).name: problem.what for problem in caught.value.problems}
    assert problems.pop("n" * 251 + ".jpg") == "results cannot be written"
    assert problems.pop("half.tif").startswith("image cannot be")
    assert problems.pop("text.png").startswith("file must be an image of a known format")
    assert problems == {
        "a.png": "PNG is cut short",
        "empty.tif": "file is empty",
        "pipe.jpg": "image must be a file, got a named pipe",
        "nowhere.jpg": "image is missing",
    }
    written = {p.name for p in (tmp_path / "out").rglob("*.*")}
    assert written == {"b.png", "b_overlay.png", "c.png", "c_overlay.png"}


def test_links_back_to_a_folder_end_and_folders_are_looked_into_once(tiny_run, photos, tmp_path):
    (photos / "loop").symlink_to(photos)
    (photos / "sub" / "up").symlink_to(photos)
    (photos / "sub" / "zzz").symlink_to(photos / "sub")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(photos / "a.png", tmp_path / "elsewhere" / "far.png")
    (photos / "linked").symlink_to(tmp_path / "elsewhere")
    passed_over = []
    written = predict.run(
        tiny_run, photos, output=tmp_path / "out", on_passed_over=passed_over.extend
    )
    names = [item.label.relative_to(tmp_path / "out").as_posix() for item in written]
    assert names == ["a.png", "b.png", "linked/far.png", "sub/c.png"]
    links = {photos / "loop", photos / "sub" / "up", photos / "sub" / "zzz"}
    assert {path for path, _ in passed_over} == links


def test_files_that_are_passed_over_are_named(tiny_run, run_cli, photos, tmp_path):
    for name in ("._a.png", "notes.txt", "movie.heic", "Thumbs.db"):
        (photos / name).write_text("no image")
    for index in range(9):
        (photos / f"table{index}.csv").touch()
    result = run_cli("predict", tiny_run, photos, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert f"2 passed over (hidden): {photos}/._a.png, {photos}/Thumbs.db" in result.output
    (others,) = (line for line in result.output.splitlines() if "11 passed over" in line)
    assert f"{photos}/movie.heic, {photos}/notes.txt" in others
    assert others.endswith("and 6 more")


def test_images_of_one_name_all_get_their_results(tiny_run, photos, tmp_path):
    for name, size in (("b.jpeg", (21, 22)), ("b_overlay.png", (23, 24)), ("B.JPG", (25, 26))):
        PIL.Image.new("RGB", size).save(photos / name)
    written = predict.run(tiny_run, [photos], output=tmp_path / "out")
    files = [file for item in written for file in (item.label, item.overlay)]
    assert len({str(file).casefold() for file in files}) == 2 * len(written) == 12
    for item in written:
        with PIL.Image.open(item.image) as image, PIL.Image.open(item.label) as label:
            assert label.size == image.size


def test_an_image_called_like_a_temporary_file_loses_nothing(tiny_run, photos, tmp_path):
    """Temporary files used to be called so, and `writing-z.jpg` is predicted before `z.png`."""
    for name in ("z.png", "writing-z.jpg"):
        shutil.copy(photos / "a.png", photos / name)
    predict.run(tiny_run, [photos], output=tmp_path)
    names = {path.name for path in tmp_path.glob("*z*.png")}
    assert names == {f"{x}{y}.png" for x in ("z", "writing-z") for y in ("", "_overlay")}


def test_links_planted_in_the_output_are_not_written_through(tiny_run, photos, tmp_path):
    (tmp_path / "kept").write_text("kept")
    for name in ("a.png", "writing-a.png", "a_overlay.png", "writing-a_overlay.png"):
        (tmp_path / name).symlink_to(tmp_path / "kept")
    with pytest.raises(InputError, match=r"must not replace files .*, got .*a\.png and 1 more;"):
        predict.run(tiny_run, photos / "a.png", output=tmp_path)
    (written,) = predict.run(tiny_run, photos / "a.png", output=tmp_path, overwrite=True)
    assert (tmp_path / "kept").read_text() == "kept"
    assert not written.label.is_symlink()


def test_true_labels_of_the_same_names_are_kept(run_cli, tiny_run, photos, tmp_path):
    labels = tmp_path / "labels"
    labels.mkdir()
    PIL.Image.new("L", (9, 9)).save(labels / "a.png")
    before = (labels / "a.png").read_bytes()
    command = ("predict", tiny_run, photos / "a.png", "--output", labels)
    refused = run_cli(*command)
    assert refused.exit_code == 1
    assert f"got {labels / 'a.png'}; choose another --output" in refused.output
    assert [path.read_bytes() for path in labels.iterdir()] == [before]
    for asked in (("--overwrite",), ()):  # the second time, it is an earlier result
        done = run_cli(*command, *asked)
        assert done.exit_code == 0, done.output
        assert (labels / "a.png").read_bytes() != before


def test_results_below_the_images_are_no_images(run_cli, tiny_run, photos):
    command = ("predict", tiny_run, photos, "--output", photos / "masks")
    first = run_cli(*command)
    assert first.exit_code == 0, first.output
    written = sorted((photos / "masks").rglob("*"))
    again = run_cli(*command)
    assert again.exit_code == 0, again.output
    assert "passed over (a result of an earlier prediction)" in again.output
    assert sorted((photos / "masks").rglob("*")) == written


def test_an_image_is_never_overwritten(tiny_run, photos):
    before = (photos / "a.png").read_bytes()
    with pytest.raises(InputError, match="would overwrite an image; choose another --output"):
        predict.run(tiny_run, [photos], output=photos)
    assert (photos / "a.png").read_bytes() == before


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.png", "no such image or folder"),
        ("n" * 300, "no such image or folder"),
        ("", "must hold images, got none"),
    ],
)
def test_a_path_without_images_is_refused(tiny_run, tmp_path, path, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        predict.run(tiny_run, [tmp_path / "empty" / path], output=tmp_path / "out")


@pytest.fixture
def site(photos):
    """The address of a server of the photos."""
    handler = partial(QuietHandler, directory=photos)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        """Prints nothing."""


def test_a_list_of_files_and_addresses_is_predicted_and_failures_are_listed(
    tiny_run, run_cli, photos, site, tmp_path
):
    words = ["photos/a.png", f"{site}/b.jpg", f"{site}/gone.png", f"{site}/", "photos/s*/*.jpeg"]
    (tmp_path / "list.txt").write_text("\n".join(words))
    command = ("predict", tiny_run, f"@{tmp_path / 'list.txt'}", "--output", tmp_path / "out")
    refused = run_cli(*command)
    assert refused.exit_code == 1
    assert refused.output.count("must be on a public host, got 127.0.0.1") == 3
    result = run_cli(*command, "--allow-local")
    assert result.exit_code == 1
    assert f"{site}/gone.png\taddress must answer with HTTP status 200, got 404" in result.output
    assert f"{site}/\tfile must be an image of a known format" in result.output
    labels = ["a.png", "b.png", "sub/c.png"]
    found = {path.relative_to(tmp_path / "out").as_posix() for path in tmp_path.rglob("out/**/*.*")}
    assert found == {*labels, *(name.replace(".png", "_overlay.png") for name in labels)}
    (expected,) = predict.run(tiny_run, photos / "b.jpg", output=tmp_path / "files")
    assert expected.label.read_bytes() == (tmp_path / "out" / "b.png").read_bytes()


def test_an_image_of_an_address_may_be_in_a_dataset_but_not_read_in_rows(
    tiny_run, photos, site, tmp_path
):
    local = Limits(allow_local=True)
    words = [photos / "a.png", f"{site}/b.jpg"]
    predict.run(tiny_run, words, as_dataset=tmp_path / "new", downloads=local)
    stored = np.asarray(PIL.Image.open(tmp_path / "new" / "images" / "train" / "b.png"))
    original = np.asarray(PIL.Image.open(photos / "b.jpg"), float)
    assert np.abs(stored - original).max() <= 8  # two decoders of JPEG
    with pytest.raises(InputError, match=f"tiff must be left out .* got {site}/b.jpg"):
        predict.run(tiny_run, words, output=tmp_path, tiff=True, downloads=local)
    with pytest.raises(InputError, match="must be named as an image of voc"):
        predict.run(tiny_run, f"{site}/b.jpg", output=tmp_path, format="voc", downloads=local)


def test_the_image_on_standard_input_is_predicted(tiny_run, photos, tmp_path, monkeypatch):
    content = io.BytesIO((photos / "a.png").read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content))
    (written,) = predict.run(tiny_run, "-", output=tmp_path)
    assert written.label == tmp_path / "stdin.png"
    (expected,) = predict.run(tiny_run, photos / "a.png", output=tmp_path)
    assert written.label.read_bytes() == expected.label.read_bytes()


def test_an_output_that_cannot_be_written_is_a_clear_error(tiny_run, photos, tmp_path):
    (tmp_path / "out").write_text("a file in the way")
    with pytest.raises(InputError, match=r"cannot be written"):
        predict.run(tiny_run, [photos / "a.png"], output=tmp_path / "out")
