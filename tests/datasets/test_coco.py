import importlib
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from kerasseg.pipelines import convert, datasets
from kerasseg.pipelines.datasets import coco
from kerasseg.pipelines.errors import ImageFileError, InputError

FOLDER = Path(__file__).parents[1] / "published"
PANOPTIC, STUFF, VOC, VOC_CLASSES = (
    json.loads((FOLDER / f"{name}.json").read_text())
    for name in ("coco_panoptic", "coco_stuff", "coco_voc", "voc2012")
)
CATEGORIES = [number for number, *_ in PANOPTIC["categories"]]
PERSON, CAR, FENCE, RUG = 1, 3, 185, 200
SPLITS = {"train2017": (9, 25, 581921), "val2017": (139, 285)}
NAMES = {"train": "train2017", "validation": "val2017"}


def size_of(number):
    return 41 + 2 * (number % 7), 61 + 2 * (number % 5)


def save_image(path, number):
    """Saves a JPEG; those of odd number are gray, as some of COCO are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = size_of(number) if number % 4 == 1 else (*size_of(number), 3)
    pixels = np.random.default_rng(number).integers(0, 256, size, np.uint8)
    PIL.Image.fromarray(pixels).save(path, quality=80)


def save_segments(path, numbers):
    path.parent.mkdir(parents=True, exist_ok=True)
    red, green, blue = numbers % 256, numbers // 256 % 256, numbers // 65536
    PIL.Image.fromarray(np.stack((red, green, blue), -1).astype(np.uint8)).save(path)


def draw_segments(number, categories, crowds=()):
    """Draws a segment of each category and one of none; returns numbers, categories, the JSON."""
    generator = np.random.default_rng(number)
    ids = generator.choice(2**24 - 1, len(categories), replace=False) + 1
    ids[:3] = (7, 256 * 7, 65536 * 7)  # differ in the channel only
    index = generator.integers(-1, len(categories), size_of(number))
    index[:8] = 0  # a run over several rows
    numbers = np.where(index < 0, 0, ids[index])
    truth = np.where(index < 0, 0, np.array(categories)[index])
    truth_crowd = np.isin(index, crowds)
    segments = [
        {
            "id": int(id_),
            "category_id": category,
            "iscrowd": int(place in crowds),
            "bbox": [0, 0, 9, 9],
            "area": int((index == place).sum()),
        }
        for place, (id_, category) in enumerate(zip(ids, categories, strict=True))
    ]
    annotation = {
        "segments_info": segments,
        "file_name": f"{number:012}.png",
        "image_id": number,
    }
    return numbers, truth, truth_crowd, annotation


def write_annotations(path, annotations):
    images = [
        {"id": a["image_id"], "file_name": a["file_name"].replace("png", "jpg")}
        for a in annotations
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    categories = [
        {"supercategory": "x", "isthing": thing, "id": number, "name": name}
        for number, name, _, thing in PANOPTIC["categories"]
    ]
    document = {"info": {"year": 2018}, "licenses": [], "images": images}
    document |= {"annotations": annotations, "categories": categories}
    path.write_text(json.dumps(document))


@pytest.fixture
def panoptic(tmp_path):
    """The tree of panoptic; `{image: (category of each pixel, whether it is of a crowd)}`."""
    root, truth = tmp_path / "data", {}
    for folder, numbers in SPLITS.items():
        annotations = []
        for number in reversed(numbers):
            save_image(root / folder / f"{number:012}.jpg", number)
            # Each category occurs, two persons are together, and one of the crowds is no thing.
            share = CATEGORIES[numbers.index(number) :: len(numbers)]
            categories = [PERSON, CAR, PERSON, *share]
            segments, *labels, annotation = draw_segments(number, categories, crowds=(2, 5))
            save_segments(
                root / "annotations" / f"panoptic_{folder}" / f"{number:012}.png", segments
            )
            truth[f"{folder}/{number:012}.jpg"] = labels
            annotations.append(annotation)
        write_annotations(root / "annotations" / f"panoptic_{folder}.json", annotations)
    return root, truth


def edit(path, change):
    """Changes the annotations in a JSON file by a function."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def compare(splits, root, expected):
    assert {f for rows in splits.values() for f in rows} == set(expected)
    for split, rows in splits.items():
        for filename, (image, label) in rows.items():
            assert filename.removeprefix("coco/").startswith(NAMES[split])
            assert image == (root / filename).read_bytes()
            np.testing.assert_array_equal(label, expected[filename])


