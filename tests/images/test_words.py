import io
import os
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines.errors import ImageFileError, InputError
from kerasseg.pipelines.images import elsewhere, given_images, output_names, words


@pytest.fixture
def shots(tmp_path, monkeypatch):
    """A tree below the current folder, with names of which patterns are made."""
    monkeypatch.chdir(tmp_path)
    for name in ("shots/a.png", "shots/sub/b.jpg", "shots/sub/deep/c.png", "shots/[x]*.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (3, 2)).save(name)
    Path("shots/notes.txt").write_text("no image")
    return Path("shots")


def places(found):
    return [place.as_posix() for _, place in found.images]


def test_a_pattern_finds_what_the_shell_would_and_names_it_below_its_fixed_part(shots):
    assert places(words.find("shots/**/*.png")) == ["[x]*.png", "a.png", "sub/deep/c.png"]
    assert places(words.find("shots/sub/?.jpg")) == ["b.jpg"]
    assert places(words.find("*/*.png")) == ["shots/[x]*.png", "shots/a.png"]
    assert places(words.find(str(shots.absolute() / "*" / "b.*"))) == ["sub/b.jpg"]


def test_a_pattern_of_folders_finds_their_images_once_and_passes_others_over(shots):
    (shots / "loop").symlink_to(shots.absolute())
    found = words.find("shots/**")
    assert places(found) == ["[x]*.png", "a.png", "sub/b.jpg", "sub/deep/c.png"]
    others = {path.name: why for path, why in found.passed_over if path.parent == shots}
    assert others.pop("loop") == "a folder that another path leads to"
    assert others == {"notes.txt": "not the ending of an image"}
    assert len(found.passed_over) < 10


def test_an_existing_file_is_meant_itself_whatever_its_name(shots):
    assert places(words.find("shots/[x]*.png")) == ["[x]*.png"]
    for name in ("@a.png", "http:", "#a.png"):
        (shots / "a.png").rename(name)
        assert places(words.find(name)) == [name]
        Path(name).rename(shots / "a.png")


def test_a_pattern_without_a_match_is_refused(shots):
    with pytest.raises(InputError, match=r"shots/\*.gif: no image matches"):
        words.find("shots/*.gif")


def test_a_list_is_relative_to_its_folder_and_names_results_as_the_files_lie(shots):
    lines = ["\ufeff# frames", "", "a.png", "  sub/*.jpg  ", "sub/deep", "[x]*.png\r"]
    (shots / "list.txt").write_text("\n".join(lines), encoding="utf-8")
    found = words.find("@shots/list.txt")
    assert places(found) == ["a.png", "sub/b.jpg", "sub/deep/c.png", "[x]*.png"]
    # Names from two folders do not meet, and what all files share is left away.
    other = shots / "other" / "sub" / "b.jpg"
    other.parent.mkdir(parents=True)
    (shots / "sub" / "b.jpg").rename(other)
    PIL.Image.new("RGB", (3, 2)).save(shots / "sub" / "b.jpg")
    Path("list.txt").write_text(f"shots/sub/b.jpg\n{other.absolute()}\n")
    assert places(words.find(["@list.txt"])) == ["sub/b.jpg", "other/sub/b.jpg"]


def test_a_list_may_name_addresses_and_come_from_standard_input(shots, monkeypatch):
    content = io.BytesIO(b"shots/a.png\nhttps://example.org/b.png\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content))
    found = words.find("@-")
    assert [str(image) for image, _ in found.images] == ["shots/a.png", "https://example.org/b.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a.png\n\ngone.png\n", "list.txt, line 3: shots/gone.png: no such image or folder"),
        (b"a.png\ngone*.png\n", r"list.txt, line 2: shots/gone\*.png: no image matches"),
        (b"a.png\n\xff\xfe.png\n", "list.txt, line 2: must be UTF-8 text"),
        (b"# nothing\n\n", "list.txt: must list images, got none"),
        (b"@list.txt\n", "list.txt, line 1: shots/@list.txt: no such image"),
        (b"ftp://host/a.png\n", "line 1: address must begin with http:// or https://, got ftp"),
        (b"a\0.png\n", "line 1: .*no such image"),
        (b"http://\n", "line 1: address must"),
    ],
)
def test_a_line_that_names_no_image_is_refused_with_its_number(shots, content, message):
    (shots / "list.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        words.find("@shots/list.txt")


def test_a_list_that_cannot_be_read_is_refused(shots):
    for name in ("gone.txt", "shots"):
        with pytest.raises(InputError, match=f"{name}: list cannot be read"):
            words.find(f"@{name}")


def test_a_list_without_an_end_is_refused(shots, monkeypatch):
    monkeypatch.setattr(words, "_MOST_OF_LIST", 1000)
    with pytest.raises(InputError, match=r"/dev/zero: list must have at most 1,000 bytes"):
        words.find("@/dev/zero")
    (shots / "list.txt").write_bytes(b"a.png" + b"\n" * 995)
    assert places(words.find("@shots/list.txt")) == ["a.png"]


def test_addresses_are_named_safely_and_those_of_one_name_are_numbered(shots):
    given = [
        "https://example.org/x/a.png",
        "https://example.org/y/a.png?size=large",
        "https://example.org/x/a.png",  # once more
        "https://example.org/..%2f..%2fetc%2fpasswd",
        "https://example.org/.hidden/",
        "https://example.org",
        "https://example.org/new%0aline%1b[0m.png",
        f"https://example.org/{'long' * 100}.png",
        str(shots / "a.png"),
    ]
    found = places(words.find(given))
    assert found[:2] == ["a-2.png", "a-3.png"]  # the file keeps its name
    assert found[2:6] == ["_.._etc_passwd", "hidden", "example_org", "new_line_0m.png"]
    assert len(found[6]) < 130
    assert found[6].endswith("g.png")
    assert found[7:] == ["a.png"]


def test_passwords_and_keys_of_an_address_are_not_shown():
    ((image, _),) = words.find("https://me:secret@example.org:8080/a.png?key=secret#secret").images
    assert str(image) == "https://example.org:8080/a.png?... (a.png)"
    assert "secret" not in repr(image)


@pytest.mark.parametrize("word", ["ftp://u:secret@h/a", "file:///etc/passwd", "http://[::1/a"])
def test_other_addresses_are_refused_without_being_shown(word):
    with pytest.raises(InputError, match=r"address must b.* http") as caught:
        words.find(word)
    assert "secret" not in str(caught.value)


def test_a_bad_address_among_others_is_told_by_its_place():
    given = ["http://h/a.png", "http://u:secret@127.0.0.1:99999/a"]
    with pytest.raises(InputError, match=r"^image 2 of 2: address must be one such as") as caught:
        words.find(given)
    assert "secret" not in str(caught.value)


def test_a_host_s_name_has_no_ending_to_lose(tmp_path):
    found = words.find("http://127.0.0.1:8000/")
    (item,) = output_names.plan(found.images, tmp_path, [".png"])
    assert item.file(".png").name == "127_0_0_1.png"


def test_an_empty_word_is_not_the_current_folder(shots):
    with pytest.raises(InputError, match=r"images must be paths, .* got an empty word"):
        words.find(["shots", ""])


@pytest.mark.parametrize("given", [["-", "-"], ["@-", "-"]])
def test_standard_input_is_named_once(given):
    with pytest.raises(InputError, match=f"must be named once, .* got {given[0]} and -"):
        words.find(given)


class Input:
    def __init__(self, content, is_terminal=False):
        self.buffer, self.closed, self.isatty = io.BytesIO(content), False, lambda: is_terminal


def test_standard_input_holds_one_image(monkeypatch, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "BMP")
    monkeypatch.setattr(sys, "stdin", Input(buffer.getvalue()))
    found = words.find(["-"])
    (item,) = output_names.plan(found.images, tmp_path, [".png"])
    assert item.file(".png") == tmp_path / "stdin.png"
    content = given_images.read(item.image)
    np.testing.assert_array_equal(PIL.Image.open(io.BytesIO(content)), pixels)
    with pytest.raises(ImageFileError, match="standard input is empty"):
        given_images.read(item.image)


def test_a_terminal_or_a_closed_standard_input_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "stdin", Input(b"", is_terminal=True))
    for word in ("-", "@-"):
        with pytest.raises(InputError, match="got a terminal"):
            words.find(word)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="got a closed one"):
        words.find("-")


