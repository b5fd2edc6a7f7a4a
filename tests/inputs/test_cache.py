import dataclasses
import resource
import shutil
import signal

import numpy as np
import pytest
from run_ends import At, assert_same_end

from kerasseg.pipelines import convert, fit, inputs, records
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.inputs import cache


@pytest.fixture(scope="module")
def mixed_data(tmp_path_factory, make_folder_tree):
    """JPEG and PNG, of different sizes."""
    root = tmp_path_factory.mktemp("mixed")
    convert.run("folder", make_folder_tree(root / "source"), root / "data")
    return records.load(root / "data")


def streamed(dataset, **options):
    options = {"batch_size": 2, "crop_size": (24, 32), "epochs": 3, **options}
    made = inputs.training_batches(
        dataset.files("train"), examples=dataset.splits["train"].examples, **options
    )
    return [(images.numpy(), labels.numpy()) for images, labels in made]


@pytest.mark.parametrize(("first_epoch", "policy"), [(0, "standard"), (2, "none")])
@pytest.mark.parametrize("which", [pytest.param("tiny", marks=pytest.mark.slow), "mixed"])
def test_batches_are_the_same_with_and_without_the_cache(
    which, first_epoch, policy, tiny_data, mixed_data, tmp_path
):
    dataset = mixed_data if which == "mixed" else records.load(tiny_data)
    options = {"policy": policy, "first_epoch": first_epoch, "seed": 5}
    plain = streamed(dataset, **options)
    assert plain
    for choice in ("memory", "disk"):
        cached = streamed(dataset, decoded=cache.load(choice, dataset, 3, tmp_path), **options)
        for one, other in zip(plain, cached, strict=True):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.parametrize("choice", ["memory", "disk"])
def test_the_cache_outlives_what_it_was_made_of(choice, tiny_data, tmp_path):
    # The tensors borrow the memory of arrays that nothing else refers to.
    dataset = records.load(tiny_data)
    decoded = cache.load(choice, dataset, 2, tmp_path)
    rubbish = [np.full(10_000_000, 7, np.uint8) for _ in range(3)]
    assert streamed(dataset, decoded=decoded)[0][0].std() > 0
    assert len(rubbish) == 3


@pytest.mark.parametrize(
    ("choice", "available", "epochs", "expected"),
    [
        ("none", 2**40, 9, False),
        ("memory", 2**40, 1, True),
        ("memory", None, 1, True),
        ("disk", 0, 1, True),  # it takes no memory
        ("auto", 2**40, 2, True),
        ("auto", 2**40, 1, False),  # nothing would be read again
        ("auto", None, 9, False),
        ("auto", 12 * 40 * 48 * 4, 9, False),  # it fits, but not into half
    ],
)
def test_a_split_is_cached_if_that_is_wished_and_fits(
    choice, available, epochs, expected, tiny_data, tmp_path, monkeypatch
):
    monkeypatch.setattr(cache, "available_memory", lambda: available)
    decoded = cache.load(choice, records.load(tiny_data), epochs, tmp_path)
    assert (decoded is not None) == expected


@pytest.mark.parametrize(("choice", "others"), [("memory", "disk or none"), ("disk", "none")])
def test_a_split_that_does_not_fit_is_refused_before_there_is_a_run(
    choice, others, tiny_data, tiny_training, tmp_path, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(cache, "available_memory", lambda: 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    expected = f"cache must be {others} for a split that takes .* GiB available, got '{choice}'"
    with pytest.raises(InputError, match=expected):
        cache.load(choice, records.load(tiny_data), 9, tmp_path)
    options = dataclasses.replace(tiny_training, cache=choice)
    with pytest.raises(InputError, match=expected):
        fit.run(options, tiny_data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_cache_on_disk_leaves_no_file(tiny_data, tmp_path):
    assert cache.load("disk", records.load(tiny_data), 2, tmp_path) is not None
    assert not list(tmp_path.iterdir())


def test_a_disk_that_turns_out_to_be_full_is_reported(tiny_data, tmp_path):
    # The kernel's own refusal: a file may be no longer than this.
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(InputError, match="cannot hold the decoded split"):
            cache.load("disk", records.load(tiny_data), 2, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)


def test_the_available_memory_is_a_sensible_number():
    available = cache.available_memory()
    assert available is None or 2**20 < available < 2**50


@pytest.mark.slow
def test_a_training_is_the_same_with_and_without_the_cache_resumed_or_not(
    tiny_data, tiny_training, tiny_run, tmp_path
):
    def stop():
        raise KeyboardInterrupt

    # tiny_run chose the memory itself, as it has two epochs.
    assert cache.load("auto", records.load(tiny_data), tiny_training.epochs, tmp_path) is not None
    folders = [tiny_run, tmp_path / "none", tmp_path / "disk"]
    fit.run(dataclasses.replace(tiny_training, cache="none"), tiny_data, folders[1])
    cached = dataclasses.replace(tiny_training, cache="disk")
    with pytest.raises(KeyboardInterrupt):
        fit.run(cached, tiny_data, folders[2], extra_callbacks=[At(1, 1, stop)])
    fit.resume(folders[2])
    for folder in folders[1:]:
        assert_same_end(folder, tiny_run)