def classes_of(categories, table):
    """Looks each pixel up, the slow way."""
    flat = [table[int(category)] for category in categories.reshape(-1)]
    return np.array(flat, np.uint8).reshape(categories.shape)


def test_panoptic_has_the_published_class_of_each_pixels_segment(panoptic, convert_and_read):
    root, truth = panoptic
    splits, dataset = convert_and_read("coco", root)
    table = {0: 255} | {category: index for index, category in enumerate(CATEGORIES)}
    compare(splits, root, {f: classes_of(label, table) for f, (label, _) in truth.items()})
    assert dataset.classes.names == tuple(name for _, name, *_ in PANOPTIC["categories"])
    assert dataset.classes.colors == tuple(tuple(c) for *_, c, _ in PANOPTIC["categories"])
    present = np.unique(np.concatenate([label.ravel() for label, _ in truth.values()]))
    assert set(present) == {0, *CATEGORIES}


def test_voc_has_objects_of_voc_and_ignores_crowds_and_what_has_no_segment(
    panoptic, convert_and_read
):
    root, truth = panoptic
    splits, dataset = convert_and_read("coco", root, task="voc")
    table = dict.fromkeys(CATEGORIES, 0) | {0: 255}
    table |= {category: index for index, category in enumerate(VOC["category_ids"]) if index}
    expected = {}
    for filename, (categories, crowd) in truth.items():
        expected[filename] = np.where(crowd, 255, classes_of(categories, table))
    train = {f for f in expected if f.startswith("train")}
    few = {f for f in train if (np.isin(expected[f], range(1, 21))).sum() <= 1000}
    assert few
    assert few < train
    compare(splits, root, {f: label for f, label in expected.items() if f not in few})
    assert dataset.classes.names == tuple(name for name, _ in VOC_CLASSES["classes"])


@pytest.mark.parametrize(("area", "listed"), [(1000, 0), (1001, 1)])
def test_an_image_of_train_must_have_more_than_1000_pixels_of_objects(panoptic, area, listed):
    def change(document):
        def segment(number, category, size, crowd=0):
            fields = {"id": number, "category_id": category, "iscrowd": crowd}
            return fields | {"bbox": [0] * 4, "area": size}

        document["annotations"] = document["annotations"][:1]
        document["annotations"][0]["segments_info"] = [
            segment(5, PERSON, 999),
            segment(6, CAR, area - 999),
            segment(8, PERSON, 5000, crowd=1),
            segment(7, RUG, 5000),
        ]

    root = panoptic[0]
    for folder in SPLITS:
        edit(root / f"annotations/panoptic_{folder}.json", change)
    assert len(coco.examples(root, "train", task="voc")) == listed
    assert len(coco.examples(root, "validation", task="voc")) == 1
    assert len(coco.examples(root, "train")) == 1


@pytest.fixture
def stuff(tmp_path):
    """The tree of stuff; `{image: value of each pixel}`."""
    root, truth = tmp_path / "data", {}
    values = np.array([value for value, _ in STUFF["values"]] + [STUFF["unlabelled"]], np.uint8)
    for folder, numbers in SPLITS.items():
        for number in numbers:
            save_image(root / folder / f"{number:012}.jpg", number)
            label = np.random.default_rng(number).choice(values, size_of(number))
            truth[f"{folder}/{number:012}.jpg"] = label
            path = root / "stuffthingmaps_trainval2017" / folder / f"{number:012}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(label).save(path)
    return root, truth


def expected_stuff(truth):
    table = {value: index for index, (value, _) in enumerate(STUFF["values"])} | {255: 255}
    return {filename: classes_of(label, table) for filename, label in truth.items()}


