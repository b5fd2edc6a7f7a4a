"""Labels whose colours and numbers may contradict each other: the true classes, or a refusal."""

import io
import random

import numpy as np
import PIL.Image
import pytest
from drawn_labels import draw_case, encode

from kerasseg.pipelines.classes import ClassSpace, Description, class_maps, ignoring
from kerasseg.pipelines.classes.label_maps import LabelMap
from kerasseg.pipelines.classes.label_notes import LabelNotes, contradictions, merged, remarks
from kerasseg.pipelines.classes.palettes import ALPHA, GRAY_AS_RGB, Reader
from kerasseg.pipelines.errors import ImageFileError, InputError
from kerasseg.pipelines.images.label_files import read_label

COLORS = ((0, 0, 0), (48, 112, 32), (176, 112, 32))
NAMES = ("background", "cat", "dog")
TRUTH = np.array([[0, 0, 1, 1], [0, 2, 2, 1]], np.uint8)


def describe(colors=COLORS, labels_are="either", names=NAMES, **more):
    return Description(
        ClassSpace(names, COLORS[: len(names)]),
        {**{label: label for label in range(len(names))}, 255: 255},
        {color: label for label, color in enumerate(colors)},
        labels_are=labels_are,
        **more,
    )


def save(picture, **options):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


def with_palette(indices, palette):
    picture = PIL.Image.fromarray(np.asarray(indices, np.uint8))
    picture.putpalette([channel for color in palette for channel in color])
    return save(picture)


def gray(*values):
    return [(value,) * 3 for value in values]


def convert(content, description):
    label_map = LabelMap(description)
    reading = label_map.read(*read_label(content))
    return label_map.apply(reading)[0], reading.notes


def label_of(content, description):
    return convert(content, description)[0].tolist()


def judge(contents, description):
    """Returns the notes of labels, and what they leave open together."""
    parts = [LabelNotes() for _ in contents]
    for number, content in enumerate(contents):
        parts[number].add(f"{number}.png", convert(content, description)[1])
    notes = merged(parts)
    assert notes == merged(reversed(parts))
    return notes, [f"{file}: {what}" for file, what, _ in contradictions(description, notes)]


# One label


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_colours_of_the_list_decide_over_the_numbers_of_a_palette(order):
    indices = np.argsort(order).astype(np.uint8)[TRUTH]
    palette = [COLORS[label] for label in order] + [(9, 9, 9)] * 5
    assert label_of(with_palette(indices, palette), describe()) == TRUTH.tolist()


def test_the_palette_that_quantising_makes_is_understood():
    picture = PIL.Image.fromarray(np.array(COLORS, np.uint8)[TRUTH]).quantize(3)
    assert np.asarray(picture).tolist() != TRUTH.tolist()
    assert label_of(save(picture), describe()) == TRUTH.tolist()


def test_a_palette_is_read_at_once_as_entry_by_entry(monkeypatch):
    rng = random.Random(7)
    # Palettes such as those of gray, in which few colours are of no class.
    colors = ((0, 0, 0), (1, 1, 1), (2, 2, 2), (9, 0, 0), (3, 3, 3), (0, 8, 0))
    at_once = 0
    for _ in range(1500):
        names = tuple("abcde"[: rng.randint(2, 5)])
        space = ClassSpace(names, tuple(rng.sample(colors, len(names))))
        table = {color: label for label, color in enumerate(space.colors)}
        values = {label: label for label in range(len(names))}
        label_map = LabelMap(Description(space, values, table, labels_are="either"))
        palette = np.array(rng.choices(colors, k=rng.randint(1, 5)), np.uint8)
        raw = np.array([rng.choices(range(rng.randint(1, 6)), k=3)], np.uint8)
        results = []
        for way in (None, lambda self, palette: (None, 0)):
            with monkeypatch.context() as patched:
                if way:
                    patched.setattr(Reader, "_own_entries", way)
                try:
                    reading = label_map.read(raw, palette)
                    codes = reading.codes if reading.codes is None else reading.codes.tolist()
                    results.append((reading.raw.tolist(), codes, reading.notes))
                except ImageFileError as error:
                    results.append(str(error))
        assert results[0] == results[1]
        at_once += results[0][1] is not None and not isinstance(results[0], str)
    assert 300 < at_once < 1400


def test_entries_that_no_pixel_uses_may_have_any_colour():
    palette = [COLORS[0], (1, 1, 1), COLORS[2], COLORS[1]]
    assert label_of(with_palette([[0, 2, 3]], palette), describe()) == [[0, 2, 1]]


