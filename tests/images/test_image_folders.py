import os
import socket

import pytest

from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.images.image_folders import readable_images, walk


@pytest.fixture
def tree(tmp_path):
    for name in ("b.JPG", "a/c.tif", "a/d.webp", "a/notes.txt", "z.bmp", "._b.JPG", "Thumbs.db"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for hidden in (".git", "__MACOSX"):
        (tmp_path / hidden).mkdir()
        (tmp_path / hidden / "e.png").touch()
    return tmp_path


def test_images_of_all_formats_are_found_and_the_rest_is_named_with_the_reason(tree):
    found = readable_images(tree)
    names = [path.relative_to(tree).as_posix() for path in found.images]
    assert names == ["a/c.tif", "a/d.webp", "b.JPG", "z.bmp"]
    assert {path.relative_to(tree).as_posix(): why for path, why in found.passed_over} == {
        "._b.JPG": "hidden",
        ".git": "hidden",
        "Thumbs.db": "hidden",
        "__MACOSX": "hidden",
        "a/notes.txt": "not the ending of an image",
    }


def test_the_current_folder_is_named_as_files_in_it_are(tree, monkeypatch):
    monkeypatch.chdir(tree)
    assert {entry.path for entry in walk(".")} == {entry.name for entry in walk(".")}
    assert "a/c.tif" in {entry.path for entry in walk(".")}


def test_links_to_folders_are_followed_where_they_do_not_lead_back(tree):
    (tree / "link").symlink_to(tree / "a")
    names = {entry.name for entry in walk(tree)}
    assert {"link/c.tif", "a/c.tif"} <= names


@pytest.mark.parametrize("target", [".", "..", "../a", "../../.."])
def test_a_link_that_leads_back_is_refused_by_its_name(tree, target):
    (tree / "a" / "loop").symlink_to(target)
    with pytest.raises(InputError, match=r"a/loop.*must not hold a link to itself or to one above"):
        list(walk(tree))


def test_two_links_that_lead_to_each_other_are_refused(tree):
    (tree / "x").mkdir()
    (tree / "x" / "y").symlink_to(tree / "a")
    (tree / "a" / "x").symlink_to(tree / "x")
    with pytest.raises(InputError, match="must not hold a link"):
        list(walk(tree))


def test_a_link_to_itself_is_refused(tree):
    (tree / "a" / "self.png").symlink_to("self.png")
    with pytest.raises(InputError, match=r"self\.png: cannot be read"):
        list(walk(tree))


def test_a_link_to_nowhere_is_listed_so_that_reading_it_says_so(tree):
    (tree / "gone.png").symlink_to("nowhere.png")
    assert "gone.png" in {entry.name for entry in walk(tree)}


@pytest.mark.parametrize("kind", ["named pipe", "socket", "device"])
def test_what_is_neither_file_nor_folder_is_refused(tree, kind):
    path = tree / "a" / "odd.png"
    with socket.socket(socket.AF_UNIX) as bound:
        if kind == "named pipe":
            os.mkfifo(path)
        elif kind == "socket":
            bound.bind(os.path.relpath(path))
        else:
            path.symlink_to("/dev/zero")
        with pytest.raises(
            InputError, match=rf"odd\.png: must be a file or a folder, got a {kind}"
        ):
            list(walk(tree))


def test_a_folder_that_cannot_be_read_is_refused(tree, monkeypatch):
    # Tests may run as root, whom no file mode stops.
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"/a: cannot be read \(Permission denied\)"):
        list(walk(tree))