def test_stuff_has_the_published_class_of_each_value(stuff, convert_and_read):
    root, truth = stuff
    splits, dataset = convert_and_read("coco", root, task="stuff")
    compare(splits, root, expected_stuff(truth))
    assert dataset.classes.names == tuple(name for _, name in STUFF["values"])
    assert len(set(dataset.classes.colors)) == 171
    panoptic = {name: tuple(color) for _, name, color, _ in PANOPTIC["categories"]}
    colors = dict(zip(dataset.classes.names, dataset.classes.colors, strict=True))
    shared = panoptic.keys() & colors.keys()
    assert len(shared) == 116  # all things, and the stuff that panoptic did not merge
    assert all(colors[name] == panoptic[name] for name in shared)


def test_stuff_labels_lie_below_annotations_or_beside_the_images_too(stuff, convert_and_read):
    root, truth = stuff
    labels = root / "stuffthingmaps_trainval2017"
    for path in labels.glob("val2017/*.png"):
        path.rename(root / "val2017" / path.name)
    (root / "annotations").mkdir()
    (labels / "train2017").rename(root / "annotations" / "train2017")
    for path in list((root / "annotations/train2017").glob("*.png")):
        path.with_name(f"{path.stem}_labelTrainIds.png").touch()
    splits, _ = convert_and_read("coco", root, task="stuff")
    compare(splits, root, expected_stuff(truth))


def test_images_may_lie_below_images(stuff, convert_and_read):
    root, truth = stuff
    (root / "images").mkdir()
    for folder in SPLITS:
        (root / folder).rename(root / "images" / folder)
    splits, _ = convert_and_read("coco", root, task="stuff")
    rows = {f: row for split in splits.values() for f, row in split.items()}
    expected = expected_stuff(truth)
    assert set(rows) == {f"images/{filename}" for filename in expected}
    for filename, label in expected.items():
        np.testing.assert_array_equal(rows[f"images/{filename}"][1], label)


@pytest.mark.parametrize("value", [11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90, 182, 254])
def test_a_value_that_stuff_does_not_use_is_an_error(stuff, value):
    root, truth = stuff
    label = truth["train2017/000000000025.jpg"]
    label[3, 4:6] = value
    path = root / "stuffthingmaps_trainval2017/train2017/000000000025.png"
    PIL.Image.fromarray(label).save(path)
    with pytest.raises(convert.ConversionError) as error:
        convert.run("coco", root, root / "out", allow_partial=True, task="stuff")
    (problem,) = error.value.problems
    assert problem.file == "train2017/000000000025.jpg"
    assert f"got {value} (2 pixels)" in problem.what


def test_the_source_may_be_the_folder_that_holds_coco(panoptic, convert_and_read):
    root, truth = panoptic
    (root.parent / "source").mkdir()
    root.rename(root.parent / "source" / "coco")
    root = root.parent / "source"
    assert coco.is_source(root)
    splits, _ = convert_and_read("coco", root)
    table = {0: 255} | {category: index for index, category in enumerate(CATEGORIES)}
    expected = {f"coco/{f}": classes_of(label, table) for f, (label, _) in truth.items()}
    compare(splits, root, expected)


def test_examples_are_sorted_by_name_and_small(panoptic):
    root, _ = panoptic
    listed = coco.examples(root, "train")
    assert [example.filename for example in listed] == [
        f"train2017/{number:012}.jpg" for number in SPLITS["train2017"]
    ]
    assert [example.image for example in listed] == [str(root / e.filename) for e in listed]
    # Three segments of each image are there besides its share of the categories.
    assert [len(e.details) for e in listed] == [5 * (3 + n) for n in (45, 44, 44)]
    assert coco.examples(root, "test") == []


def test_pictures_of_segments_may_be_unpacked_beside_the_images(panoptic):
    root, _ = panoptic
    (root / "annotations/panoptic_val2017").rename(root / "panoptic_val2017")
    for example in coco.examples(root, "validation"):
        assert Path(example.label).is_file()


def test_a_split_without_its_json_is_empty(panoptic):
    root, _ = panoptic
    (root / "annotations/panoptic_val2017.json").unlink()
    assert coco.examples(root, "validation") == []
    assert len(coco.examples(root, "train")) == 3


