"""Client of TensorFlow Serving or `kerasseg serve`: image files to label maps. No TensorFlow."""

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps

from .errors import InputError, Problem
from .images.formats import IMAGE_ENDINGS
from .images.image_folders import readable_images
from .serving import connections, tensors
from .serving.connections import INVALID_ARGUMENT, Connection, Layout, RequestError, Target

_PNG = "_png_bytes"  # ends the names of outputs that are PNG files
_OVERLAY = "overlay_png_bytes"
_UINT8 = 4


class RefusedError(InputError):
    """The server refused some of the images; the others' answers are written.

    Attributes:
        problems: All of them.
    """

    def __init__(self, problems: list[Problem]):
        super().__init__(f"{len(problems)} of the images cannot be predicted.")
        self.problems = problems


@dataclass(frozen=True)
class Answer:
    """What came back for an image.

    Attributes:
        image: The image's file.
        files: The files written.
        values: Outputs that are a row of numbers, such as `class_shares`, by name.
    """

    image: Path
    files: tuple[Path, ...]
    values: dict[str, list[float]]


def run(
    url: str,
    images: Iterable[Path],
    *,
    model: str | None = None,
    version: int | None = None,
    output: Path = Path(),
    signature: str = "serving_default",
    overlay: bool = False,
    timeout: float = 60,
    retries: int = 3,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Answer]:
    """Sends images to a server, one at a time, and writes what it answers.

    A label map is written as NAME.png, 8-bit gray, as the server gives it; an overlay as
    NAME_overlay.png; other pictures of numbers as NAME_OUTPUT.npy.

    Args:
        url: `http(s)://HOST:PORT` for REST, `grpc(s)://HOST:PORT` for gRPC.
        images: Image files, and folders whose images are taken with their sub-folders.
        model: Name of the model; None for the only one, where the server lists its models.
        version: Version of the model; None for the server's choice.
        output: Folder to write to.
        signature: What to ask for; the input follows from it: files, or pixels.
        overlay: Whether to ask for overlays, too.
        timeout: Seconds that a request may take.
        retries: How often to try again if the server cannot be reached or is busy.
        on_progress: Called with the numbers of images done and in all.

    Returns:
        What came back, an entry an image.

    Raises:
        RefusedError: If the server refuses some of the images; the others' answers are written.
        RequestError: If the server cannot be reached, or has no such model or signature.
        InputError: If an argument cannot be used.
    """
    if retries < 0:
        raise InputError(f"retries must be at least 0, got {retries}.")
    if version is not None and not 1 <= version < 2**63:
        raise InputError(f"version must be a positive number, got {version}.")
    plan = _plan(images, output)
    with open_connection(url, timeout) as connection:
        session = Session(connection, retries)
        name = model or session.only_model(url)
        wanted = [signature, *([_OVERLAY] if overlay and signature != _OVERLAY else [])]
        targets = [Target(name, version, each) for each in wanted]
        layouts = [session.layout(target) for target in targets]
        answers, problems = [], []
        for image, stem in plan:
            try:
                parts = [session.ask(*each, image) for each in zip(targets, layouts, strict=True)]
            except RequestError as error:
                if error.code != INVALID_ARGUMENT:
                    raise
                problems.append(Problem(str(image), "the server refuses it", str(error)))
            else:
                outputs = {key: array for part in parts for key, array in part.items()}
                answers.append(_write(image, stem, outputs))
            on_progress(len(answers) + len(problems), len(plan))
    if problems:
        raise RefusedError(problems)
    return answers


@contextmanager
def open_connection(url: str, timeout: float) -> Iterator[Connection]:
    """Connects, and closes in the end; see `connections.connect`."""
    connection = connections.connect(url, timeout=timeout)
    try:
        yield connection
    finally:
        connection.close()