@pytest.mark.parametrize(
    ("palette", "message"),
    [
        ([COLORS[0], (128, 0, 0), (0, 128, 0)], r"entry 1 .* cat by number, and no class by .*128"),
        ([COLORS[0], COLORS[2], (9, 9, 9)], r"entry 1 .* got cat by number, and dog by colour"),
        (COLORS[:2], r"entry 2 .* got dog by number, and no class by colour none"),
    ],
)
def test_used_colours_that_are_no_classes_are_refused_with_both_readings(palette, message):
    content = encode(TRUTH, 8, 3, bytes(channel for color in palette for channel in color))
    with pytest.raises(ImageFileError, match=message) as refusal:
        label_of(content, describe())
    assert "--labels-are numbers" in refusal.value.cause
    assert label_of(content, describe(labels_are="numbers")) == TRUTH.tolist()
    with pytest.raises(ImageFileError, match=r"colours must be those|must have a colour for each"):
        label_of(content, describe(labels_are="colors"))


def test_an_ignored_border_needs_no_colour_in_the_list():
    palette = [*COLORS, *[(7, 7, 7)] * 252, (224, 224, 192)]
    assert label_of(with_palette([[0, 1, 2, 255]], palette), describe()) == [[0, 1, 2, 255]]


@pytest.mark.parametrize("length", [3, 256])
def test_a_plain_scale_of_gray_is_no_palette(length):
    description = describe(colors=(*COLORS, (5, 5, 5)))
    for label in (TRUTH, TRUTH * 0):
        content = with_palette(label, gray(*range(length)))
        assert label_of(content, description) == label.tolist()


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("colors", [(), COLORS])
def test_gray_saved_as_rgb_is_taken_for_numbers(mode, colors):
    content = save(PIL.Image.fromarray(TRUTH).convert(mode))
    label, notes = convert(content, describe(colors))
    np.testing.assert_array_equal(label, TRUTH)
    assert notes.claims == (GRAY_AS_RGB,)


def test_gray_with_opaque_alpha_is_taken_for_gray():
    label, notes = convert(save(PIL.Image.fromarray(TRUTH).convert("LA")), describe())
    np.testing.assert_array_equal(label, TRUTH)
    assert notes.claims == (ALPHA,)


def test_gray_as_rgb_in_colours_of_classes_is_read_by_colour():
    colors = gray(0, 255, 128)
    content = save(PIL.Image.fromarray(np.array(colors, np.uint8)[TRUTH]))
    assert label_of(content, describe(colors)) == TRUTH.tolist()


def test_gray_as_rgb_that_is_partly_a_colour_of_another_class_is_refused():
    content = save(PIL.Image.fromarray(TRUTH).convert("RGB"))
    with pytest.raises(ImageFileError, match=r"value 0 .* got background by number, and dog"):
        label_of(content, describe(((9, 9, 9), (8, 8, 8), (0, 0, 0))))


def test_a_gray_label_in_the_colours_of_classes_is_refused_without_the_option():
    colors = gray(0, 255)
    content = save(PIL.Image.fromarray(np.array([[0, 255]], np.uint8)))
    description = describe(colors, names=("ground", "crack"))
    with pytest.raises(ImageFileError, match=r"value 255 .* got ignored by number, and crack"):
        label_of(content, description)
    for labels_are, expected in (("numbers", [[0, 255]]), ("colors", [[0, 1]])):
        told = describe(colors, labels_are, ("ground", "crack"))
        assert label_of(content, told) == expected


def test_colours_of_classes_whose_values_an_option_changes_are_refused():
    by_number = with_palette(TRUTH, COLORS)
    as_rgb = save(PIL.Image.fromarray(np.array(COLORS, np.uint8)[TRUTH]))
    for changed in (
        ignoring(describe(names=("background", "void", "dog")), [1]),
        class_maps.describe(describe(), "1:ignore"),
        class_maps.describe(describe(), "1:2"),
    ):
        for content in (by_number, as_rgb):
            with pytest.raises(ImageFileError, match=r"since value 1 is said to be (ignored|dog)"):
                label_of(content, changed)
        # Numbers that are no class's change nothing in colours.
        assert label_of(as_rgb, class_maps.describe(describe(), "255:1")) == TRUTH.tolist()
    told = class_maps.describe(describe(labels_are="numbers"), "1:ignore")
    assert label_of(by_number, told) == np.where(TRUTH == 1, 255, TRUTH).tolist()


def test_ignored_values_must_leave_each_class_one():
    assert ignoring(describe(), [7, 9, 0]).raw_values == {
        0: 255,
        1: 1,
        2: 2,
        7: 255,
        9: 255,
        255: 255,
    }
    with pytest.raises(InputError, match=r"must not be classes, got 2, which is dog; .* '3: dog'"):
        ignoring(describe(), [7, 2])
    with pytest.raises(InputError, match=r"in \[0, 65535\], got 65536"):
        ignoring(describe(), [65536])


# All labels together, without colours in the list