def test_a_pixel_of_a_segment_that_the_json_lacks_is_an_error(panoptic):
    root, _ = panoptic
    path = root / "annotations/panoptic_train2017.json"
    edit(path, lambda document: document["annotations"][0]["segments_info"].pop(1))
    with pytest.raises(convert.ConversionError) as error:
        convert.run("coco", root, root / "out", allow_partial=True)
    (problem,) = error.value.problems
    assert problem.file == "train2017/000000581921.jpg"
    assert "must be those of the JSON, got" in problem.what
    assert "pixels of others, as 1792" in problem.what  # 256 * 7, of draw_segments


def test_a_segment_without_pixels_changes_nothing(panoptic):
    root, _ = panoptic

    def change(document):
        for annotation in document["annotations"]:
            numbers = {segment["id"] for segment in annotation["segments_info"]}
            (unused,) = {2**24 - 1} - numbers
            annotation["segments_info"].append(
                {"id": unused, "category_id": RUG, "iscrowd": 0, "bbox": [], "area": 0}
            )

    before = [read_label(example) for example in coco.examples(root, "train")]
    edit(root / "annotations/panoptic_train2017.json", change)
    after = [read_label(example) for example in coco.examples(root, "train")]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def read_label(example):
    return coco.read_label(example, Path(example.label).read_bytes())


def test_an_image_without_segments_is_all_ignored(panoptic):
    root, _ = panoptic
    path = root / "annotations/panoptic_val2017.json"
    edit(path, lambda document: document["annotations"][0].update(segments_info=[]))
    number = SPLITS["val2017"][-1]
    save_segments(
        root / f"annotations/panoptic_val2017/{number:012}.png", np.zeros(size_of(number), int)
    )
    example = coco.examples(root, "validation")[-1]
    assert coco.describe(root).raw_values[0] == 255
    np.testing.assert_array_equal(read_label(example), np.zeros(size_of(number)))


def test_a_label_of_classes_in_the_place_of_segments_is_refused(panoptic):
    root, _ = panoptic
    example = coco.examples(root, "validation")[0]
    PIL.Image.fromarray(np.ones((4, 4), np.uint8)).save(example.label)
    with pytest.raises(ImageFileError, match="must be an RGB picture of segments, got gray"):
        read_label(example)


def test_missing_files_of_an_image_are_listed_by_its_name(panoptic):
    root, _ = panoptic
    (root / "train2017/000000000009.jpg").unlink()
    (root / "annotations/panoptic_val2017/000000000285.png").unlink()
    with pytest.raises(convert.ConversionError) as error:
        convert.run("coco", root, root / "out", allow_partial=True)
    assert [(problem.file, problem.what) for problem in error.value.problems] == [
        ("train2017/000000000009.jpg", "image is missing"),
        ("val2017/000000000285.jpg", "label is missing"),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["segments_info"][1].update(category_id=12), "got category 12 in "),
        (lambda a: a["segments_info"][1].update(category_id=[1]), "got .*unhashable"),
        (lambda a: a["segments_info"][1].pop("id"), "got no 'id' in "),
        (lambda a: a["segments_info"][1].update(id=0), "segment 0, which is 0, too large or"),
        (lambda a: a["segments_info"][1].update(id=-3), "panoptic annotations, got "),
        (lambda a: a["segments_info"][1].update(id=2**24), "segment 16777216, which"),
        (lambda a: a["segments_info"][1].update(id=7), "segment 7, .* or there twice"),
        (lambda a: a.pop("segments_info"), "got no 'segments_info' in "),
        (lambda a: a.update(segments_info=None), "panoptic annotations, got "),
        (lambda a: a.pop("file_name"), "got no 'file_name' in "),
        (lambda a: a.update(file_name="../000000000139.png"), r"file_name '\.\./0"),
        (lambda a: a.update(file_name="000000000139.jpg"), "file_name '000000000139.jpg'"),
        (lambda a: a.update(file_name=139), "panoptic annotations, got "),
        (lambda a: a.update(file_name="\0.png"), "file_name "),
        (lambda a: a.update(file_name="\ud800.png"), "file_name "),
        (lambda a: a["segments_info"][1].update(category_id=True), "category True in "),
        (lambda a: a["segments_info"][1].update(id=True), "segment True of category"),
    ],
)
def test_annotations_of_another_form_are_refused(panoptic, change, message):
    root, _ = panoptic
    path = root / "annotations/panoptic_val2017.json"
    edit(path, lambda document: change(document["annotations"][-1]))
    with pytest.raises(InputError, match=rf"panoptic_val2017\.json: .*{message}"):
        coco.examples(root, "validation")


