"""Presets: networks in the folder layout of keras-hub."""

import datetime
import json
from pathlib import Path
from typing import Any

import keras

from .. import __version__, atomic_files

_CONFIG, _WEIGHTS, _METADATA = "config.json", "model.weights.h5", "metadata.json"


def is_preset(path: Path) -> bool:
    """Tells whether a path is the folder of a preset."""
    return (path / _CONFIG).is_file() and (path / _WEIGHTS).is_file()


def write(model: keras.Model, folder: Path, facts: dict[str, Any]) -> None:
    """Writes a preset, in one step.

    Args:
        model: A network of registered layers.
        folder: The folder, which must not exist or must be empty.
        facts: What `metadata.json` says beside versions and number of parameters.

    Raises:
        ValueError: If something is in the folder.
        OSError: If the folder cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"folder must not exist or must be empty, got {folder}.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_files.new_folder(folder) as writing:
        config = keras.saving.serialize_keras_object(model)
        _write_json(writing / _CONFIG, _without_states(config))
        model.save_weights(writing / _WEIGHTS)
        _write_json(writing / _METADATA, {**_describe(model), **facts})


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _without_states(config: Any) -> Any:
    """Leaves out how the network was compiled, which a preset does not tell."""
    if isinstance(config, list | tuple):
        return [_without_states(entry) for entry in config]
    if not isinstance(config, dict):
        return config
    return {
        key: _without_states(value)
        for key, value in config.items()
        if key not in ("compile_config", "build_config")
    }


def _describe(model: keras.Model) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC)
    return {
        "keras_version": keras.version(),
        "kerasseg_version": __version__,
        "parameter_count": model.count_params(),
        "date_saved": now.strftime("%Y-%m-%d@%H:%M:%S"),
        "tasks": ["ImageSegmenter"],
    }


def read(folder: Path) -> keras.Model:
    """Loads the network of a preset.

    Raises:
        ValueError: If the folder is not a preset of a network.
    """
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        model: Any = keras.saving.deserialize_keras_object(config, safe_mode=True)
        model.load_weights(folder / _WEIGHTS)
    except Exception as error:  # Keras raises many kinds
        raise ValueError(f"{folder}: must be a preset of a network, got {error!r:.300}.") from error
    return model
