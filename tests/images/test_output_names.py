import io
import itertools
import os
import threading
import unicodedata
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from kerasseg import atomic_files
from kerasseg.pipelines.errors import ImageFileError, InputError
from kerasseg.pipelines.images import figures, marks, output_names, png

ENDINGS = (".png", "_overlay.png")


def planned(places, endings=ENDINGS):
    """Names of the results of images in folders that are not there."""
    images = [(Path("/given", place), Path(place)) for place in places]
    return {
        item.image.relative_to("/given").as_posix(): item.file(".png").as_posix()
        for item in output_names.plan(images, Path("out"), endings)
    }


def test_results_are_named_after_the_image_in_its_place():
    assert planned(["a.jpg", "sub/b.tif", "c", ".d.png", "e.f.png"]) == {
        "a.jpg": "out/a.png",
        "sub/b.tif": "out/sub/b.png",
        "c": "out/c.png",
        ".d.png": "out/.d.png",
        "e.f.png": "out/e.f.png",
    }


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (["a.jpg", "a.png"], ["a.jpg.png", "a.png.png"]),
        (["a.jpg", "sub/a.png"], ["a.png", "sub/a.png"]),
        # The results of the first two are called as those of the third would be.
        (["a.jpg", "a.png", "a.jpg.tif"], ["a.jpg.png", "a.png.png", "a.jpg.tif.png"]),
        (["a.jpg", "a_overlay.jpg"], ["a.jpg.png", "a_overlay.jpg.png"]),
        (["A.jpg", "a.png"], ["A.jpg.png", "a.png.png"]),
        (["A.jpg", "a.jpg"], ["A.jpg.png", "a.jpg-2.png"]),
        (["A.jpg", "a.jpg", "a.jpg-2.tif"], ["A.jpg.png", "a.jpg-3.png", "a.jpg-2.png"]),
        (["Sub/a.jpg", "sub/a.png"], ["Sub/a.jpg.png", "sub/a.png.png"]),
        # A folder that is called as a result.
        (["a.jpg", "a.png/b.jpg"], ["a.jpg.png", "a.png/b.png"]),
    ],
)
def test_images_that_would_share_a_name_keep_their_endings(places, names):
    assert list(planned(places).values()) == [f"out/{name}" for name in names]


def test_names_that_unicode_writes_in_two_ways_are_distinguished():
    composed, decomposed = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))
    assert composed != decomposed
    names = list(planned([composed, decomposed]).values())
    assert names == [f"out/{composed}.png", f"out/{decomposed}-2.png"]


def test_no_two_results_share_a_name_for_any_names_of_images():
    stems = ("a", "A", "a_overlay", "a.jpg", "a.jpg-2", "a_overlay.png", "a.png-2")
    places = [f"{stem}{end}" for stem, end in itertools.product(stems, (".jpg", ".png", ".PNG"))]
    images = [(Path("/given", place), Path(place)) for place in places]
    plan = output_names.plan(images, Path("out"), ENDINGS)
    files = [item.file(ending).as_posix().casefold() for item in plan for ending in ENDINGS]
    assert len(set(files)) == 2 * len(places)


def test_what_is_listed_twice_is_planned_once(tmp_path):
    (tmp_path / "a.jpg").touch()
    other_way = tmp_path / "sub" / ".." / "a.jpg"
    images = [(tmp_path / "a.jpg", Path("a.jpg")), (other_way, Path("a.jpg"))]
    assert len(output_names.plan(images, tmp_path / "out", ENDINGS)) == 1


def test_images_of_two_folders_with_the_same_name_are_refused():
    images = [(Path("/one/a.jpg"), Path("a.jpg")), (Path("/two/a.jpg"), Path("a.jpg"))]
    message = r"results of /one/a.jpg and /two/a.jpg; give them separate --output folders"
    with pytest.raises(InputError, match=message):
        output_names.plan(images, Path("out"), ENDINGS)


