"""Pickles of tensors, read without executing any code that they name.

Python's own reader is written in C. It hashes, copies and allocates whatever a pickle asks for, for
hours and many gigabytes, and Ctrl-C does not stop it. Here, `pickletools` splits the file into
instructions, and Python executes only those that tensors and plain values need.
"""

import pickletools
from collections.abc import Callable
from typing import Any

from .limits import MOST_DIMENSIONS, CheckpointError
from .storages import IGNORED, INERT, KINDS, Kind, LazyTensor, Storage

# A tensor takes about 40 instructions. This number of them takes about a second and 100 MB.
_MOST_STEPS = 1_000_000
_LONGEST_LINE = 2**20


class Loader:
    """Reads a pickle of tensors and plain values; any class but the listed ones is refused.

    Args:
        file: A binary file, positioned at the beginning of the pickle; afterwards at its end.
        limit: Largest number of bytes to read.

    Attributes:
        storages: The storages that the tensors view, by key.
    """

    def __init__(self, file, limit: int):
        self.storages: dict[str, Storage] = {}
        self._source = _Source(file, limit)
        self._steps = 0
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """Reads one object; dicts keep only the entries whose keys are strings.

        Raises:
            CheckpointError: If the pickle takes too many steps, names a forbidden class, or uses an
                instruction that no file of tensors needs.
        """
        source: Any = self._source
        for opcode, argument, _ in pickletools.genops(source):
            self._spend(1)
            if opcode.name == "STOP":
                break
            instruction = _INSTRUCTIONS.get(opcode.name)
            if instruction is None:
                raise CheckpointError(
                    f"must hold tensors and plain values only, got a pickle with {opcode.name}."
                )
            instruction(self, argument)
        return self._stack.pop()

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > _MOST_STEPS:
            raise CheckpointError(
                f"must take at most {_MOST_STEPS} steps to read, got more: save the tensors alone "
                "(the state_dict), without what the training keeps beside them."
            )

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _pop(self, _argument) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._stack.pop()

    def _pop_items(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise CheckpointError("must be a whole PyTorch file, got a pickle with an empty stack.")
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def _get(self, index: int) -> None:
        self._push(self._memo[index])

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _dict(self, _argument) -> None:
        items = self._pop_mark()
        self._push({})
        self._set_items(items)

    def _frozen_set(self, _argument) -> None:
        self._pop_mark()
        self._push(INERT)

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is list:
            target += items
        elif target is not INERT:
            raise CheckpointError(f"pickle must append to lists, got {type(target).__name__}.")

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is dict:
            _update(target, items[::2], items[1::2])
        elif target is not INERT:
            raise CheckpointError(f"pickle must set items of dicts, got {type(target).__name__}.")

    def _build(self, _argument) -> None:
        """Ignores the attributes that a pickle sets, such as `_metadata` of a state dict."""
        self._stack.pop()
        target = self._stack[-1]
        if type(target) is not dict and target is not INERT:
            raise CheckpointError(
                f"pickle must not set attributes, got those of a {type(target).__name__}."
            )

    def _find(self, module_name: Any, global_name: Any) -> Any:
        """Returns a substitute for a global of the pickle; never imports it."""
        place = (module_name, global_name)
        if type(module_name) is str and type(global_name) is str:
            if place in IGNORED:
                return INERT
            if place in _CALLS:
                return _CALLS[place]
            if module_name == "torch" and global_name in KINDS:
                return KINDS[global_name]
        raise CheckpointError(
            f"must hold tensors and plain values only, got an object of {_shown(module_name)}."
            f"{_shown(global_name)}, which could run code: it was not loaded."
        )

    def _find_named(self, argument: str) -> Any:
        module_name, _, global_name = argument.partition(" ")
        return self._find(module_name, global_name)

    def _call(self, what: Any, arguments: Any) -> None:
        if what is INERT:
            self._push(INERT)
        elif what in _CALLABLE and isinstance(arguments, (tuple, list)):
            self._spend(len(arguments))  # one tuple of many may be passed again and again
            self._push(what(self, *arguments))
        else:
            raise CheckpointError(f"pickle must call functions, got a {type(what).__name__}.")

    def _reduce(self, _argument) -> None:
        arguments, what = self._stack.pop(), self._stack.pop()
        self._call(what, arguments)

    def _reduce_with_names(self, _argument) -> None:
        self._stack.pop()
        self._reduce(None)

    def _instance(self, argument: str) -> None:
        self._call(self._find_named(argument), self._pop_mark())

    def _object(self, _argument) -> None:
        items = self._pop_mark()
        self._call(items[0], items[1:])

    def _stack_global(self, _argument) -> None:
        global_name, module_name = self._stack.pop(), self._stack.pop()
        self._push(self._find(module_name, global_name))

    def _persistent(self, _argument) -> None:
        """Pushes a storage: `("storage", kind, key, location, count, view)`."""
        pid = self._stack.pop()
        if type(pid) is not tuple or len(pid) < 5 or pid[0] != "storage":
            raise CheckpointError(f"must refer to storages only, got a {type(pid).__name__}.")
        kind, key, count = pid[1], pid[2], pid[4]
        whole = len(pid) == 5 or pid[5] is None
        if type(kind) is not Kind or type(key) is not str or not _is_count(count) or not whole:
            raise CheckpointError(
                f"storage must be one of {', '.join(KINDS)} with a name and a length, got another."
            )
        storage = Storage(key, kind, count)
        if self.storages.setdefault(key, storage) != storage:
            raise CheckpointError(f"storage {_shown(key)} must be described alike, got two forms.")
        self._push(storage)

    def _ordered_dict(self, items: Any = ()) -> dict[str, Any]:
        """Makes an OrderedDict, which Python 2 fills with a list of pairs and Python 3 later."""
        if type(items) is dict:
            return items
        if not isinstance(items, (tuple, list)):
            raise CheckpointError(f"dict must be made of pairs, got a {type(items).__name__}.")
        self._spend(len(items))
        made: dict[str, Any] = {}
        _update(made, [key for key, _ in items], [value for _, value in items])
        return made

    def _size(self, shape: Any = ()) -> Any:
        return shape

    def _tensor(self, storage, offset, shape, strides, *_ignored) -> LazyTensor:
        if type(storage) is not Storage:
            raise CheckpointError(f"tensor must view a storage, got {type(storage).__name__}.")
        for sides in (shape, strides):
            if not isinstance(sides, (tuple, list)) or len(sides) > MOST_DIMENSIONS:
                raise CheckpointError(
                    f"tensor must have a shape and strides of at most {MOST_DIMENSIONS} numbers."
                )
        if len(shape) != len(strides) or not all(map(_is_count, (offset, *shape, *strides))):
            raise CheckpointError("tensor must have a shape and strides of whole numbers.")
        return LazyTensor(storage, offset, tuple(shape), tuple(strides))

    def _parameter(self, tensor, *_ignored) -> Any:
        return tensor


class _Source:
    """The file of a pickle, up to a largest number of bytes."""

    def __init__(self, file, limit: int):
        self._file = file
        self._left = limit

    def read(self, count: int) -> bytes:
        """Reads bytes; refuses more than the file has before it reserves memory for them."""
        if count > self._left:
            raise CheckpointError("must be a whole PyTorch file, got a pickle that is cut off.")
        self._left -= count
        return self._file.read(count)

    def readline(self) -> bytes:
        """Reads a line of the old, textual instructions."""
        line = self._file.readline(min(self._left, _LONGEST_LINE))
        self._left -= len(line)
        return line


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48


def _shown(text: Any) -> str:
    return ascii(text)[1:-1][:100] if type(text) is str else f"({type(text).__name__})"


def _update(target: dict[str, Any], keys: list[Any], values: list[Any]) -> None:
    """Sets the entries whose keys are strings; only these can name tensors.

    Hashing other keys may take forever: a tuple that holds a tuple twice, which again holds one
        twice, and so on, is hashed again at each place.
    """
    for key, value in zip(keys, values, strict=True):
        if type(key) is str:
            target[key] = value


_CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): Loader._ordered_dict,
    ("torch", "Size"): Loader._size,
    ("torch._utils", "_rebuild_tensor_v2"): Loader._tensor,
    ("torch._utils", "_rebuild_parameter"): Loader._parameter,
}
_CALLABLE = tuple(_CALLS.values())


