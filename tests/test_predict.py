import json
import shutil

import numpy as np
import PIL.Image
import pytest

import kerasseg
from kerasseg.pipelines import predict
from kerasseg.pipelines.errors import InputError


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


def test_bad_images_are_listed_together_and_the_others_written(tiny_run, photos, tmp_path):
    (photos / "a.png").write_bytes((photos / "a.png").read_bytes()[:-20])
    (photos / "text.png").write_text("not an image")
    with pytest.raises(predict.PredictionError) as caught:
        predict.run(tiny_run, [photos], output=tmp_path / "out")
    problems = {problem.file: problem.what for problem in caught.value.problems}
    assert problems[str(photos / "a.png")] == "PNG is cut short"
    assert "must be a PNG or a JPEG" in problems[str(photos / "text.png")]
    written = {p.name for p in (tmp_path / "out").rglob("*.*")}
    assert written == {"b.png", "b_overlay.png", "c.png", "c_overlay.png"}


def test_two_images_of_one_name_are_refused_before_anything_is_written(tiny_run, photos, tmp_path):
    shutil.copy(photos / "b.jpg", photos / "b.jpeg")
    with pytest.raises(InputError, match=r"b.png: would be written for .*b.jpeg and .*b.jpg"):
        predict.run(tiny_run, [photos], output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_image_is_never_overwritten(tiny_run, photos):
    before = (photos / "a.png").read_bytes()
    with pytest.raises(InputError, match="would overwrite an image; choose another --output"):
        predict.run(tiny_run, [photos], output=photos)
    assert (photos / "a.png").read_bytes() == before


def test_an_image_with_the_name_of_another_s_overlay_is_refused(tiny_run, photos, tmp_path):
    shutil.copy(photos / "a.png", photos / "a_overlay.png")
    with pytest.raises(InputError, match=r"a_overlay.png: would be written for"):
        predict.run(tiny_run, [photos], output=tmp_path / "out")


@pytest.mark.parametrize(
    ("path", "message"), [("nowhere.png", "no such image or folder"), ("", "must hold images")]
)
def test_a_path_without_images_is_refused(tiny_run, tmp_path, path, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        predict.run(tiny_run, [tmp_path / "empty" / path], output=tmp_path / "out")


def test_an_output_that_cannot_be_written_is_a_clear_error(tiny_run, photos, tmp_path):
    (tmp_path / "out").write_text("a file in the way")
    with pytest.raises(InputError, match=r"cannot be written"):
        predict.run(tiny_run, [photos / "a.png"], output=tmp_path / "out")
