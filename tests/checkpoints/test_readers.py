"""Files that PyTorch wrote (in `data`), and hostile or broken ones made here."""

import contextlib
import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from kerasseg.checkpoints.readers import CheckpointError, read

DATA = Path(__file__).parent / "data"
FILES = ("zip.pth", "legacy.pth", "wrapped.pth")


@pytest.mark.parametrize("name", FILES)
def test_files_of_pytorch_are_read_without_it(name):
    found = read(DATA / name)
    np.testing.assert_array_equal(found[_named(name, "a.weight")], [[0, 1, 2], [3, 4, 5]])
    transposed = found[_named(name, "a.transposed")]  # the same storage, other strides
    np.testing.assert_array_equal(transposed, [[0, 3], [1, 4], [2, 5]])
    for half, expected in (("half", [0.5, -2.0]), ("brain", [1.5, -3.0])):
        values = found[_named(name, half)]
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, expected)
    count = found[_named(name, "count")]
    assert (count.dtype, count.shape, int(count)) == (np.int64, (), 7)
    if name != "wrapped.pth":
        assert found["none"].shape == (0, 3)


def _named(file, tensor):
    return f"module.{tensor}" if file == "wrapped.pth" else tensor


def test_safetensors_are_read_bfloat16_too(tmp_path):
    safetensors.numpy.save_file({"w": np.eye(3, dtype=np.float32)}, tmp_path / "w.safetensors")
    np.testing.assert_array_equal(read(tmp_path / "w.safetensors")["w"], np.eye(3))
    # 1.5 and -3 in bfloat16 are the upper 16 bits of float32: 0x3fc0 and 0xc040.
    header = b'{"b":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    content = struct.pack("<Q", len(header)) + header + struct.pack("<HH", 0x3FC0, 0xC040)
    (tmp_path / "b.safetensors").write_bytes(content)
    np.testing.assert_array_equal(read(tmp_path / "b.safetensors")["b"], [1.5, -3.0])


def test_npz_and_h5_are_read(tmp_path):
    import h5py

    np.savez(tmp_path / "a.npz", w=np.ones(2))
    np.testing.assert_array_equal(read(tmp_path / "a.npz")["w"], [1, 1])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["layer/kernel"] = np.arange(3)
    np.testing.assert_array_equal(read(tmp_path / "a.h5")["layer/kernel"], [0, 1, 2])


class Command:
    """Runs a shell command when it is unpickled the usual way."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return (os.system, (self.command,))


class Evaluation:
    def __reduce__(self):
        return (eval, ("__import__('os').mkdir('owned')",))


def write_zip(path, pickled):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("nested", [False, True])
def test_a_malicious_file_is_refused_by_the_name_of_its_class(tmp_path, protocol, nested):
    marker = tmp_path / "executed"
    hostile = Command(f"touch {marker}")
    content = {"meta": {"hooks": [hostile]}, "state_dict": {}} if nested else hostile
    path = write_zip(tmp_path / "evil.pth", pickle.dumps(content, protocol=protocol))
    with pytest.raises(CheckpointError, match=rf"evil\.pth: .*{os.name}.system.*not loaded"):
        read(path)
    assert not marker.exists()


def test_evaluation_and_the_old_format_are_refused_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"builtins.eval"):
        read(write_zip(tmp_path / "evil.pth", pickle.dumps(Evaluation())))
    legacy = tmp_path / "legacy.pth"
    legacy.write_bytes(pickle.dumps(Evaluation(), protocol=2))
    with pytest.raises(CheckpointError, match=r"eval"):
        read(legacy)
    # INST, the opcode of protocol 0 for old classes
    with pytest.raises(CheckpointError, match=r"posix.system"):
        read(write_zip(tmp_path / "inst.pth", b"(S'true'\niposix\nsystem\n."))
    assert not (tmp_path / "owned").exists()


def test_a_pickle_cannot_change_what_it_may_name(tmp_path):
    """BUILD sets attributes of any object: on a storage's kind it must fail, not stay."""
    pickled = b"\x80\x02ctorch\nFloatStorage\n}X\x05\x00\x00\x00dtypeX\x02\x00\x00\x00f8sb."
    with pytest.raises(CheckpointError):
        read(write_zip(tmp_path / "change.pth", pickled))
    assert read(DATA / "zip.pth")["a.weight"].dtype == np.float32


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_or_changed_file_is_an_error_or_read_never_a_crash(name, tmp_path):
    whole = (DATA / name).read_bytes()
    path = tmp_path / name
    for end in range(0, len(whole), 16):
        path.write_bytes(whole[:end])
        with pytest.raises(CheckpointError):
            read(path)
    for index in range(0, len(whole), 7):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 0x55]) + whole[index + 1 :])
        with contextlib.suppress(CheckpointError):
            assert read(path)


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    shutil.unpack_archive(DATA / "zip.pth", tmp_path / "zip", "zip")
    (pickled,) = tmp_path.rglob("data.pkl")
    # Shape (2, 3) of the first tensor becomes (2, 9).
    content = pickled.read_bytes()
    assert b"K\x02K\x03\x86" in content
    pickled.write_bytes(content.replace(b"K\x02K\x03\x86", b"K\x02K\x09\x86", 1))
    shutil.make_archive(str(tmp_path / "large"), "zip", tmp_path / "zip")
    with pytest.raises(CheckpointError, match=r"within its storage|stored"):
        read(tmp_path / "large.zip")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be a PyTorch file.*got a file that begins with b''"),
        (b"\x89PNG\r\n\x1a\n" + b"0" * 20, "begins with"),
        (b"just a text file", "begins with b'just a t'"),
    ],
)
def test_a_foreign_file_is_an_error_that_says_what_would_be_right(content, message, tmp_path):
    path = tmp_path / "foreign.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read(path)


def test_a_missing_file_a_folder_and_a_file_without_tensors_are_errors(tmp_path):
    with pytest.raises(CheckpointError, match="got nothing of that name"):
        read(tmp_path / "absent.pth")
    with pytest.raises(CheckpointError, match="got a folder"):
        read(tmp_path)
    path = write_zip(tmp_path / "empty.pth", pickle.dumps({"epoch": 3}))
    with pytest.raises(CheckpointError, match=r"must hold tensors by name, got \['epoch'\]"):
        read(path)


def test_keras_2_weights_are_read_by_layer_and_variable(tmp_path):
    """Keras 2 files a variable under its layer's name, twice; `model.save` adds a folder on top."""
    import h5py

    from kerasseg.checkpoints import keras_deeplab

    values = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    for top in ("", "model_weights/"):
        path = tmp_path / "weights.h5"
        with h5py.File(path, "w") as file:
            file[f"{top}aspp0/aspp0/kernel:0"] = values
            file[f"{top}aspp0_BN/aspp0_BN/moving_variance:0"] = values[0, 0, 0]
        state = keras_deeplab.clean(read(path))
        assert sorted(state) == ["aspp0/kernel", "aspp0_BN/moving_variance"]
        np.testing.assert_array_equal(state["aspp0/kernel"], values)
