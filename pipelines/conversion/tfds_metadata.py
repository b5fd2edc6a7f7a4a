"""The files that describe a converted dataset: our manifest, and those of TensorFlow Datasets."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kerasseg import IGNORE_LABEL
from kerasseg import channels as channels_rule

from .. import records
from ..classes import Description
from .pairs import Encoding
from .shards import ShardResult, ShardSpec

FILES = {
    records.MANIFEST,
    "dataset_info.json",
    "features.json",
    "segmentation_mask.labels.txt",
}


def write(
    folder: Path,
    dataset: str,
    description: Description,
    shards: dict[str, list[tuple[ShardSpec, ShardResult]]],
    source_sha256: str,
    how: Mapping[str, Any],
    encoding: Encoding,
) -> None:
    """Writes the manifest, and the three files that make the folder readable by `tfds.load`.

    Args:
        folder: Folder of the shards.
        dataset: Name of the dataset.
        description: The facts of the dataset.
        shards: Specification and result of each shard, by split.
        source_sha256: Hash that identifies the source.
        how: The other inputs of the conversion: options, map, encoding, seed.
        encoding: How pairs are stored: the channels and bits of the images.
    """
    splits = {split: _describe_split(split, pairs) for split, pairs in shards.items()}
    classes = description.classes
    formats = {f for pairs in shards.values() for _, r in pairs for f in r.image_formats}
    # TensorFlow Datasets may be told the format only if all images have the same.
    image_format = formats.pop() if len(formats) == 1 else None
    _write_json(
        folder / "features.json", _tfds_features(len(classes.names), image_format, encoding)
    )
    _write_json(folder / "dataset_info.json", _tfds_info(dataset, description, splits))
    (folder / "segmentation_mask.labels.txt").write_text(
        "".join(f"{name}\n" for name in classes.names), encoding="utf-8"
    )
    _write_json(
        folder / records.MANIFEST,
        {
            "format": records.format_of(encoding.channels, encoding.bits),
            "dataset": dataset,
            "version": records.VERSION,
            "homepage": description.homepage,
            "class_names": classes.names,
            "colors": classes.colors,
            "ignore_label": IGNORE_LABEL,
            **_depth(encoding),
            "classes_fingerprint": classes.fingerprint,
            "fingerprint": records.fingerprint(classes, splits),
            "source_sha256": source_sha256,
            "how": how,
            "splits": {
                split.name: {key: value for key, value in asdict(split).items() if key != "name"}
                for split in splits.values()
            },
        },
    )


def _depth(encoding: Encoding) -> dict[str, int]:
    """Returns the manifest's entries on the images; none for RGB of 8 bits, as ever."""
    if channels_rule.is_default(encoding.channels, encoding.bits):
        return {}
    return {"channels": encoding.channels, "bits": encoding.bits}


def _describe_split(split: str, pairs: list[tuple[ShardSpec, ShardResult]]) -> records.Split:
    results = [result for _, result in pairs]
    shards = [
        {"file": s.path.name, "examples": r.examples, "bytes": r.bytes, "sha256": r.sha256}
        for s, r in pairs
    ]
    return records.Split(
        split,
        sum(result.examples for result in results),
        shards,
        np.sum([result.class_pixels for result in results], axis=0).tolist(),
        np.sum([result.pixels_with_class for result in results], axis=0).tolist(),
        sum(result.ignored_pixels for result in results),
    )


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


def _tfds_features(num_classes: int, image_format: str | None, stored: Encoding) -> dict[str, Any]:
    """Describes the records as the writer of TensorFlow Datasets does.

    It knows one, three and four channels: planar images are gray for it.
    """
    prefix = "tensorflow_datasets.core.features"

    def image(channels: int, encoding: str | None, bits: int = 8, **more: Any) -> dict[str, Any]:
        shape = {"dimensions": ["-1", "-1", str(channels)]}
        content = {"dtype": f"uint{bits}", "shape": shape, **more}
        return {**content, "encodingFormat": encoding} if encoding else content

    features = {
        "filename": {"pythonClassName": f"{prefix}.text_feature.Text", "text": {}},
        "image": {
            "pythonClassName": f"{prefix}.image_feature.Image",
            "image": image(3 if stored.channels == 3 else 1, image_format, stored.bits),
        },
        "segmentation_mask": {
            "pythonClassName": f"{prefix}.labeled_image.LabeledImage",
            "image": image(1, "png", label={"numClasses": str(num_classes)}, useColormap=True),
        },
    }
    return {
        "pythonClassName": f"{prefix}.features_dict.FeaturesDict",
        "featuresDict": {"features": features},
    }


def _tfds_info(dataset: str, description: Description, splits) -> dict[str, Any]:
    return {
        "name": dataset,
        "version": records.VERSION,
        "description": f"{dataset}, converted by kerasseg.",
        "citation": "",
        "location": {"urls": [description.homepage] if description.homepage else []},
        "fileFormat": "tfrecord",
        # As release 0.1 wrote it, so that the same source gives the same bytes.
        "moduleName": "kerasseg.pipelines.metadata",
        "supervisedKeys": {
            "tuple": {"items": [{"featureKey": "image"}, {"featureKey": "segmentation_mask"}]}
        },
        "splits": [
            {
                "name": split.name,
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "numBytes": str(sum(shard["bytes"] for shard in split.shards)),
                "shardLengths": [str(shard["examples"]) for shard in split.shards],
            }
            for split in splits.values()
        ],
    }