def test_categories_of_another_dataset_are_refused(panoptic):
    root, _ = panoptic
    path = root / "annotations/panoptic_val2017.json"
    edit(path, lambda document: document["categories"][FENCE - 100].update(name="wall"))
    with pytest.raises(InputError, match=r"must have COCO's categories, got .*'wall'"):
        coco.examples(root, "validation")
    edit(path, lambda document: document.update(categories=["person"]))
    with pytest.raises(InputError, match="must have COCO's categories, got person"):
        coco.examples(root, "validation")


def test_two_annotations_of_an_image_are_refused(panoptic):
    root, _ = panoptic
    path = root / "annotations/panoptic_val2017.json"
    edit(path, lambda d: d["annotations"].append(d["annotations"][0]))
    with pytest.raises(InputError, match=r"one annotation an image, got two of .*000285\.jpg"):
        coco.examples(root, "validation")


def test_a_json_that_is_cut_short_is_refused_with_the_position(panoptic):
    path = panoptic[0] / "annotations/panoptic_val2017.json"
    content = path.read_bytes()
    path.write_bytes(content[:900])
    with pytest.raises(InputError, match=r"panoptic_val2017\.json: is cut short \(byte 900\)"):
        coco.examples(panoptic[0], "validation")


def test_annotations_of_objects_alone_are_distinguished_from_panoptic_ones(panoptic):
    root, _ = panoptic
    for split in SPLITS:
        path = root / f"annotations/panoptic_{split}.json"
        path.rename(root / f"annotations/instances_{split}.json")
    assert not coco.is_source(root)
    with pytest.raises(InputError, match=r"panoptic_annotations_trainval2017\.zip.*got instances_"):
        coco.examples(root, "train")


def test_a_tree_of_another_task_is_refused_with_what_must_be_there(panoptic):
    with pytest.raises(InputError, match=r"stuffthingmaps_trainval2017/ .*must be there"):
        coco.examples(panoptic[0], "train", task="stuff")


def test_pictures_that_are_still_packed_must_be_unpacked_first(panoptic):
    root, _ = panoptic
    (root / "annotations/panoptic_train2017").rename(root / "elsewhere")
    with pytest.raises(InputError, match=r"panoptic_train2017/ with .* must be there, beside"):
        coco.examples(root, "train")
    (root / "annotations/panoptic_train2017.zip").touch()
    with pytest.raises(InputError, match=r"must be there; unpack .*panoptic_train2017\.zip too"):
        coco.examples(root, "train")


@pytest.mark.parametrize("task", ["panoptic", "stuff"])
def test_labels_without_the_folder_of_images_are_one_error(panoptic, stuff, task):
    root, _ = panoptic
    (root / "val2017").rename(root / "elsewhere")
    with pytest.raises(InputError, match=r"images of val2017/ must be there.*val2017\.zip"):
        coco.examples(root, "validation", task=task)


def test_an_unknown_task_is_refused_with_the_known_ones(tmp_path):
    for call in (coco.describe, lambda *a, **k: coco.examples(*a, "train", **k)):
        with pytest.raises(InputError, match="one of panoptic, stuff, voc, got 'instances'"):
            call(tmp_path, task="instances")


def test_sizes_are_official_where_there_are_any(tmp_path):
    official = {"train": 118287, "validation": 5000}
    assert coco.describe(tmp_path).split_sizes == official
    assert coco.describe(tmp_path, task="stuff").split_sizes == official
    assert coco.describe(tmp_path, task="voc").split_sizes == {"validation": 5000}
    assert list(datasets.options_of(coco)) == ["task"]


@pytest.mark.parametrize("tree", ["panoptic", "stuff"])
def test_only_this_dataset_claims_the_tree(request, tree):
    root, _ = request.getfixturevalue(tree)
    files = {n: importlib.import_module(f"{datasets.__name__}.{n}") for n in datasets.names()}
    assert [name for name, file in files.items() if file.is_source(root)] == ["coco"]