@pytest.mark.parametrize("output", ["photos", "link", "photos/../photos"])
@pytest.mark.parametrize("name", ["a.png", "A.PNG"])
def test_an_image_that_was_given_is_never_overwritten(tmp_path, output, name):
    photos = tmp_path / "photos"
    photos.mkdir()
    (tmp_path / "link").symlink_to(photos)
    images = [photos / name, photos / "b.jpg"]
    for image in images:
        image.touch()
    listed = [(image, Path(image.name)) for image in images]
    with pytest.raises(InputError, match="would overwrite an image; choose another --output"):
        output_names.plan(listed, tmp_path / output, ENDINGS)


def test_an_image_that_a_link_leads_to_is_not_overwritten(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a.jpg").symlink_to(tmp_path / "a.png")
    with pytest.raises(InputError, match="would overwrite an image"):
        output_names.plan([(tmp_path / "links" / "a.jpg", Path("a.jpg"))], tmp_path, ENDINGS)


def test_a_link_in_the_place_of_a_result_is_replaced_and_not_written_through(tmp_path):
    (tmp_path / "kept.txt").write_text("kept")
    (tmp_path / "a.png").symlink_to(tmp_path / "kept.txt")
    output_names.write({tmp_path / "a.png": b"new"}, overwrite=True)
    assert (tmp_path / "kept.txt").read_text() == "kept"
    assert not (tmp_path / "a.png").is_symlink()
    assert (tmp_path / "a.png").read_bytes() == b"new"


def encoded(value):
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.full((5, 7), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def edit(path):
    with PIL.Image.open(path) as picture:
        pixels = np.array(picture)
    pixels[0, 0] += 1
    PIL.Image.fromarray(pixels).save(path)


def identity(path):
    """What tells a file from one that replaced it; the time of its last reading does not."""
    status = path.lstat()
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns


OTHERS = {
    "drawn by hand": lambda path: path.write_bytes(encoded(1)),
    "an edited result": lambda path: (output_names.write({path: encoded(1)}), edit(path)),
    "a damaged result": lambda path: path.write_bytes(marks.mark(encoded(1))[:-1]),
    "text": lambda path: path.write_text("mine"),
    "empty": lambda path: path.touch(),
    "a link": lambda path: path.symlink_to(OTHERS["drawn by hand"](path.with_name("x")) and "x"),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_file_that_kerasseg_did_not_write_is_replaced_only_on_request(tmp_path, other):
    result = tmp_path / "a.png"
    OTHERS[other](result)
    before = identity(result)
    images = [(Path("/given", name), Path(name)) for name in ("a.jpg", "b.jpg")]
    refusal = "must not replace files that kerasseg did not write or that were changed since"
    with pytest.raises(InputError, match=rf"{refusal}, got .*a\.png; .*--output, or.*--overwrite"):
        output_names.plan(images, tmp_path, ENDINGS, refuse_others=True)
    with pytest.raises(
        ImageFileError, match=r"must not replace a file that kerasseg did not write .*got .*a\.png"
    ):
        output_names.write({result: encoded(2), tmp_path / "a_overlay.png": encoded(3)})
    assert identity(result) == before
    assert not (tmp_path / "a_overlay.png").exists()
    output_names.write({result: encoded(2)}, overwrite=True)
    assert marks.is_marked(result.read_bytes())


def test_an_earlier_result_is_replaced(tmp_path):
    result = tmp_path / "a.png"
    for value in (1, 1, 2):
        output_names.plan([(Path("/a.jpg"), Path("a.jpg"))], tmp_path, ENDINGS, refuse_others=True)
        output_names.write({result: encoded(value)})
        with PIL.Image.open(result) as picture:
            assert (np.array(picture) == value).all()


def test_an_earlier_result_is_read_once_before_it_is_replaced(tmp_path, monkeypatch):
    result = tmp_path / "a.png"
    output_names.write({result: encoded(1)})
    reads = []
    monkeypatch.setattr(marks, "is_marked", lambda content: reads.append(1) or True)
    output_names.plan([(Path("/a.jpg"), Path("a.jpg"))], tmp_path, ENDINGS, refuse_others=True)
    output_names._is_foreign(result)
    assert len(reads) == 1


def test_a_result_that_changes_after_the_plan_is_not_replaced(tmp_path):
    result = tmp_path / "a.png"
    output_names.write({result: encoded(1)})
    output_names.plan([(Path("/a.jpg"), Path("a.jpg"))], tmp_path, ENDINGS, refuse_others=True)
    edit(result)
    with pytest.raises(ImageFileError, match="must not replace a file"):
        output_names.write({result: encoded(2)})


def test_a_marked_png_is_a_sound_png_with_the_same_pixels():
    content = encoded(200)
    marked = marks.mark(content)
    assert marks.mark(marked) == marked
    assert png.walk(marked) - png.walk(content) == {b"keSG"}
    assert (png.decode(marked) == png.decode(content)).all()
    assert not marks.is_marked(content)
    assert marks.mark(b"no PNG") == b"no PNG"
    # As PNG 1.2 has it in 3.3: ancillary, private, and not to be copied by who changes pixels.
    assert [letter.islower() for letter in "keSG"] == [True, True, False, False]


def test_results_of_an_image_are_written_all_or_none(tmp_path):
    (tmp_path / "a_overlay.png").mkdir()
    with pytest.raises(ImageFileError, match="Is a directory"):
        output_names.write({tmp_path / "a.png": b"x", tmp_path / "a_overlay.png": b"x"})
    assert [path.name for path in tmp_path.iterdir()] == ["a_overlay.png"]


def test_earlier_results_beside_a_label_map_are_removed_with_it(tmp_path):
    item = output_names.Output(Path("a.jpg"), tmp_path, "a")
    drawn = figures.png(np.zeros((2, 2, 3), np.uint8))
    label = figures.png(np.zeros((2, 2), np.uint8))
    # The label map of `a_entropy.jpg`, and a file of the user's.
    output_names.write({tmp_path / "a_entropy.png": label, tmp_path / "a_overlay.png": drawn})
    (tmp_path / "a_margin.png").write_bytes(drawn)
    (tmp_path / "a.png").mkdir()
    with pytest.raises(ImageFileError):
        output_names.write({item.file(".png"): label}, item=item)
    assert (tmp_path / "a_overlay.png").exists()  # as nothing replaced it
    (tmp_path / "a.png").rmdir()
    # An array of numbers leaves the label map and what is drawn from it as they were.
    output_names.write({item.file("_logits.npy"): b"x"}, item=item)
    assert (tmp_path / "a_overlay.png").exists()
    (tmp_path / "a_logits.npy").unlink()
    output_names.write({item.file(".png"): label}, item=item)
    left = ["a.png", "a_entropy.png", "a_margin.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left


def test_label_maps_and_what_lies_beside_them_do_not_replace_each_other(tmp_path):
    label = figures.png(np.zeros((2, 2), np.uint8))
    measure = figures.png(np.zeros((2, 2), np.uint16))
    one = output_names.Output(Path("a.jpg"), tmp_path, "a")
    other = output_names.Output(Path("a_entropy.jpg"), tmp_path, "a_entropy")
    of_one = {one.file(".png"): label, one.file("_entropy.png"): measure}
    of_other = {other.file(".png"): label}
    output_names.write(of_other, item=other)
    with pytest.raises(ImageFileError, match=r"one of another image, got .*a_entropy.png"):
        output_names.write(of_one, item=one)
    assert [path.name for path in tmp_path.iterdir()] == ["a_entropy.png"]
    output_names.write(of_one, item=one, overwrite=True)
    output_names.write(of_one, item=one)  # its own earlier results
    with pytest.raises(ImageFileError, match=r"one of another image, got .*a_entropy.png"):
        output_names.write(of_other, item=other)


def test_results_of_an_image_get_their_names_together_beside_another_process(tmp_path):
    contents = {tmp_path / name: b"x" for name in ("a.png", "a_overlay.png")}
    writer = threading.Thread(target=output_names.write, args=(contents,))
    with atomic_files.one_at_a_time(tmp_path):
        writer.start()
        writer.join(0.3)
        assert writer.is_alive()
        assert not any(path.exists() for path in contents)
    writer.join()
    assert all(path.exists() for path in contents)


def test_a_name_too_long_concerns_one_image_and_a_full_folder_all(tmp_path):
    with pytest.raises(ImageFileError, match="File name too long"):
        output_names.write({tmp_path / ("n" * 256): b"x"})
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: cannot be written"):
        output_names.write({tmp_path / "file" / "a.png": b"x"})
