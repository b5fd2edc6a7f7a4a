import json
import os
import shutil
import signal
import subprocess
import sys
import time

import PIL.Image
import pytest

from kerasseg.pipelines import convert, datasets, records
from kerasseg.pipelines.cli import main


@pytest.fixture
def convert_camvid(run_cli, camvid_tree, tmp_path):
    """Runs `kerasseg convert` on the miniature tree, with more options where given."""

    def run(*more):
        places = ("--source", camvid_tree, "--output", tmp_path / "data")
        return run_cli("convert", "--dataset", "camvid", *places, "--allow-partial", *more)

    return run


def in_one_line(text):
    return " ".join(text.split())


def test_a_conversion_ends_with_the_splits_and_the_place(convert_camvid, tmp_path):
    result = convert_camvid()
    assert result.exit_code == 0
    dataset = records.load(tmp_path / "data")
    sizes = [sum(s["bytes"] for s in split.shards) / 2**20 for split in dataset.splits.values()]
    assert result.stdout.splitlines() == [
        f"train: 5 images, 1 shard, {sizes[0]:.1f} MiB",
        f"validation: 3 images, 1 shard, {sizes[1]:.1f} MiB",
        f"11 classes in {tmp_path / 'data' / 'camvid' / '1.0.0'}",
    ]
    assert result.stderr == ""


def test_a_second_conversion_says_that_nothing_is_done(convert_camvid):
    first, second = convert_camvid(), convert_camvid("--workers", 1)
    assert second.exit_code == 0
    assert second.output == f"already converted, nothing done\n{first.output}"


def test_a_folder_is_converted_into_data_by_default(run_cli, folder_tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run_cli("convert", "--dataset", "folder", "--source", folder_tree)
    assert result.exit_code == 0
    assert "3 classes in data/folder/1.0.0" in result.stdout
    assert records.load(tmp_path / "data").splits["train"].examples == 3


def test_bad_pairs_are_listed_with_what_is_wrong_and_the_likely_cause(
    convert_camvid, camvid_tree, tmp_path
):
    (camvid_tree / "trainannot" / "0001TP_000001.png").unlink()
    label = camvid_tree / "valannot" / "0001TP_000002.png"
    PIL.Image.new("L", (29, 17), color=12).save(label)
    result = convert_camvid()
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)  # so there was no traceback
    heading, *rows = [line for line in result.stdout.splitlines() if line.strip()]
    assert in_one_line(heading) == "file what is wrong likely cause"
    text = in_one_line("\n".join(rows))
    assert "train/0001TP_000001.png label is missing no label file of this name" in text
    assert "val/0001TP_000002.png" in text
    assert "label values must be 0 to 11, got 12 (493" in text  # 17 * 29 pixels
    assert result.stderr == ("Error: 2 of the pairs cannot be converted; nothing was published.\n")
    assert not (tmp_path / "data" / "camvid" / "1.0.0").exists()


def test_brackets_in_a_file_name_are_printed_as_they_are(run_cli, folder_tree, tmp_path):
    # rich reads [bold] in what it prints as an order, and [/bold] as an error.
    PIL.Image.new("RGB", (4, 4)).save(folder_tree / "images" / "train" / "a[bold]b[red].png")
    result = run_cli(
        "convert", "--dataset", "folder", "--source", folder_tree, "--output", tmp_path
    )
    assert result.exit_code == 1
    assert "images/train/a[bold]b[red].png" in result.stdout


def test_an_unknown_dataset_is_refused_with_the_known_ones(run_cli):
    result = run_cli("convert", "--dataset", "imagenet")
    assert result.exit_code == 2
    said = in_one_line(result.stderr)
    assert f"must be one of {', '.join(datasets.choices())}, got 'imagenet'" in said


