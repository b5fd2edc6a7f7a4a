"""Reading the arrays of a large JSON file element by element.

COCO's panoptic annotations are one object of 330 MB, which would be 2 GB of Python objects.
"""

import codecs
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from ..errors import InputError

_CHUNK = 2**20
_LARGEST_ELEMENT = 2**24
_LONGEST_WORD = 16  # a cut literal or escape is reported at most so far before the end
_DECODER = json.JSONDecoder()


def elements(path: Path, names: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Reads some arrays of a JSON object without holding the whole object in memory.

    Args:
        path: File with one JSON object.
        names: Keys of the arrays to read; all others are skipped.

    Yields:
        The array's key and an element, in the order of the file.

    Raises:
        InputError: If the file is not a JSON object, is damaged or cut short, or lacks an array.
    """
    found = []
    with _open(path) as file:
        stream = _Stream(path, file)
        stream.take("{")
        closed = stream.peek() == "}" and stream.take("}")
        while not closed:
            name = stream.name()
            found.append(name)
            if stream.peek() == "[":
                wanted = name in names
                for element in stream.array():
                    if wanted:
                        yield name, element
            else:
                stream.value()
            closed = stream.take(",}") == "}"
        if stream.peek():
            stream.fail("is damaged: it continues after its end")
    if missing := [name for name in names if name not in found]:
        raise InputError(
            f"{path}: must have {' and '.join(missing)}, got only {', '.join(found) or 'nothing'}."
        )


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error


class _Stream:
    """A window onto the text of a file, which is read as far as needed."""

    def __init__(self, path: Path, file: BinaryIO):
        self._path = path
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._position = 0
        self._bytes_before = 0  # of the file, before the text
        self._ended = False

    def peek(self) -> str:
        """Returns the next character that is not white space; "" at the end."""
        while True:
            # A search for other characters than white space would go through the whole text.
            while self._text[self._position : self._position + 1].isspace():
                self._position += 1
            if self._position < len(self._text) or not self._read():
                return self._text[self._position : self._position + 1]

    def take(self, characters: str) -> str:
        """Skips one of these characters and returns it."""
        character = self.peek()
        if not character:
            self.fail("is cut short")
        if character not in characters:
            self.fail(f"is damaged or no JSON object: must have one of {characters!r}")
        self._position += 1
        return character

    def name(self) -> str:
        """Skips a key and its colon, and returns the key."""
        if self.peek() not in ('"', ""):
            self.fail("is damaged: must have a name in quotation marks")
        name = self.value()
        self.take(":")
        return name

    def array(self) -> Iterator[Any]:
        """Reads an array, element by element."""
        self.take("[")
        closed = self.peek() == "]" and self.take("]")
        while not closed:
            yield self.value()
            closed = self.take(",]") == "]"

    def value(self) -> Any:
        """Reads any value and returns it."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._position)
            except json.JSONDecodeError as error:
                if not self._is_cut(error):
                    self.fail(f"is damaged: {error.msg}", error.pos)
            except (ValueError, RecursionError) as error:
                self.fail(f"is damaged: {error}")
            else:
                # A number at the end of the text may continue behind it.
                if end < len(self._text) or self._ended:
                    self._position = end
                    return value
            if len(self._text) - self._position > _LARGEST_ELEMENT:
                self.fail(f"must have elements of up to {_LARGEST_ELEMENT} bytes")
            if not self._read():
                self.fail("is cut short", len(self._text))

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Distinguishes an element that is not read to its end from a wrong one."""
        margin = 0 if self._ended else _LONGEST_WORD
        return error.pos >= len(self._text) - margin or error.msg.startswith("Unterminated")

    def _read(self) -> bool:
        """Drops the text already used and reads more; returns False at the end of the file."""
        if self._ended:
            return False
        rest = self._text[self._position :]
        self._bytes_before += len(self._text[: self._position].encode())
        try:
            # Twice as much each time, so that a large element is not parsed over and over.
            chunk = self._file.read(max(_CHUNK, len(rest)))
            self._ended = not chunk
            text = self._decode.decode(chunk, self._ended)
        except UnicodeDecodeError as error:
            self._text, self._position = rest, 0
            at = self._bytes_before + len(rest.encode()) + error.start
            raise InputError(f"{self._path}: is damaged: no UTF-8 at byte {at}.") from error
        except OSError as error:
            raise InputError(f"{self._path}: cannot be read ({error.strerror}).") from error
        self._text, self._position = rest + text, 0
        return True

    def fail(self, what: str, position: int | None = None) -> NoReturn:
        """Raises an error that says where it occurred.

        Raises:
            InputError: Always.
        """
        position = self._position if position is None else position
        at = self._bytes_before + len(self._text[:position].encode())
        got = self._text[position : position + 20]
        got = f", got {got!r}" if got else ""
        raise InputError(f"{self._path}: {what} (byte {at}){got}.")
