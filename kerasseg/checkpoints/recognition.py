"""What a file of weights is: its source, its architecture, and the arguments that it needs.

A file's own configuration counts more than its entry in the catalogue, which is found by the name
or the hash of the file. Where both are silent, names and shapes of the tensors tell the source and
the architecture, if exactly one fits.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from . import SOURCES, catalogue, notes, source_module
from .catalogue import Entry
from .limits import CheckpointError
from .notes import Notes
from .openmmlab import Windows
from .plans import Plan
from .prefixes import State
from .storages import Saved

# Arguments that no tensor shows: a configuration and the catalogue must agree in these.
UNSHOWN = (
    *("output_stride", "dilations", "multi_grid", "atrous_rates", "head_dilation"),
    "align_corners",
)


class Recognized(NamedTuple):
    """What a file is.

    Attributes:
        source: Implementation that the weights come from.
        model: Name of the architecture.
        configured: Arguments of the architecture from the configuration or the catalogue.
        preprocessing: Name of the preset that normalises images; "source" for that of the source.
        windows: Windows of the published evaluation; None for whole images, or if unknown.
        entry: The checkpoint of the catalogue; None if it is none.
        notes: What the file says of itself.
        notices: Sentences for the user.
    """

    source: str
    model: str
    configured: dict[str, Any]
    preprocessing: str
    windows: Windows | None
    entry: Entry | None
    notes: Notes
    notices: tuple[str, ...]


class _Told(NamedTuple):
    """What a configuration or the catalogue tells."""

    origin: str
    source: str
    model: str
    options: Mapping[str, Any]
    preprocessing: str | None
    windows: Windows | None


def recognize(
    path: Path,
    saved: Saved,
    *,
    source: str | None = None,
    model: str | None = None,
    checkpoint: str | None = None,
    prefix: str | None = None,
    ignore_configuration: bool = False,
) -> Recognized:
    """Finds out what a file is.

    Args:
        path: The file.
        saved: Its content.
        source: Implementation that the weights come from; None to recognise it.
        model: Name of the architecture; None to recognise it.
        checkpoint: Name in the catalogue; None to recognise the file by its name or hash.
        prefix: Beginning of the names of the network's tensors; None to find it.
        ignore_configuration: Whether the file's own configuration does not count.

    Raises:
        OtherNetworkError: If the file's configuration describes a network that kerasseg does not
            have.
        CheckpointError: If `checkpoint` is unknown or contradicts the file's configuration, or
            source and architecture are neither given nor recognised.
    """
    own = notes.of(path, saved.meta, ignore_configuration=ignore_configuration)
    notices = list(own.problems)
    entry = _entry(path, checkpoint, notices)
    told = _told(own, entry)
    _check_agreement(told, checkpoint, notices)
    source = _given_or_told("source", source, [one.source for one in told], notices)
    model = _given_or_told("model", model, [one.model for one in told], notices)
    if source is None or model is None:
        source, model = _by_tensors(saved.tensors, source, model, prefix)
        notices.append(f"recognised by its tensors: {model} of source {source}")
    told = [one for one in told if (one.source, one.model) == (source, model)]
    configured: dict[str, Any] = {}
    for one in reversed(told):
        configured |= one.options
    return Recognized(
        source=source,
        model=model,
        configured=configured,
        preprocessing=next((one.preprocessing for one in told if one.preprocessing), "source"),
        windows=told[0].windows if told else None,
        entry=entry if entry and (entry.source, entry.model) == (source, model) else None,
        notes=own,
        notices=tuple(notices),
    )


def _entry(path: Path, checkpoint: str | None, notices: list[str]) -> Entry | None:
    if checkpoint is not None:
        return catalogue.find(checkpoint)
    entry, by = catalogue.recognize(path)
    if entry is None:
        return None
    notices.append(f"recognised by its {by}: {entry.name} of {entry.source}, {entry.license}")
    if by == "name" and entry.hash:
        notices.append(
            f"its SHA-256 does not begin with {entry.hash}: the content is not the published one"
        )
    return entry


def _told(own: Notes, entry: Entry | None) -> list[_Told]:
    """Lists what the configuration and the catalogue tell, the more reliable one first."""
    found = []
    if own.network is not None:
        found.append(_Told("the file's configuration", own.source, *own.network))
    if entry is not None:
        facts = (entry.source, entry.model, entry.options, entry.preprocessing, entry.windows)
        found.append(_Told(f"the catalogue's entry {entry.name}", *facts))
    return found


def _check_agreement(told: list[_Told], checkpoint: str | None, notices: list[str]) -> None:
    """Compares the configuration with the catalogue in what tensors do not show.

    Raises:
        CheckpointError: If they differ, and the user named the checkpoint of the catalogue.
    """
    if len(told) < 2:
        return
    one, other = (
        {
            "model": each.model,
            **({"preprocessing": each.preprocessing} if each.preprocessing else {}),
            **{name: each.options[name] for name in UNSHOWN if name in each.options},
        }
        for each in told
    )
    differing = [
        f"{name} is {value}, and {other[name]} in {told[1].origin}"
        for name, value in one.items()
        if name in other and value != other[name]
    ]
    if differing and checkpoint is not None:
        raise CheckpointError(f"{told[0].origin} contradicts --checkpoint: {'; '.join(differing)}.")
    notices += [f"{told[0].origin} is used: {difference}" for difference in differing]


def _given_or_told(what: str, given: str | None, told: list[str], notices: list[str]) -> str | None:
    """Returns what the user gave, or else what is told; says where the first is not the second."""
    if given is None:
        return told[0] if told else None
    if told and told[0] != given:
        notices.append(f"{what} is {given} as given, although the file is said to be {told[0]}")
    return given


def _by_tensors(
    state: State, source: str | None, model: str | None, prefix: str | None
) -> tuple[str, str]:
    """Finds the only source and architecture that tensors fit.

    Raises:
        CheckpointError: If none or several fit.
    """
    plans = {
        (name, each): Plan(module, each, None, False, {"preprocessing": None})
        for name in ([source] if source else SOURCES)
        for module in [source_module(name)]
        for each in module.MODELS
        if not each.startswith("encoder") and model in (None, each)
    }
    found = [key for key, plan in plans.items() if plan.knows(state, prefix)]
    if len(found) > 1:
        found = [key for key in found if plans[key].fits(state, prefix)] or found
    if len(found) != 1:
        listed = " or ".join(f"{each} of {name}" for name, each in found) or "none that is known"
        raise CheckpointError(
            f"the tensors must be those of one network, got those of {listed}; give --model and "
            "--source."
        )
    return found[0]
