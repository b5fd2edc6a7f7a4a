import base64
import html.parser
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines import check, convert
from kerasseg.pipelines.checks import page as check_page

COLORS = np.array([(128, 64, 128), (244, 35, 232), (0, 0, 142)])
NAMES = ("road", "a<b>", "car")
MAGENTA = (255, 0, 255)
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(html.parser.HTMLParser):
    """Collects tags and text, and checks that what is opened is closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts, self.sources, self.headings = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("src", "href"):
                self.sources.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append(data)

    @property
    def text(self):
        return " ".join(self.texts)

    def images(self):
        return [decode(source) for source in self.sources]


def decode(source):
    head, content = source.split(",", 1)
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    with PIL.Image.open(io.BytesIO(base64.b64decode(content, validate=True))) as picture:
        assert f"image/{picture.format.lower()};" in head
        return np.asarray(picture.convert("RGB")).astype(int)


def smooth_image(seed, size):
    """JPEG, in which the page holds images, keeps what is smooth."""
    y, x = np.mgrid[: size[0], : size[1]]
    planes = [x * 2 + seed, y * 2 + seed, 255 - x - y]
    return np.stack([plane.clip(0, 255) for plane in planes], axis=-1).astype(np.uint8)


def blocks(size, values):
    """Stripes of 16 rows of each value in turn."""
    rows = np.array(values, np.uint8)[np.arange(size[0]) // 16 % len(values)]
    return np.repeat(rows[:, None], size[1], axis=1)


@pytest.fixture
def smooth_tree(tmp_path, save_image):
    """Ten images of two classes in train, of which one has the third; one in validation."""
    tree = tmp_path / "smooth"
    tree.mkdir()
    (tree / "classes.txt").write_text(
        "".join(f"{n} {r} {g} {b}\n" for n, (r, g, b) in zip(NAMES, COLORS, strict=True))
    )
    for index in range(11):
        folder, size = ("train" if index < 10 else "val"), (64, 80)
        values = (0, 1, 2, 255) if index in (7, 10) else (0, 1)
        save_image(tree / "images" / folder / f"{index:02}.png", smooth_image(index, size))
        save_image(tree / "labels" / folder / f"{index:02}.png", blocks(size, values))
    return tree


def in_one_line(text):
    return " ".join(text.split())


def near(picture, expected):
    """Whether a picture that went through JPEG is that one: a few edges may be off."""
    return np.abs(picture - expected).mean() < 3


def blend(image, label):
    """Half image and half colour; the image alone where the label is 255."""
    blended = image.astype(float).copy()
    for value, color in enumerate(COLORS):
        blended[label == value] = image[label == value] / 2 + color / 2
    return blended


# The screen


def test_a_clean_tree_gives_0_and_tables_of_splits_and_classes(run_cli, folder_tree):
    result = run_cli("check", folder_tree)
    assert (result.exit_code, result.stderr) == (0, "")
    text = in_one_line(result.stdout)
    assert text.startswith("folder, raw split pairs official images labels image size")
    assert "train 3 - 3 3 11x15 to 15x19, median 13x17" in text
    assert "train 2 png RGB, 1 jpeg RGB 2 8-bit gray, 1 palette" in text
    assert result.stdout.splitlines()[-1] == "nothing wrong"
    report = check.run(folder_tree)
    shares = [f"{100 * split.share(2):.2f} {split.images_with_class[2]}" for split in report.splits]
    assert f"car {' '.join(shares)}" in text


def test_errors_give_1_and_are_listed_with_their_cause(run_cli, folder_tree):
    (folder_tree / "labels" / "train" / "three.png").unlink()
    result = run_cli("check", folder_tree)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    text = in_one_line(result.stdout)
    assert "error labels/train/three.png label is missing no label file of this name" in text
    assert result.stdout.splitlines()[-1] == "1 error, 0 warnings"


def test_warnings_alone_give_0(run_cli, camvid_tree):
    result = run_cli("check", camvid_tree)
    assert result.exit_code == 0
    assert "split train must have 367 images, got 5" in in_one_line(result.stdout)
    assert result.stdout.splitlines()[-1] == "0 errors, 2 warnings"


def test_of_each_kind_twenty_are_shown_and_the_rest_counted(run_cli, folder_tree, save_image):
    for index in range(23):
        save_image(
            folder_tree / "images" / "train" / f"x{index:02}.png", smooth_image(index, (4, 4))
        )
    result = run_cli("check", folder_tree)
    text = in_one_line(result.stdout)
    assert text.count("label is missing") == 20
    assert "labels/train/x19.png" in text
    assert "labels/train/x20.png" not in text
    assert "and 3 more missing label" in text
    assert result.stdout.splitlines()[-1] == "23 errors, 0 warnings"


def test_values_outside_the_table_are_shown_with_the_option_that_helps(run_cli, folder_tree):
    (folder_tree / "classes.txt").write_text("ground\nthing\n")
    for path in (folder_tree / "labels").rglob("*.png"):
        with PIL.Image.open(path) as picture:
            mask = np.where(np.asarray(picture) == 1, 255, 0).astype(np.uint8)
        PIL.Image.fromarray(mask).save(path)
    result = run_cli("check", folder_tree)
    assert result.exit_code == 1
    assert "255:1?" in result.stdout
    assert run_cli("check", folder_tree, "--map", "255:1").exit_code == 0
    assert run_cli("check", folder_tree, "--map", "255:ignore").exit_code == 1


def test_the_sum_of_values_is_shown(run_cli, folder_tree):
    path = folder_tree / "labels" / "train" / "three.png"
    with PIL.Image.open(path) as picture:
        label = np.asarray(picture).copy()
    label[0, :7] = 90
    PIL.Image.fromarray(label).save(path)
    text = in_one_line(run_cli("check", folder_tree).stdout)
    assert "value pixels labels 90 7 1" in text
    assert "likely cause: another class table, or a resized label" in text


def test_a_converted_dataset_is_distinguished_from_a_raw_one(run_cli, folder_tree, tmp_path):
    dataset = convert.run("folder", folder_tree, tmp_path / "data")
    result = run_cli("check", tmp_path / "data", "--full")
    assert result.exit_code == 0
    assert in_one_line(result.stdout).startswith("folder, converted")
    shard = dataset.root / dataset.splits["train"].shards[0]["file"]
    shard.unlink()
    result = run_cli("check", tmp_path / "data")
    assert result.exit_code == 1
    assert "shard is missing" in in_one_line(result.stdout)


def test_options_of_a_dataset_reach_it(run_cli, folder_tree):
    for path in (folder_tree / "labels").rglob("*.png"):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    assert run_cli("check", folder_tree).exit_code == 1
    assert run_cli("check", folder_tree, "--label-suffix", "_mask").exit_code == 0
    result = run_cli("check", folder_tree, "--dataset", "folder", "--coarse")
    assert result.exit_code == 1
    assert "got --coarse" in result.stderr


@pytest.mark.parametrize(
    "more", [["--workers", "0"], ["--dataset", "imagenet"], ["--samples", "-1"], ["--jsn", "x"]]
)
def test_bad_usage_gives_2(run_cli, folder_tree, more):
    assert run_cli("check", folder_tree, *more).exit_code == 2


def test_a_folder_that_is_not_there_gives_2(run_cli, tmp_path):
    assert run_cli("check", tmp_path / "nowhere").exit_code == 2


def test_a_folder_of_no_known_layout_gives_1_without_a_traceback(run_cli, tmp_path):
    result = run_cli("check", tmp_path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {tmp_path}: must hold a converted dataset")


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(run_cli, folder_tree, option):
    file = folder_tree / "nowhere" / "report"
    result = run_cli("check", folder_tree, option, file)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == f"Error: {file}: cannot be written (no folder {file.parent}).\n"


def test_a_file_that_is_a_folder_gives_2(run_cli, folder_tree, tmp_path):
    assert run_cli("check", folder_tree, "--json", tmp_path).exit_code == 2


def test_an_interrupted_check_says_so(run_cli, folder_tree, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "run", interrupt)
    result = run_cli("check", folder_tree)
    assert result.exit_code == 130
    assert result.stderr == "Error: interrupted; nothing was written.\n"


def test_checking_imports_no_tensorflow(folder_tree, tmp_path):
    convert.run("folder", folder_tree, tmp_path / "data")
    program = """if True:
        import sys
        from kerasseg.pipelines.cli import main

        for path in sys.argv[1:3]:
            main(["check", path, "--full", "--html", sys.argv[3]], standalone_mode=False)
        heavy = {"tensorflow", "keras", "tensorflow_datasets", "keras_cv", "scipy"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
    """
    paths = [folder_tree, tmp_path / "data", tmp_path / "page.html"]
    finished = subprocess.run(
        [sys.executable, "-c", program, *map(str, paths)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.count("nothing wrong") == 2


# JSON


def test_the_json_has_all_findings_shares_and_values(run_cli, folder_tree, tmp_path, save_image):
    for index in range(23):
        save_image(
            folder_tree / "images" / "train" / f"x{index:02}.png", smooth_image(index, (4, 4))
        )
    save_image(folder_tree / "labels" / "train" / "x00.png", np.full((4, 4), 9, np.uint8))
    file = tmp_path / "report.json"
    result = run_cli("check", folder_tree, "--json", file)
    assert result.exit_code == 1
    assert f"written to {file}" in result.stdout
    assert list(tmp_path.glob("*.tmp")) == []
    report, content = check.run(folder_tree), json.loads(file.read_text())
    assert (content["dataset"], content["is_converted"]) == ("folder", False)
    assert (content["errors"], content["warnings"]) == (23, 0)
    assert len(content["findings"]) == 23
    assert content["findings"][0] == {
        "severity": "error",
        "kind": "label values",
        "split": "train",
        "file": "labels/train/x00.png",
        "what": "label values must be 0 to 2 or 255, got 9 (16 pixels)",
        "cause": "another class table, or a resized label",
    }
    assert content["unlisted_values"] == [{"value": 9, "pixels": 16, "labels": 1}]
    assert content["classes"][1] == {"name": "side walk", "color": [244, 35, 232]}
    train = content["splits"]["train"]
    assert train["class_pixels"] == report.splits[0].class_pixels
    assert train["class_shares"] == [report.splits[0].share(label) for label in range(3)]
    assert (train["pairs"], train["images"], train["labels"]) == (26, 26, 3)
    assert train["largest"] == [15, 19]


# The page


def test_the_page_is_whole_and_holds_nothing_from_outside(run_cli, smooth_tree, tmp_path):
    file = tmp_path / "page.html"
    result = run_cli("check", smooth_tree, "--html", file, "--samples", 3)
    assert result.exit_code == 0
    page = Page(file.read_text())
    assert {"script", "link", "iframe"}.isdisjoint(page.tags)
    assert all(source.startswith("data:image/") for source in page.sources)
    # 3 samples of train, and the only one of validation.
    assert page.tags.count("figure") == 4
    assert page.tags.count("img") == 3 * 4
    assert page.headings[0] == "folder, raw: nothing wrong"
    assert "a<b>" in page.text  # a class, whose name is escaped
    assert "b" not in page.open


def test_an_overlay_is_half_the_image_and_half_the_colour_of_the_class(smooth_tree):
    page = Page(check_page.render(check.run(smooth_tree, samples=1)))
    _, _, _, image, label, overlay = page.images()  # those of validation
    size = (64, 80)
    expected_label = blocks(size, (0, 1, 2, 255))
    colors = np.vstack([COLORS, np.zeros((252, 3)), [(255, 255, 255)]])
    np.testing.assert_array_equal(label, colors[expected_label])
    expected = smooth_image(10, size)
    assert near(image, expected)
    assert near(overlay, blend(expected, expected_label))
    assert not near(overlay, expected)


def test_a_rare_class_is_among_the_samples(smooth_tree):
    for samples in (1, 2, 4):
        report = check.run(smooth_tree, samples=samples)
        train = [picture for picture in report.pictures if picture.split == "train"]
        assert train[0].file == "images/train/07.png"
        assert train[0].caption == "road, a<b>, car"
        assert len({picture.file for picture in train}) == samples


def test_there_are_no_more_samples_than_images_and_the_choice_is_always_the_same(smooth_tree):
    reports = [check.run(smooth_tree, samples=50, workers=workers) for workers in (1, 4)]
    assert reports[0].pictures == reports[1].pictures
    assert len(reports[0].pictures) == 11


@pytest.mark.parametrize("size", [(960, 600), (600, 960)])
def test_images_are_made_no_longer_than_480_and_labels_stay_in_place(smooth_tree, save_image, size):
    label = blocks(size, (0, 0, 0, 1, 1, 2))
    save_image(smooth_tree / "images" / "val" / "10.png", smooth_image(0, size))
    save_image(smooth_tree / "labels" / "val" / "10.png", label)
    page = Page(check_page.render(check.run(smooth_tree, samples=1)))
    image, drawn, overlay = page.images()[3:]
    assert image.shape == overlay.shape == (size[0] // 2, size[1] // 2, 3)
    np.testing.assert_array_equal(drawn, COLORS[label[::2, ::2]])


def test_a_label_that_is_wrong_is_drawn_with_its_strange_values_in_magenta(
    smooth_tree, save_image, tmp_path, run_cli
):
    label = blocks((64, 80), (0, 1))
    label[:32, :40] = 99
    save_image(smooth_tree / "labels" / "val" / "10.png", label)
    other = smooth_tree / "labels" / "train" / "03.png"
    save_image(other, label[::2])  # of another size: it cannot be drawn
    file = tmp_path / "page.html"
    assert run_cli("check", smooth_tree, "--html", file, "--samples", 1).exit_code == 1
    page = Page(file.read_text())
    assert page.headings[-2:] == ["validation: labels that are wrong", "train: samples"]
    _, drawn, overlay = page.images()[:3]
    expected = np.where((label == 99)[..., None], MAGENTA, COLORS[label % 3])
    np.testing.assert_array_equal(drawn, expected)
    assert near(overlay, (smooth_image(10, (64, 80)) + expected) / 2)
    assert "label values must be 0 to 2 or 255, got 99 (1280 pixels)" in page.text


def test_colours_outside_the_table_are_drawn_in_magenta_too(smooth_tree, save_image):
    label = COLORS[blocks((64, 80), (0, 1, 2))].astype(np.uint8)
    label[:32, :40] = (1, 2, 3)
    save_image(smooth_tree / "labels" / "val" / "10.png", label)
    report = check.run(smooth_tree, samples=1)
    (problem,) = [picture for picture in report.pictures if picture.is_problem]
    with PIL.Image.open(io.BytesIO(problem.label)) as picture:
        drawn = np.asarray(picture)
    expected = np.where((label == (1, 2, 3)).all(axis=-1)[..., None], MAGENTA, label)
    np.testing.assert_array_equal(drawn, expected)


def test_names_of_files_are_escaped_on_the_page(run_cli, smooth_tree, tmp_path):
    name = '<img src=x onerror="alert(1)">'.replace("/", "")
    for folder in ("images", "labels"):
        path = smooth_tree / folder / "val" / "10.png"
        shutil.copy(path, path.with_name(f"{name}&.png"))
    file = tmp_path / "page.html"
    run_cli("check", smooth_tree, "--html", file)
    page = Page(file.read_text())
    assert f"images/val/{name}&.png" in page.text
    assert all(source.startswith("data:image/") for source in page.sources)


def test_samples_of_records_are_those_of_their_source(smooth_tree, tmp_path):
    dataset = convert.run("folder", smooth_tree, tmp_path / "data")
    raw, records = (check.run(path, samples=1) for path in (smooth_tree, dataset.root))
    assert records.pictures == raw.pictures


def test_a_page_of_many_findings_stays_short(run_cli, smooth_tree, save_image):
    for index in range(check_page.MOST_FINDINGS + 5):
        (smooth_tree / "images" / "train" / f"x{index:04}.png").write_bytes(b"")
    page = Page(check_page.render(check.run(smooth_tree, samples=0)))
    assert "and 5 more" in page.text
    assert page.texts.count("file is empty") == check_page.MOST_FINDINGS


def test_a_report_can_go_to_standard_output(folder_tree):
    command = [sys.executable, "-m", "kerasseg", "check", folder_tree, "--json", "/dev/stdout"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    start, end = done.stdout.index('{\n "path"'), done.stdout.rindex("}")
    assert json.loads(done.stdout[start : end + 1])["dataset"] == "folder"
    assert Path("/dev/stdout").is_symlink()


def test_a_report_s_file_that_is_a_folder_is_refused_before_the_work(
    run_cli, folder_tree, tmp_path
):
    result = run_cli("check", folder_tree, "--html", tmp_path)
    assert result.exit_code != 0
    assert "is a" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_a_report_replaces_a_report_and_no_other_file(run_cli, folder_tree, tmp_path, option):
    classes = folder_tree / "classes.txt"
    before = classes.read_bytes()
    result = run_cli("check", folder_tree, option, classes)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {classes}: must be a new file or an earlier report")
    assert classes.read_bytes() == before
    for _ in range(2):
        assert run_cli("check", folder_tree, option, tmp_path / "report").exit_code == 0


@pytest.mark.parametrize(
    ("option", "content"),
    [
        ("--json", '{"images": [], "annotations": []}'),  # as COCO's
        ("--json", '{\n "dataset": "folder",\n "errors": 0}'),  # a conversion's outcome
        ("--html", '<!DOCTYPE html>\n<html lang="en">\n<head>\n<title>mine</title>'),
    ],
)
def test_a_report_replaces_no_file_that_is_like_one(
    run_cli, folder_tree, tmp_path, option, content
):
    (tmp_path / "mine").write_text(content)
    result = run_cli("check", folder_tree, option, tmp_path / "mine")
    assert result.exit_code == 1
    assert "must be a new file or an earlier report, got one that begins with" in result.stderr
    assert (tmp_path / "mine").read_text() == content


@pytest.mark.parametrize(
    ("option", "value"), [("suspects", "3"), ("checkpoint", "last"), ("code", "nope.py")]
)
def test_options_of_a_network_are_refused_without_one(option, value, run_cli, folder_tree):
    result = run_cli("check", folder_tree, f"--{option}", value)
    assert result.exit_code == 1
    told = " ".join(result.output.split())
    assert f"{option} must be left out without a network to compare labels with" in told
    assert value in told
