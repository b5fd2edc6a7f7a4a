import errno
import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kerasseg import atomic_files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_files.new_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.suffix == ".txt"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_a_file_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_halfway():
        with atomic_files.new_file(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_written_through(tmp_path):
    (tmp_path / "other").write_text("kept")
    (tmp_path / "a.txt").symlink_to(tmp_path / "other")
    atomic_files.write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "other").read_text() == "kept"
    assert not (tmp_path / "a.txt").is_symlink()


def test_a_name_of_the_greatest_length_can_be_written(tmp_path):
    path = tmp_path / ("n" * 251 + ".txt")
    atomic_files.write_text(path, "x")
    assert path.read_text() == "x"


def test_files_have_the_permissions_of_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        atomic_files.write_json(tmp_path / "a.json", {})
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o640


def test_several_files_get_their_names_when_all_are_whole(tmp_path):
    atomic_files.write_files({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    assert [(tmp_path / name).read_bytes() for name in names(tmp_path)] == [b"1", b"2"]
    with pytest.raises(FileNotFoundError):
        atomic_files.write_files({tmp_path / "a": b"new", tmp_path / "missing" / "b": b"new"})
    assert (tmp_path / "a").read_bytes() == b"1"
    assert names(tmp_path) == ["a", "b"]


def test_a_report_goes_into_a_pipe_or_device_as_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        atomic_files.write_report(tmp_path / "link", "text")
        assert os.read(reader, 100) == b"text"
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").is_symlink()


def test_a_report_goes_to_where_its_link_leads(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "sub" / "report")
    for text in ("old", "new"):
        atomic_files.write_report(tmp_path / "link", text)
        assert (tmp_path / "sub" / "report").read_text() == text
    assert names(tmp_path / "sub") == ["report"]


def test_a_folder_can_get_its_name_in_the_end(tmp_path):
    with atomic_files.temporary_folder(tmp_path) as temporary:
        (temporary / "file").write_text("x")
        atomic_files.give_name(temporary, tmp_path / "a")
    with atomic_files.temporary_folder(tmp_path) as temporary:
        (temporary / "file").write_text("y")
        with pytest.raises(OSError, match="not empty"):
            atomic_files.give_name(temporary, tmp_path / "a")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a" / "file").read_text() == "x"


def test_a_folder_appears_when_it_is_whole(tmp_path):
    with atomic_files.new_folder(tmp_path / "a") as temporary:
        (temporary / "below").mkdir()
        (temporary / "below" / "file").write_text("x")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a" / "below" / "file").read_text() == "x"
    assert names(tmp_path) == ["a"]


def test_a_folder_that_fails_is_not_there(tmp_path):
    with pytest.raises(RuntimeError), atomic_files.new_folder(tmp_path / "a"):
        raise RuntimeError
    assert names(tmp_path) == []


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / ".writing-0123").mkdir()
    (tmp_path / ".writing-4567.keras").write_text("half")
    (tmp_path / "kept").write_text("x")
    atomic_files.remove_leftovers(tmp_path)
    assert names(tmp_path) == ["kept"]


WRITING = """
import sys, time
from kerasseg import atomic_files
with atomic_files.temporary_folder(sys.argv[1]) as folder:
    print(folder.name, flush=True)
    time.sleep(600)
"""


def test_a_folder_that_another_process_is_writing_is_no_leftover_before_that_is_killed(tmp_path):
    command = [sys.executable, "-c", WRITING, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writing:
        try:
            name = writing.stdout.readline().strip()
            atomic_files.remove_leftovers(tmp_path)
            assert names(tmp_path) == [name]
        finally:
            writing.kill()
    atomic_files.remove_leftovers(tmp_path)
    assert names(tmp_path) == []


def test_a_folder_that_is_removed_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    lock, removed = fcntl.flock, []

    def lock_late(descriptor, operation):
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].rmdir()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    with atomic_files.temporary_folder(tmp_path) as folder:
        assert [folder] == list(tmp_path.iterdir())
        assert removed != [folder]


@pytest.mark.parametrize("durable", [True, False])
def test_what_is_durable_is_brought_to_the_disk(tmp_path, monkeypatch, durable):
    synced, sync = [], os.fsync

    def record(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    atomic_files.write_text(tmp_path / "a.txt", "x", durable=durable)
    if durable:
        file, folder = synced
        assert (file.parent, folder) == (tmp_path, tmp_path)
    else:
        assert not synced


def test_a_file_system_that_cannot_lock_folders_makes_nobody_wait(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with atomic_files.one_at_a_time(tmp_path), atomic_files.one_at_a_time(tmp_path):
        assert not names(tmp_path)