def test_a_path_is_never_an_address_a_list_or_standard_input(shots):
    for word in ("-", "@list.txt", "http://example.org/a.png"):
        with pytest.raises(InputError, match="no such image or folder"):
            words.find(Path(word))


def test_a_video_is_no_image(shots):
    (shots / "film.mp4").write_bytes(b"")
    (shots / "film").write_bytes(b"\0\0\0\x20ftypisom")
    for name in ("film.mp4", "film"):
        with pytest.raises(InputError, match="got a video; 'kerasseg predict --video'"):
            words.find(shots / name)
    assert (shots / "film.mp4", "a video") in words.find(shots).passed_over


def test_videos_are_found_in_folders_and_nothing_else_is_one(shots):
    (shots / "sub" / "Film.MP4").write_bytes(b"")
    (shots / "sub" / "film.gif").write_bytes(b"")  # as by its own name
    found = words.find(shots, are_videos=True)
    assert places(found) == ["sub/Film.MP4", "sub/film.gif"]
    assert (shots / "a.png", "not the ending of a video") in found.passed_over
    for word, message in (
        (shots / "a.png", "must be a video, got an image"),
        ("https://example.org/film.mp4", "must be a file, got an address"),
        ("-", "must be a file, got standard input"),
        ("*.avi", "no video matches"),
        (shots / "sub" / "deep", "must hold videos, got none"),
    ):
        with pytest.raises(InputError, match=message):
            words.find(word, are_videos=True)


def test_what_is_no_file_has_the_name_of_its_place():
    assert elsewhere.name_of(Path("a/b.png")) == Path("a/b.png")
    assert elsewhere.name_of(elsewhere.StandardInput()) == Path("stdin")
    assert os.fspath(elsewhere.name_of(elsewhere.StandardInput())) == "stdin"