class Session:
    """A connection whose calls are tried again.

    Args:
        connection: The connection.
        retries: How often to try again.
    """

    def __init__(self, connection: Connection, retries: int):
        self._connection, self._retries = connection, retries

    def only_model(self, url: str) -> str:
        """Asks for the name of the only model.

        Raises:
            InputError: If there are several, or the server does not tell.
        """
        names = connections.with_retries(self._connection.models, self._retries)
        if len(names) != 1:
            got = f"{', '.join(names)} there" if names else "a server that does not list them"
            raise InputError(f"model must be given, as in --model NAME, got {got} ({url}).")
        return names[0]

    def layout(self, target: Target) -> Layout:
        """Asks for the inputs and outputs of a signature.

        Raises:
            RequestError: If there is no such signature, or none that an image can be sent to.
        """
        layouts = connections.with_retries(lambda: self._connection.layouts(target), self._retries)
        layout = layouts.get(target.signature)
        if layout is None:
            raise RequestError(
                f"signature must be one of {', '.join(sorted(layouts))}, got {target.signature}.", 5
            )
        if list(layout.inputs.values()) not in ([tensors.STRING], [_UINT8]):
            raise RequestError(
                f"signature must take files or uint8 pixels, got {target.signature}, which takes "
                f"{', '.join(layout.inputs)}.",
                5,
            )
        return layout

    def ask(self, target: Target, layout: Layout, image: Path) -> dict[str, np.ndarray]:
        """Sends an image, and returns its outputs, without the dimension of the batch."""
        request = self._connection.encode(target, inputs(layout, image))
        answer = connections.with_retries(
            lambda: self._connection.send(target, request), self._retries
        )
        outputs = self._connection.decode(answer, layout)
        for name, array in outputs.items():
            if array.shape[:1] != (1,):
                raise RequestError(f"{name} must be a batch of one, got shape {array.shape}.", 2)
        return {name: array[0] for name, array in outputs.items()}


def inputs(layout: Layout, image: Path) -> dict[str, np.ndarray]:
    """Makes the batch of one that a signature takes.

    Raises:
        RequestError: If pixels are wanted, and the file cannot be decoded.
        InputError: If the file cannot be read.
    """
    ((name, dtype),) = layout.inputs.items()
    try:
        content = image.read_bytes()
    except OSError as error:
        raise InputError(f"{image}: cannot be read ({error.strerror}).") from error
    if dtype == tensors.STRING:
        return {name: tensors.strings([content])}
    try:
        with PIL.Image.open(io.BytesIO(content)) as opened:
            upright = PIL.ImageOps.exif_transpose(opened).convert("RGB")
    except Exception as error:  # whatever Pillow meets in a broken file
        raise RequestError(f"cannot be decoded ({error})", INVALID_ARGUMENT) from error
    return {name: np.asarray(upright)[np.newaxis]}


def _plan(images: Iterable[Path], output: Path) -> list[tuple[Path, Path]]:
    """Names what will be written, without endings; nothing overwrites another or an image."""
    plan: dict[Path, Path] = {}
    for path in images:
        for image, relative in _expand(path):
            stem = output / relative.with_suffix("")
            if plan.setdefault(stem, image) != image:
                raise InputError(
                    f"{stem}.png: would be written for {plan[stem]} and {image}; give them "
                    "separate --output folders."
                )
    sources = {image.resolve() for image in plan.values()}
    for stem in plan:
        for ending in (".png", "_overlay.png"):
            if _named(stem, ending).resolve() in sources:
                raise InputError(
                    f"{stem}{ending}: would overwrite an image; choose another --output."
                )
    return [(image, stem) for stem, image in plan.items()]


def _expand(path: Path) -> Sequence[tuple[Path, Path]]:
    if path.is_file():
        return [(path, Path(path.name))]
    if not path.is_dir():
        raise InputError(f"{path}: no such image or folder.")
    found = readable_images(path).images
    if not found:
        raise InputError(f"{path}: must hold images ({', '.join(IMAGE_ENDINGS)}), got none.")
    return [(image, image.relative_to(path)) for image in found]


def _named(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)


def _write(image: Path, stem: Path, outputs: dict[str, np.ndarray]) -> Answer:
    """Writes all files of an image, or none."""
    values = {name: array.tolist() for name, array in outputs.items() if np.ndim(array) == 1}
    files = [_content(stem, name, array) for name, array in outputs.items() if name not in values]
    with ExitStack() as stack:
        written = []
        try:
            stem.parent.mkdir(parents=True, exist_ok=True)
            for path, content in files:
                temporary = path.with_name(f"writing-{os.getpid()}-{path.name}")
                stack.callback(temporary.unlink, missing_ok=True)
                temporary.write_bytes(content)
                written.append((temporary, path))
            for temporary, path in written:
                temporary.replace(path)
        except OSError as error:
            raise InputError(f"{stem}: cannot be written ({error.strerror}).") from error
    return Answer(image, tuple(path for path, _ in files), values)


def _content(stem: Path, name: str, array: np.ndarray | bytes) -> tuple[Path, bytes]:
    """Returns an output's file, and what to write there."""
    buffer = io.BytesIO()
    if isinstance(array, bytes):
        kind = name.removesuffix(_PNG)
        return _named(stem, ".png" if kind == "label" else f"_{kind}.png"), array
    if array.ndim == 2 and array.dtype == np.uint8:
        PIL.Image.fromarray(array).save(buffer, "PNG", compress_level=1)
        return _named(stem, ".png"), buffer.getvalue()
    np.save(buffer, array, allow_pickle=False)
    return _named(stem, f"_{name}.npy"), buffer.getvalue()