def test_a_missing_source_is_refused_by_name(run_cli, tmp_path):
    result = run_cli("convert", "--dataset", "camvid", "--source", tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "nowhere' does not exist" in in_one_line(result.stderr)


def test_a_source_that_was_not_given_is_asked_for(run_cli, tmp_path):
    result = run_cli("convert", "--dataset", "camvid", "--output", tmp_path)
    assert result.exit_code == 1
    assert result.stderr == "Error: dataset camvid must have a source folder, got none.\n"


def test_a_source_of_another_layout_is_refused_with_the_right_one(run_cli, tmp_path):
    result = run_cli("convert", "--dataset", "camvid", "--source", tmp_path, "--output", tmp_path)
    assert result.exit_code == 1
    assert "train/ and trainannot/ of CamVid must be there" in result.stderr


def test_splits_of_unofficial_size_are_refused_with_the_option_that_accepts_them(
    run_cli, camvid_tree, tmp_path
):
    places = ("--source", camvid_tree, "--output", tmp_path / "data")
    result = run_cli("convert", "--dataset", "camvid", *places)
    assert result.exit_code == 1
    assert "must have 367 images, got 5; --allow-partial accepts it" in result.stderr


def test_another_conversion_is_refused_unless_it_may_overwrite(convert_camvid, camvid_tree):
    assert convert_camvid().exit_code == 0
    for folder in ("train", "trainannot"):
        (camvid_tree / folder / "0001TP_000000.png").unlink()
    refused = convert_camvid()
    assert refused.exit_code == 1
    assert "give --overwrite to replace it" in refused.stderr
    replaced = convert_camvid("--overwrite")
    assert replaced.exit_code == 0
    assert "train: 4 images" in replaced.stdout


def test_an_output_that_is_a_file_is_refused(convert_camvid, tmp_path):
    (tmp_path / "data").write_text("mine")
    result = convert_camvid()
    assert result.exit_code == 2
    assert "data' is a file" in in_one_line(result.stderr)


@pytest.mark.parametrize("workers", ["0", "-1", "many"])
def test_a_senseless_number_of_workers_is_refused(convert_camvid, workers):
    result = convert_camvid("--workers", workers)
    assert result.exit_code == 2
    assert "--workers" in result.stderr


def test_an_interrupted_conversion_says_how_to_continue(convert_camvid, tmp_path, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(convert, "run", interrupt)
    result = convert_camvid()
    assert result.exit_code == 130
    assert result.stderr == (
        f"Error: interrupted; the same command continues with {tmp_path / 'data' / 'camvid'}.\n"
    )


def test_python_m_kerasseg_converts_in_a_folder_that_has_a_pipelines_folder_too(
    camvid_tree, tmp_path
):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "__init__.py").write_text("raise ImportError('the wrong one')")
    source = shutil.move(camvid_tree, tmp_path / "source with a space")
    options = ("--dataset", "camvid", "--allow-partial")
    finished = subprocess.run(
        [sys.executable, "-m", "kerasseg", "convert", "--source", str(source), *options],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "11 classes in data/camvid/1.0.0" in finished.stdout


def test_the_help_of_no_command_imports_tensorflow_or_anything_else_that_is_slow():
    program = """if True:
        import json, sys
        from kerasseg.pipelines.cli import main

        for arguments in ([], *([name] for name in main.commands)):
            main([*arguments, "--help"], prog_name="kerasseg", standalone_mode=False)
        print(json.dumps([name.partition(".")[0] for name in sys.modules]))
    """
    finished = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    *helps, modules = finished.stdout.splitlines()
    assert sum(line.startswith("Usage: kerasseg") for line in helps) == 1 + len(main.commands)
    loaded = set(json.loads(modules))
    assert {"click", "kerasseg"} <= loaded
    slow = {"tensorflow", "tensorflow_datasets", "keras", "keras_cv", "numpy", "PIL", "rich"}
    assert loaded.isdisjoint(slow)


def test_ctrl_c_in_the_middle_leaves_nothing_that_looks_finished(tmp_path):
    command = [sys.executable, "-m", "kerasseg", "convert", "--dataset", "scenes"]
    command += ["--output", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while not list(tmp_path.rglob("*.json")):  # until a shard is done
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output = process.stdout.read().decode()
        assert process.wait(60) == 130
    assert "interrupted; the same command continues" in " ".join(output.split())
    assert "Traceback" not in output
    assert {path.name for path in (tmp_path / "scenes").iterdir()} == {".lock", "1.0.0.incomplete"}
    assert not list(tmp_path.rglob("*.tmp"))