def test_one_palette_for_all_labels_is_taken_by_number():
    palette = [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
    contents = [with_palette(TRUTH, palette + [(0, 0, 0)] * n) for n in (0, 5)]
    contents += [with_palette([[0, 1]], palette), save(PIL.Image.fromarray(TRUTH))]
    notes, found = judge(contents, describe(()))
    assert found == []
    (remark,) = remarks(notes)
    assert "taken by their numbers" in remark
    assert "0.png" in remark


def test_palettes_that_differ_are_refused_and_two_files_named():
    one = with_palette([[0, 1]], [(0, 0, 0), (128, 0, 0)])
    other = with_palette([[0, 1]], [(0, 0, 0), (0, 128, 0)])
    _, found = judge([one, one, other], describe(()))
    assert found == [
        "0.png: palettes must be the same in all labels, got (128, 0, 0) for number 1, and "
        "(0, 128, 0) in 2.png"
    ]
    moved = with_palette([[0, 2]], [(0, 0, 0), (0, 0, 128), (128, 0, 0)])
    _, found = judge([one, moved], describe(()))
    assert found == [
        "1.png: palettes must be the same in all labels, got (128, 0, 0) for number 2, and for "
        "number 1 in 0.png"
    ]


@pytest.mark.parametrize(
    ("indices", "palette", "message"),
    [
        (
            [[0, 1]],
            gray(255, 0),
            "must rise with the number, got (255, 255, 255) for 0",
        ),
        (
            [[0, 0]],
            gray(255, 0),
            "must rise with the number, got (255, 255, 255) for 0",
        ),
        ([[0, 1, 2]], gray(2, 0, 1), "must rise with the number, got (2, 2, 2) for 0"),
        ([[0, 1]], gray(0, 2), "must rise with the number, got (2, 2, 2) for 1"),
        ([[0, 1, 2]], gray(0, 1, 255), "gray of a palette must rise with the number"),
        (
            [[0, 1, 2]],
            COLORS[::-1],
            "must be background, which is class 0, got it for number 2",
        ),
    ],
)
def test_a_palette_whose_colours_speak_against_its_numbers_is_refused(indices, palette, message):
    (found,) = judge([with_palette(indices, palette)], describe(()))[1]
    assert message in found
    assert judge([with_palette(indices, palette)], describe((), "numbers"))[1] == []


@pytest.mark.parametrize(
    ("indices", "palette"),
    [
        ([[0, 1]], gray(0, 255)),
        ([[0, 1, 2]], gray(0, 127, 254)),
        ([[0, 1, 2]], gray(0, 0, 0)),
        ([[0, 1, 2]], gray(0, 1, 2, 2, 2)),
        ([[0, 1, 2]], [(0, 0, 0), (7, 8, 9), (7, 8, 9)]),
        ([[0, 1, 2]], COLORS),
    ],
)
def test_a_palette_that_says_nothing_else_is_taken_by_number(indices, palette):
    content = with_palette(indices, palette)
    assert judge([content], describe(()))[1] == []
    assert label_of(content, describe(())) == indices


def test_gray_numbers_in_a_palette_are_read_with_the_option():
    content = with_palette([[0, 1, 2]], gray(2, 0, 1))
    assert label_of(content, describe((), "colors")) == [[2, 0, 1]]


def test_a_list_of_some_colours_leaves_the_others_to_the_numbers():
    description = describe(COLORS[:2])
    palette = [*COLORS[:2], (9, 9, 9)]
    assert label_of(with_palette(TRUTH, palette), description) == TRUTH.tolist()
    one, other = (with_palette([[2]], [*COLORS[:2], color]) for color in ((9, 9, 9), (8, 8, 8)))
    assert judge([one, one], description)[1] == []
    assert len(judge([one, other], description)[1]) == 1
    with pytest.raises(ImageFileError, match=r"entry 0 .* got background by number"):
        label_of(with_palette([[0, 1]], [(9, 9, 9), (0, 0, 0)]), description)


def test_gray_and_coloured_rgb_labels_do_not_go_together():
    gray_rgb = save(PIL.Image.fromarray(TRUTH).convert("RGB"))
    colored = save(PIL.Image.fromarray(np.array(COLORS, np.uint8)[TRUTH]))
    _, found = judge([colored, gray_rgb], describe())
    assert found == [
        "1.png: RGB labels must all be of the classes' colours or all be gray, got gray here, and "
        "colours in 0.png"
    ]
    assert judge([colored, gray_rgb], describe(labels_are="numbers"))[1] == []


def test_every_kind_of_file_gives_the_true_classes_or_is_refused():
    rng = random.Random(0)
    right = refused = 0
    for case in range(2000):
        description, files = draw_case(rng)
        label_map, notes, labels = LabelMap(description), LabelNotes(), []
        try:
            for number, (_, content) in enumerate(files):
                reading = label_map.read(*read_label(content))
                labels.append(label_map.apply(reading)[0])
                notes.add(str(number), reading.notes)
        except ImageFileError:
            refused += 1
            continue
        if any(contradictions(description, notes)):
            refused += 1
            continue
        right += 1
        for label, (truth, _) in zip(labels, files, strict=True):
            np.testing.assert_array_equal(label, truth, str(case))
    # Gray colours contradict numbers now and then; all else must be understood.
    assert right > 1980
    assert refused > 0
