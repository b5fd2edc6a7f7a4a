"""Reads a run that W&B keeps offline: a log in LevelDB's format of protocol buffers."""

import json
import struct

from wandb.proto import wandb_internal_pb2

_BLOCK, _HEADER, _SIGNATURE = 32768, 7, 7
_FULL, _LAST = 1, 4


def frames(content):
    """Yields the records; see https://github.com/google/leveldb/blob/main/doc/log_format.md."""
    position, record = _SIGNATURE, b""
    while position < len(content):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        begin = position + _HEADER
        position = begin + length
        if position > len(content):
            return  # it is being written
        record += content[begin:position]
        if kind in (_FULL, _LAST):
            yield record
            record = b""


def records(file, kind):
    """Returns the records of one kind, such as history."""
    found = [wandb_internal_pb2.Record.FromString(each) for each in frames(file.read_bytes())]
    return [getattr(each, kind) for each in found if each.WhichOneof("record_type") == kind]


def values(items):
    """Returns the values of a record's items by name."""
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
