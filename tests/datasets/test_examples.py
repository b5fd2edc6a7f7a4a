"""Examples in little memory: each comes out as it went in."""

import pickle
import tracemalloc

from kerasseg.pipelines.datasets import Example, PackedExamples, folder

EXAMPLES = [
    Example("images/a.png", "/data/images/a.png", "/data/labels/a.png"),
    Example("images/a.png", "images/a.png", None),
    Example("", "/data/x.png", ""),
    Example("b", "/data/b/c", "labels/b.png", details=(1, "two")),
    Example(
        "s\u00e9\ud800\udcff\0\u4e2d.png", "/\xff\xfe/s\u00e9\ud800\udcff\0\u4e2d.png", "\xff\xfe"
    ),
]


def test_packed_examples_come_out_as_they_went_in():
    for packed in (PackedExamples(EXAMPLES), pickle.loads(pickle.dumps(PackedExamples(EXAMPLES)))):
        assert list(packed) == EXAMPLES
        assert len(packed) == len(EXAMPLES)
        assert packed[-1] == EXAMPLES[-1]
        assert packed[1:4] == EXAMPLES[1:4]
        assert packed[::-2] == EXAMPLES[::-2]
    assert list(PackedExamples(())) == []


def test_a_listing_takes_little_more_memory_than_the_names_of_the_files(tmp_path):
    pairs = 4000
    for kind in ("images", "labels"):
        (tmp_path / kind / "train").mkdir(parents=True)
        for number in range(pairs):
            (tmp_path / kind / "train" / f"{number:08}.png").touch()
    folder.survey(tmp_path)  # imports
    tracemalloc.start()
    examples = folder.survey(tmp_path).examples["train"]
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    names = 2 * len("images/train/00000000.png")
    assert held / pairs < names + 30
    # The names of images and labels are there as text, in tables, while pairs are found.
    assert peak / pairs < names + 400
    assert len(examples) == pairs
