"""The catalogue of published checkpoints: what each is, scores, and needs to be imported.

`openmmlab.tsv` holds the 264 checkpoints that OpenMMLab published for architectures of kerasseg,
as the metafiles and configurations of MMSegmentation 1.2.2 describe them (Apache-2.0), slips
included. `published.toml` holds those of other sources.
"""

import csv
import difflib
import functools
import hashlib
import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import openmmlab
from .limits import CheckpointError
from .openmmlab import Windows

_FOLDER = Path(__file__).parent
_OPENMMLAB = "https://download.openmmlab.com/mmsegmentation/v0.5"
# The 8 hexadecimal digits at the end of a file's name are the beginning of its SHA-256.
_HASH = re.compile(r"-([0-9a-f]{8})\.[a-z.]+$")


@dataclass(frozen=True)
class Entry:
    """A published checkpoint.

    Attributes:
        name: Name by which `import-weights --checkpoint` knows it.
        source: Implementation, one of `kerasseg.checkpoints.SOURCES`.
        model: Name of our architecture.
        dataset: Dataset of its training, as the source names it.
        options: Arguments of the architecture's `build`, without those of the input.
        preprocessing: Name of the preset that normalises images.
        mean_iou: Published score of one scale, a fraction; None if none was published.
        mean_iou_scales: Published score with several scales and flipping.
        scores_from: Who published the scores.
        license: Licence of the weights; "non-commercial" is in it if they are.
        file: Name of the published file; "" if the source gives it no name of its own.
        hash: Beginning of the file's SHA-256; "" if the source does not publish it.
        url: Where the file or its page is.
        parameters: Number of parameters in the source's implementation, None if it is unknown.
        windows: Windows of the published evaluation; None for whole images.
    """

    name: str
    source: str
    model: str
    dataset: str
    options: dict[str, Any] = field(hash=False)
    preprocessing: str | None
    mean_iou: float | None
    mean_iou_scales: float | None
    scores_from: str
    license: str
    file: str
    hash: str
    url: str
    parameters: int | None
    windows: Windows | None

    @property
    def encoder(self) -> str:
        """Name of the encoder, or the size of an architecture that has its own; "-" for none."""
        return str(self.options.get("encoder", self.options.get("size", "-")))

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.options["num_classes"]


@functools.cache
def entries() -> tuple[Entry, ...]:
    """Lists all published checkpoints, OpenMMLab's first."""
    with (_FOLDER / "openmmlab.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    with (_FOLDER / "published.toml").open("rb") as file:
        others = tomllib.load(file)["checkpoint"]
    return (*map(_of_row, rows), *map(_of_table, others))


def configuration_of(row: dict[str, str]) -> dict[str, Any]:
    """Returns the configuration of a row of `openmmlab.tsv` in the form of MMSegmentation's."""
    mean, std, to_rgb = json.loads(row["mean_std"])
    return {
        "backbone": json.loads(row["backbone"]),
        "decode_head": {
            **json.loads(row["head"]),
            "align_corners": row["align_corners"] == "True",
        },
        "auxiliary_head": json.loads(row["auxiliary"] or "null"),
        "test_cfg": json.loads(row["test"]),
        "normalization": {"mean": mean, "std": std, "to_rgb": to_rgb},
    }


def _of_row(row: dict[str, str]) -> Entry:
    network = openmmlab.describe(configuration_of(row))
    found = _HASH.search(row["file"])
    assert found is not None
    return Entry(
        name=row["name"],
        source=openmmlab.SOURCE,
        model=network.model,
        dataset=row["dataset"],
        options=network.options,
        preprocessing=network.preprocessing,
        mean_iou=_fraction(row["miou"]),
        mean_iou_scales=_fraction(row["miou_ms"]),
        scores_from="OpenMMLab, MMSegmentation 1.2.2",
        license="Apache-2.0",
        file=row["file"],
        hash=found[1],
        url=f"{_OPENMMLAB}/{row['folder']}/{row['file']}",
        parameters=int(row["parameters"]),
        windows=network.windows,
    )


def _of_table(table: dict[str, Any]) -> Entry:
    found = _HASH.search(table.get("file", ""))
    options = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in table["options"].items()
    }
    return Entry(
        name=table["name"],
        source=table["source"],
        model=table["model"],
        dataset=table["dataset"],
        options=options,
        preprocessing=table["preprocessing"],
        mean_iou=_fraction(table.get("mean_iou")),
        mean_iou_scales=_fraction(table.get("mean_iou_scales")),
        scores_from=table.get("scores_from", ""),
        license=table["license"],
        file=table.get("file", ""),
        hash=found[1] if found else "",
        url=table.get("url", ""),
        parameters=table.get("parameters"),
        windows=None,
    )


def _fraction(percent: Any) -> float | None:
    return None if percent in (None, "") else round(float(percent) / 100, 6)


def find(name: str) -> Entry:
    """Returns the checkpoint of a name, which may also be that of its file.

    Raises:
        CheckpointError: If there is none; the message has similar names.
    """
    for entry in entries():
        if name and name in (entry.name, entry.file):
            return entry
    similar = difflib.get_close_matches(name, [entry.name for entry in entries()], 3, 0.5)
    raise CheckpointError(
        "checkpoint must be a name that 'kerasseg checkpoints' lists"
        + (f", such as {' or '.join(similar)}" if similar else "")
        + f", got {name[:200]!r}."
    )


def recognize(path: Path) -> tuple[Entry | None, str]:
    """Finds the checkpoint that a file is, by its content's hash or else by its name.

    Returns:
        The checkpoint, None if it is none of the catalogue; and what of it was recognised, "hash"
        or "name".
    """
    digest = sha256(path)
    named = [entry for entry in entries() if entry.file and entry.file == path.name]
    hashed = [entry for entry in entries() if entry.hash and digest.startswith(entry.hash)]
    if hashed:
        # Two of the same hash differ in their names.
        return next((entry for entry in hashed if entry in named), hashed[0]), "hash"
    return (named[0], "name") if len(named) == 1 else (None, "")


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def select(
    *, model: str | None = None, dataset: str | None = None, source: str | None = None
) -> Sequence[Entry]:
    """Lists the checkpoints of an architecture, a dataset or a source; None for all.

    Args:
        model: Name of the architecture.
        dataset: Name of the dataset or a part of it; upper case and punctuation do not matter.
        source: Name of the source.
    """
    wanted = _simple(dataset or "")
    return [
        entry
        for entry in entries()
        if model in (None, entry.model)
        and source in (None, entry.source)
        and wanted in _simple(entry.dataset)
    ]


def _simple(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
