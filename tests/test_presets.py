import json

import numpy as np
import pytest
from keras_hub.src.utils import preset_utils

import kerasseg


def test_a_run_is_saved_as_a_preset_that_gives_the_same_logits(tiny_run, tmp_path):
    kerasseg.save_preset(tiny_run, tmp_path / "preset")
    image = np.random.default_rng(0).uniform(0, 255, (1, 33, 57, 3)).astype(np.float32)
    expected = kerasseg.load(tiny_run)(image)
    np.testing.assert_array_equal(kerasseg.load(tmp_path / "preset")(image), expected)
    # keras-hub's own loader reads the folder.
    loader = preset_utils.get_preset_loader(str(tmp_path / "preset"))
    network = loader.load_backbone(None, load_weights=True)
    np.testing.assert_array_equal(network(image), expected)


def test_a_preset_says_what_the_labels_mean(tiny_run, tmp_path):
    kerasseg.save_preset(tiny_run, tmp_path / "preset")
    metadata = json.loads((tmp_path / "preset" / "metadata.json").read_text())
    assert metadata["class_names"] == ["ground", "square", "disc"]
    assert metadata["colors"][1] == [255, 0, 0]
    assert metadata["parameter_count"] == kerasseg.load(tiny_run).count_params()


def test_nothing_is_replaced_and_no_half_of_a_preset_is_left(tiny_run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    with pytest.raises(ValueError, match="must not exist or must be empty, got "):
        kerasseg.save_preset(tiny_run, tmp_path / "mine")
    with pytest.raises(FileNotFoundError, match="no such model"):
        kerasseg.save_preset(tmp_path / "nothing", tmp_path / "preset")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


@pytest.mark.parametrize("damage", ["config.json", "model.weights.h5"])
def test_a_damaged_preset_is_refused(tiny_run, tmp_path, damage):
    kerasseg.save_preset(tiny_run, tmp_path / "preset")
    (tmp_path / "preset" / damage).write_text("{}")
    with pytest.raises(ValueError, match="must be a preset of a network, got"):
        kerasseg.load(tmp_path / "preset")
