"""States as files: whole or passed over, whatever has happened to them."""

import json

import pytest

from kerasseg.pipelines.runs import state
from kerasseg.pipelines.runs.state import Position

CONTENT = {
    "best": 0.1 + 0.2,
    "history": [{"epoch": 1, "loss": 1.5}],
    "last": None,
    "learning_rate": 0.01,
    "metrics": [],
    "seconds": 12.5,
}
FILES = {"variables.index": b"index" * 3, "variables.data-00000-of-00001": bytes(range(256)) * 20}


def write(checkpoints, position, files=FILES, **content):
    with state.new(checkpoints, position, {**CONTENT, **content}) as folder:
        for name, written in files.items():
            (folder / name).write_bytes(written)
    return state.path_of(checkpoints, position)


def tree(folder):
    return {path: path.is_file() and path.read_bytes() for path in sorted(folder.rglob("*"))}


def test_a_state_is_read_as_it_was_written(tmp_path):
    write(tmp_path, Position(3, 17), {**FILES, "best.keras": b"network"}, metrics=[[0.1, 1e-45]])
    found, damaged = state.newest_whole(tmp_path)
    assert damaged == []
    assert found.position == (3, 17)
    assert found.content == {**CONTENT, "metrics": [[0.1, 1e-45]]}
    assert found.best.read_bytes() == b"network"
    assert found.variables.with_suffix(".index").read_bytes() == FILES["variables.index"]


def test_a_state_without_a_best_network_has_none(tmp_path):
    write(tmp_path, Position(0, 0))
    assert state.newest_whole(tmp_path)[0].best is None


def test_the_newest_state_is_the_one_with_most_epochs_and_then_most_steps(tmp_path):
    for position in ((9, 0), (10, 0), (9, 100), (2, 5)):
        write(tmp_path, Position(*position))
    assert state.newest_whole(tmp_path)[0].position == (10, 0)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


def append(path):
    path.write_bytes(path.read_bytes() + b" ")


def flip(place):
    def flip_bit(path):
        content = bytearray(path.read_bytes())
        position = int(place * (8 * len(content) - 1))
        content[position // 8] ^= 1 << position % 8
        path.write_bytes(content)

    return flip_bit


DAMAGES = {
    "truncated": truncate,
    "empty": empty,
    "longer": append,
    "first bit": flip(0),
    "a bit within": flip(0.37),
    "last bit": flip(1),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", [*FILES, "best.keras", "state.json", "manifest.json"])
def test_any_damage_to_any_file_of_the_newest_state_makes_the_one_before_it_count(
    tmp_path, name, damage
):
    files = {**FILES, "best.keras": b"network" * 9}
    write(tmp_path, Position(1, 0), files)
    folder = write(tmp_path, Position(2, 0), files)
    damage(folder / name)
    found, damaged = state.newest_whole(tmp_path)
    if name == "manifest.json" and not damaged:
        # White space behind its end: every file is still the one that was written.
        assert json.loads((folder / name).read_text())
        assert found.position == (2, 0)
        return
    assert found.position == (1, 0)
    assert len(damaged) == 1
    assert str(folder) in damaged[0]


def test_every_single_bit_of_the_description_counts(tmp_path):
    write(tmp_path, Position(1, 0))
    folder = write(tmp_path, Position(2, 0))
    for name in ("state.json", "manifest.json"):
        whole = (folder / name).read_bytes()
        for position in range(8 * len(whole)):
            content = bytearray(whole)
            content[position // 8] ^= 1 << position % 8
            (folder / name).write_bytes(content)
            assert state.newest_whole(tmp_path)[0].position == (1, 0), (name, position)
        (folder / name).write_bytes(whole)
    assert state.newest_whole(tmp_path)[0].position == (2, 0)


def test_a_state_under_the_name_of_another_is_not_taken_for_it(tmp_path):
    write(tmp_path, Position(1, 0)).rename(tmp_path / "epoch-2-step-0")
    found, damaged = state.newest_whole(tmp_path)
    assert found is None
    assert "is not the state that its name says" in damaged[0]


def test_all_damaged_states_are_named_and_stay(tmp_path):
    for epoch in (1, 2):
        truncate(write(tmp_path, Position(epoch, 0)) / "variables.index")
    before = tree(tmp_path)
    found, damaged = state.newest_whole(tmp_path)
    assert found is None
    for epoch, text in zip((2, 1), damaged, strict=True):
        assert text.startswith(str(tmp_path / f"epoch-{epoch}-step-0"))
    assert "variables.index must have 15 bytes of checksum" in damaged[0]
    assert tree(tmp_path) == before


def test_a_state_that_could_not_be_written_leaves_nothing(tmp_path):
    write(tmp_path, Position(1, 0))
    before = tree(tmp_path)

    def fail():
        with state.new(tmp_path, Position(2, 0), CONTENT) as folder:
            (folder / "variables.index").write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert tree(tmp_path) == before


def test_a_damaged_state_is_replaced_when_training_comes_to_it_again(tmp_path):
    truncate(write(tmp_path, Position(2, 0)) / "variables.index")
    write(tmp_path, Position(2, 0))
    found, damaged = state.newest_whole(tmp_path)
    assert (found.position, damaged) == ((2, 0), [])


def test_the_newest_states_are_kept_and_later_ones_are_damaged(tmp_path):
    for epoch in range(6):
        write(tmp_path, Position(epoch, 0))
    truncate(write(tmp_path, Position(5, 0)) / "variables.index")
    state.keep_newest(tmp_path, Position(4, 0), 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch-3-step-0", "epoch-4-step-0"]


@pytest.fixture
def release_0_1(tmp_path):
    (tmp_path / "state-2").mkdir()
    (tmp_path / "state-2" / "state.index").write_bytes(b"index")
    stored = {"epochs_done": 2, "best": 0.5, "folder": "state-2", "history": [{"epoch": 1}]}
    (tmp_path / "state.json").write_text(json.dumps(stored))
    return tmp_path


def test_a_state_of_release_0_1_is_read_until_there_is_a_newer_one(release_0_1):
    found, _ = state.newest_whole(release_0_1)
    assert found.position == (2, 0)
    assert found.content["best"] == 0.5
    assert found.variables == release_0_1 / "state-2" / "state"
    write(release_0_1, Position(2, 1))
    assert state.newest_whole(release_0_1)[0].position == (2, 1)
    state.keep_newest(release_0_1, Position(2, 1), 2)
    assert [path.name for path in release_0_1.iterdir()] == ["epoch-2-step-1"]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"epochs_done": 2, "folder": "state-9"}'])
def test_a_damaged_state_of_release_0_1_is_named(release_0_1, content):
    (release_0_1 / "state.json").write_text(content)
    found, damaged = state.newest_whole(release_0_1)
    assert found is None
    assert str(release_0_1 / "state.json") in damaged[0]