# Instructions that push their own argument.
_PLAIN = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BYTEARRAY8"),
)


def _pushing(make: Callable[[], Any]) -> Callable[[Loader, Any], None]:
    return lambda loader, _: loader._push(make())


_INSTRUCTIONS: dict[str, Callable[[Loader, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda loader, argument: None),
    **dict.fromkeys(_PLAIN, Loader._push),
    "NONE": _pushing(lambda: None),
    "NEWTRUE": _pushing(lambda: True),
    "NEWFALSE": _pushing(lambda: False),
    "EMPTY_LIST": _pushing(list),
    "EMPTY_DICT": _pushing(dict),
    "EMPTY_TUPLE": _pushing(tuple),
    "EMPTY_SET": _pushing(lambda: INERT),
    "MARK": lambda loader, _: loader._marks.append(len(loader._stack)),
    "POP": Loader._pop,
    "POP_MARK": lambda loader, _: loader._pop_mark().clear(),
    "DUP": lambda loader, _: loader._push(loader._stack[-1]),
    "LIST": lambda loader, _: loader._push(loader._pop_mark()),
    "TUPLE": lambda loader, _: loader._push(tuple(loader._pop_mark())),
    "TUPLE1": lambda loader, _: loader._push(tuple(loader._pop_items(1))),
    "TUPLE2": lambda loader, _: loader._push(tuple(loader._pop_items(2))),
    "TUPLE3": lambda loader, _: loader._push(tuple(loader._pop_items(3))),
    "APPEND": lambda loader, _: loader._append([loader._stack.pop()]),
    "APPENDS": lambda loader, _: loader._append(loader._pop_mark()),
    "ADDITEMS": lambda loader, _: loader._pop_mark().clear(),
    "SETITEM": lambda loader, _: loader._set_items(loader._pop_items(2)),
    "SETITEMS": lambda loader, _: loader._set_items(loader._pop_mark()),
    "DICT": Loader._dict,
    "FROZENSET": Loader._frozen_set,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Loader._get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), Loader._put),
    "MEMOIZE": lambda loader, _: loader._put(len(loader._memo)),
    "GLOBAL": lambda loader, argument: loader._push(loader._find_named(argument)),
    "STACK_GLOBAL": Loader._stack_global,
    "INST": Loader._instance,
    "OBJ": Loader._object,
    "REDUCE": Loader._reduce,
    "NEWOBJ": Loader._reduce,
    "NEWOBJ_EX": Loader._reduce_with_names,
    "BUILD": Loader._build,
    "BINPERSID": Loader._persistent,
}
