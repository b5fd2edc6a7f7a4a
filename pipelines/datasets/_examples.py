"""Examples: pairs of an image and its label, not yet read, and many of them in little memory."""

import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

# Bytes that no UTF-8 text holds. They stand for the end of a path, and for the part of the image's
# path before the filename, which most examples share.
_END, _BEFORE = b"\xff", b"\xfe"


@dataclass(frozen=True, slots=True)
class Example:
    """One image and its label, not yet read.

    Paths are text because a `Path` takes three times the memory.

    Attributes:
        filename: Path of the image relative to the source, with "/"; unique within the dataset.
        image: File of the image.
        label: File of the label, None when the image has none.
        details: Further facts for the dataset's `read` or `read_label`, with the same `repr` in
            every process.
    """

    filename: str
    image: str
    label: str | None
    details: Any = None


class PackedExamples(Sequence[Example]):
    """Examples whose paths are packed as bytes; each example is made when it is needed.

    They take a quarter of the memory of a list.

    Args:
        examples: The examples to pack.
    """

    def __init__(self, examples: Iterable[Example]):
        self._content = bytearray()
        self._ends = array.array("Q")
        self._before: list[bytes] = []
        self._numbers: dict[bytes, int] = {}
        self._details: dict[int, Any] = {}
        for index, example in enumerate(examples):
            self._content += self._pack(example)
            self._ends.append(len(self._content))
            if example.details is not None:
                self._details[index] = example.details

    def __len__(self) -> int:
        """Returns the number of examples."""
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...

    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        """Makes one example or several."""
        if isinstance(index, slice):
            return [self._make(at) for at in range(len(self))[index]]
        return self._make(range(len(self))[index])

    def __iter__(self) -> Iterator[Example]:
        """Makes one example after another."""
        return map(self._make, range(len(self)))

    def _make(self, index: int) -> Example:
        begin = self._ends[index - 1] if index else 0
        number, filename, image, *label = self._content[begin : self._ends[index]].split(_END)
        before = self._before[int(number)]
        return Example(
            _text(filename),
            _text(before + filename if image == _BEFORE else image),
            _text(label[0].replace(_BEFORE, before)) if label else None,
            self._details.get(index),
        )

    def _pack(self, example: Example) -> bytes:
        filename, image = _bytes(example.filename), _bytes(example.image)
        before = image[: len(image) - len(filename)] if image.endswith(filename) else b""
        number = self._numbers.setdefault(before, len(self._before))
        if number == len(self._before):
            self._before.append(before)
        parts = [b"%d" % number, filename, _BEFORE if image == before + filename else image]
        if example.label is not None:
            label = _bytes(example.label)
            parts.append(_BEFORE + label[len(before) :] if label.startswith(before) else label)
        return _END.join(parts)


def _bytes(text: str) -> bytes:
    # Names of files may hold parts of characters.
    return text.encode("utf-8", "surrogatepass")


def _text(content: bytes | bytearray) -> str:
    return content.decode("utf-8", "surrogatepass")
