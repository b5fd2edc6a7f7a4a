"""A disk that is full: the state before is kept, and the training goes on from it later."""

import contextlib
import functools
import os
import resource
import signal

import pytest
from run_ends import At, assert_same_end

from kerasseg.pipelines import fit
from kerasseg.pipelines.errors import InputError

MEBIBYTE = 2**20


def fill(folder, left):
    """Fills a disk up to some bytes."""
    free = os.statvfs(folder)
    with (folder / "ballast").open("wb") as file:
        file.write(bytes(free.f_bavail * free.f_frsize - left))


def test_a_full_disk_keeps_the_state_before(small_disk, tiny_data, tiny_training, tiny_run):
    run = small_disk / "run"
    begin = functools.partial(fit.run, tiny_training, tiny_data, run)
    resume = functools.partial(fit.resume, run)
    # Room for nothing; for half of the network; for the network, but not for the state.
    for train, left in ((begin, 0), (resume, 130_000), (resume, 420_000)):
        full = At(1, 0, functools.partial(fill, small_disk, left))
        with pytest.raises(InputError, match="cannot be written") as refusal:
            train(extra_callbacks=[full])
        assert "No space left on device" in str(refusal.value)
        states = sorted(path.name for path in (run / "checkpoints").glob("epoch-*"))
        assert states == ["epoch-0-step-0", "epoch-1-step-0"]
        assert not list((run / "checkpoints").glob(".writing-*"))
        (small_disk / "ballast").unlink()
    fit.resume(run)
    assert_same_end(run, tiny_run)


@contextlib.contextmanager
def longest_file(size):
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("size", [500, 20_000])
def test_a_state_that_cannot_be_written_at_the_beginning_is_an_error(
    tiny_data, tiny_training, tmp_path, size
):
    with longest_file(size), pytest.raises(InputError, match="cannot be written"):
        fit.run(tiny_training, tiny_data, tmp_path / "run")
