import html.parser
import re
import shutil

import numpy as np
import pytest
from label_images import label_and_prediction

from kerasseg import metrics
from kerasseg.pipelines.classes import ClassSpace
from kerasseg.pipelines.evaluations import error_maps, evaluation_page
from kerasseg.pipelines.evaluations.extreme_images import ExtremeImages
from kerasseg.pipelines.evaluations.split_scores import SplitScores
from kerasseg.pipelines.runs.training_options import TrainingOptions

HOSTILE = "<script>alert(1)</script>\"'&"
COLORS = ((128, 64, 128), (244, 35, 232), (0, 0, 142), (107, 142, 35), (70, 70, 70))


class Page(html.parser.HTMLParser):
    """The tags, addresses, texts and alternative texts of a page."""

    VOID = ("meta", "img", "br")

    def __init__(self, page):
        super().__init__()
        self.tags, self.sources, self.alternatives, self.open = [], [], [], []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.open += [] if tag in self.VOID else [tag]
        self.sources += [attributes[key] for key in ("src", "href") if key in attributes]
        if tag == "img" or attributes.get("role") == "img":
            self.alternatives.append(attributes.get("alt") or attributes.get("aria-label"))

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data + " "


def evaluation(names, images=8, history=()):
    """An evaluation of predictions that are wrong here and there; the last class never occurs."""
    classes = ClassSpace(tuple(names), (COLORS * 50)[: len(names)])
    matrix = np.zeros((len(names), len(names)), np.int64)
    with SplitScores(len(names), ExtremeImages(2)) as counted:
        for index in range(images):
            label, prediction = label_and_prediction(index, (60, 90))
            image = np.random.default_rng(index).integers(0, 256, (1, 60, 90, 3), np.uint8)
            confidence = np.full((1, 60, 90), 0.9 - 0.05 * index, np.float32)
            name = np.array([f"{HOSTILE}{index}.png".encode()], object)
            counted(image, label[np.newaxis], prediction[np.newaxis], confidence, name)
            kept = label != 255
            np.add.at(matrix, (label[kept], prediction[kept]), 1)
        more = counted.scores()
    scores = {
        "dataset": HOSTILE,
        "split": "validation",
        "images": images,
        "fingerprint": "00",
        "checkpoint": "best",
        "view": {"window": (240, 320), "flip": True},
        "crf": None,
        "temperature": 1.0,
        "class_names": list(names),
        "absent_classes": [],
        "seconds": 2.0,
        "images_per_second": images / 2,
        "devices": ["CPU:0"],
        **metrics.scores(matrix),
        **more,
        "confusion_matrix": matrix,
    }
    options = TrainingOptions(model="unet")
    extremes = counted.extremes
    return evaluation_page.Evaluation(
        "runs/street",
        classes,
        scores,
        history,
        options if history else None,
        {"kerasseg": "0"},
        extremes.worst(),
        extremes.best(),
    )


HISTORY = [
    {"epoch": epoch, "loss": 2 / epoch, "mean_iou": None if epoch < 3 else 0.1 * epoch}
    for epoch in range(1, 6)
]
NAMES = ["road", HOSTILE, "car", "tree", "absent"]


@pytest.fixture(scope="module")
def page():
    return evaluation_page.render(evaluation(NAMES, history=HISTORY))


def test_the_page_is_whole_and_holds_nothing_from_outside(page):
    read = Page(page)
    assert read.open == []
    assert {"script", "link", "iframe"}.isdisjoint(read.tags)
    assert all(source.startswith("data:image/") for source in read.sources)
    assert not re.findall(
        r"https?://|@import|url\(|\son\w+=", re.sub(r"data:image/[^\"]*", "", page)
    )


def test_names_are_shown_and_never_become_part_of_the_page(page):
    assert HOSTILE in Page(page).text
    assert "<script" not in page


def test_every_picture_is_described(page):
    described = Page(page).alternatives
    assert len(described) == 2 + 1 + 4 * 4  # curves, calibration, and four pictures of four images
    assert all(described)
    assert any(text.startswith("errors (mean IoU") for text in described)


def test_scores_are_there_as_numbers(page):
    shown = evaluation(NAMES).scores
    text = Page(page).text
    for name in ("mean_iou", "mean_boundary_iou", "image_mean_iou", "expected_calibration_error"):
        assert f" {name} {100 * shown[name]:.1f} " in text
    assert " 0.9333" not in text
    assert "absent" in text


def test_the_page_says_how_it_was_evaluated(page):
    text = Page(page).text
    assert "windows and scales window (240, 320), flip True" in " ".join(text.split())
    assert "4 images/s (8 images in 2 s" in text


def test_a_file_without_a_run_has_no_curves_and_no_options():
    page = evaluation_page.render(evaluation(NAMES))
    assert "<h2>Training</h2>" not in page
    assert "Options of the training" not in page


def test_many_classes_are_a_picture_with_the_largest_confusions_beside_it():
    names = [f"class {index}" for index in range(60)]
    few, many = (Page(evaluation_page.render(evaluation(chosen))) for chosen in (NAMES, names))
    assert len(many.alternatives) == len(few.alternatives) + 1
    assert "Largest confusions" in many.text


def test_the_legend_of_images_has_the_classes_that_are_shown():
    (legend,) = re.findall('<p class="legend">(.*)</p>', evaluation_page.render(evaluation(NAMES)))
    assert re.findall(r"</span>([^<]+)</span>", legend)[2:] == ["car", "tree", "ignored", "error"]


def test_errors_are_red_and_ignored_pixels_white():
    image = evaluation(NAMES).worst[0]
    drawn = error_maps.draw(image)
    wrong = (image.label != image.prediction) & (image.label != 255)
    assert wrong.any()
    np.testing.assert_array_equal((drawn == error_maps.ERROR_COLOR).all(axis=-1), wrong)
    np.testing.assert_array_equal((drawn == 255).all(axis=-1), image.label == 255)


def test_a_browser_shows_the_page_in_any_width_without_asking_for_anything(page, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api")
    executable = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if executable is None:
        pytest.skip("THE PAGE IS NOT TESTED: there is no chromium; apt-get install chromium")
    file = tmp_path / "report.html"
    file.write_text(page)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        shown, addresses, told = browser.new_page(), [], []
        shown.on("request", lambda request: addresses.append(request.url))
        shown.on("console", lambda message: told.append(message.text))
        shown.goto(file.as_uri())
        for width in (390, 1280):
            shown.set_viewport_size({"width": width, "height": 800})
            assert shown.evaluate("document.documentElement.scrollWidth") <= width
        loaded = "[...document.images].every(image => image.complete && image.naturalWidth)"
        assert shown.evaluate(loaded)
        browser.close()
    assert told == []
    assert {address.partition(":")[0] for address in addresses} <= {"file", "data"}
