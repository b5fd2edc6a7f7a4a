"""Client of TensorFlow Serving or `kerasseg serve`: image files to label maps. No TensorFlow."""

import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from .downloads.download import Limits
from .errors import ImageFileError, InputError, Problem
from .images import given_images, output_names, words
from .images.elsewhere import name_of
from .images.output_names import Output
from .images.source_images import Stretch
from .images.words import Words
from .serving.connections import Layout, RequestError, Target
from .serving.session import Session, open_connection

# gRPC's status codes for one bad request: the request is invalid, too large or out of range, it was
# aborted, or the model fails on it.
_OF_ONE_IMAGE = (3, 8, 10, 11, 13)
_PNG = "_png_bytes"  # end of the names of outputs that are PNG files
_OVERLAY = "overlay_png_bytes"
_NAME = re.compile(r"[\w.-]+", re.ASCII)


class RefusedError(InputError):
    """Some images could not be predicted; the answers for the others are written.

    Attributes:
        problems: What is wrong with each of these images.
    """

    def __init__(self, problems: list[Problem]):
        super().__init__(f"{len(problems)} of the images cannot be predicted.")
        self.problems = problems


@dataclass(frozen=True)
class Answer:
    """The server's answer for one image.

    Attributes:
        image: The image's file; of an image that is no file, the name that its answers have.
        files: The files written.
        values: Outputs that are rows of numbers, such as `class_shares`, by name.
    """

    image: Path
    files: tuple[Path, ...]
    values: dict[str, list[float]]


def run(
    url: str,
    images: Words,
    *,
    model: str | None = None,
    version: int | None = None,
    output: Path | str = Path(),
    signature: str = "serving_default",
    overlay: bool = False,
    timeout: float = 60,
    retries: int = 3,
    stretch: Stretch | None = None,
    overwrite: bool = False,
    downloads: Limits | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_passed_over: Callable[[Sequence[given_images.PassedOver]], None] = lambda files: None,
) -> list[Answer]:
    """Sends images to a server, one at a time, and writes its answers.

    A label map is written as NAME.png, an 8-bit gray image with the server's values. An overlay is
    written as NAME_overlay.png, and any other map of numbers as NAME_OUTPUT.npy.
    `images.output_names` chooses NAME if two images have the same name.

    Args:
        url: `http(s)://HOST:PORT` for REST, `grpc(s)://HOST:PORT` for gRPC.
        images: Image files, folders, of which all images are sent, also those in subfolders, and
            the other words of `images.words`: patterns, lists, addresses, standard input.
        model: Name of the model; may be None if the server lists its models and has only one.
        version: Version of the model; None for the server's choice.
        output: Folder to write to.
        signature: Name of the signature, which decides whether files or pixels are sent.
        overlay: Whether to ask for overlays as well.
        timeout: Seconds that a request may take.
        retries: Number of further attempts if the server cannot be reached or is busy.
        stretch: Values that become black and white in images with more than 8 bits per channel; use
            those of the model's training data. None refuses such images. A model of 16-bit images
            needs it, as the server does not know it; 0,65535 sends the numbers of the files.
        overwrite: Whether answers may replace files that kerasseg did not write, or that were
            changed after it wrote them. It cannot recognise its own `.npy` files.
        downloads: What the download of an image at an address may take and reach; the usual limits
            if None.
        on_progress: Called with the number of finished images and the number of all images.
        on_passed_over: Called once with the files in the folders that are not sent.

    Returns:
        The answers, one per image.

    Raises:
        RefusedError: If some images cannot be read, the server refuses them, or their answers would
            replace files that kerasseg did not write. The answers for all others are written.
        RequestError: If the server cannot be reached, or has no such model or signature.
        InputError: If an argument cannot be used.
    """
    if retries < 0:
        raise InputError(f"retries must be at least 0, got {retries}.")
    if version is not None and not 1 <= version < 2**63:
        raise InputError(f"version must be a positive number, got {version}.")
    found = words.find(images, downloads)
    with open_connection(url, timeout) as connection:
        session = Session(connection, retries)
        name = model or session.only_model(url)
        wanted = [signature, *([_OVERLAY] if overlay and signature != _OVERLAY else [])]
        targets = [Target(name, version, each) for each in wanted]
        layouts = [session.layout(target) for target in targets]
        if layouts[0].bits > 8 and stretch is None:
            raise InputError(
                "stretch must be given for a model of 16-bit images, got none: the values that its "
                "training data had, or 0,65535 to send the numbers of the files as they are."
            )
        plan = output_names.plan(found.images, Path(output), _endings(layouts))
        on_passed_over(found.passed_over)
        answers, problems = [], []
        for item in plan:
            try:
                form = layouts[0].channels, layouts[0].bits
                content = given_images.read(item.image, stretch, *form)
                parts = [session.ask(*each, content) for each in zip(targets, layouts, strict=True)]
                outputs = {key: array for part in parts for key, array in part.items()}
                answers.append(_write(item, outputs, overwrite))
            except ImageFileError as error:
                problems.append(Problem(str(item.image), error.what, error.cause))
            except RequestError as error:
                if error.retry or error.code not in _OF_ONE_IMAGE:
                    raise
                problems.append(Problem(str(item.image), "the server refuses it", str(error)))
            on_progress(len(answers) + len(problems), len(plan))
    if problems:
        raise RefusedError(problems)
    return answers


def _endings(layouts: Iterable[Layout]) -> set[str]:
    """Lists all endings that an image's files may have; only an answer shows which they are."""
    names = {name for layout in layouts for name in layout.outputs}
    for name in names:
        if not _NAME.fullmatch(name):
            raise RequestError(
                f"names of outputs must be letters, digits, '_', '.' or '-', got {name!r}.", 2
            )
    kinds = {name.removesuffix(_PNG) for name in names}
    pictures = {f"_{kind}.png" for kind in kinds}
    return {".png", *pictures, *(f"_{name}.npy" for name in names)}


def _write(item: Output, outputs: dict[str, np.ndarray], overwrite: bool = False) -> Answer:
    """Writes all files of an image or none."""
    values = {name: array.tolist() for name, array in outputs.items() if np.ndim(array) == 1}
    contents: dict[Path, bytes] = {}
    for name, array in outputs.items():
        if name not in values:
            ending, content = _encode(name, array)
            if item.file(ending) in contents:  # a second label map
                ending = f"_{name.removesuffix(_PNG)}.png"
            contents[item.file(ending)] = content
    if contents:
        output_names.write(contents, overwrite=overwrite, item=item)
    return Answer(name_of(item.image), tuple(contents), values)


def _encode(name: str, array: np.ndarray | bytes) -> tuple[str, bytes]:
    """Returns the ending of an output's file and the content to write into it."""
    buffer = io.BytesIO()
    if isinstance(array, bytes):
        kind = name.removesuffix(_PNG)
        return ".png" if kind == "label" else f"_{kind}.png", array
    if array.ndim == 2 and array.dtype == np.uint8:
        PIL.Image.fromarray(array).save(buffer, "PNG", compress_level=1)
        return ".png", buffer.getvalue()
    np.save(buffer, array, allow_pickle=False)
    return f"_{name}.npy", buffer.getvalue()
