"""A program that reads an HDF5 file in a separate process, within limits.

The HDF5 library crashes on some damaged files, such as one in which a group is its own child, and
never ends on others. Then only this process ends, and the process that waits for it reports an
error.

The program writes a line of JSON, `{"tensors": [[name, dtype, shape], ...]}` or
`{"error": message}`, and then the values of each tensor. Its arguments are the path; the name of
the entry if the file is in a zip archive, or else ""; the largest number of bytes of all tensors;
the seconds of processor time; and the largest number of tensors.
"""

import io
import json
import math
import sys
import zipfile
from pathlib import Path

# Numbers of the filters: HDF5's deflate, shuffle and Fletcher's checksum, and h5py's LZF. All other
# filters come from plug-ins.
FILTERS = {1, 2, 3, 32000}
DEEPEST = 32


class RefusedError(Exception):
    """The file holds something that must not be read."""


def main() -> None:
    """Reads the file and writes its tensors."""
    path, entry, most_bytes, seconds, most_tensors = sys.argv[1:]
    import h5py
    import numpy as np

    limit_process(int(most_bytes), int(seconds))
    try:
        file = h5py.File(open_entry(path, entry), "r")
        found = list(datasets(h5py, file, int(most_bytes), int(most_tensors)))
        kinds = [[name, item.dtype.newbyteorder("<").str, item.shape] for name, item in found]
    except RefusedError as error:
        write_line({"error": str(error)})
        return
    except Exception as error:  # a damaged file can make the library raise anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        write_line({"error": f"must be a whole HDF5 file, got a damaged one ({reason})."})
        return
    write_line({"tensors": kinds})
    for (_, item), (_, kind, _) in zip(found, kinds, strict=True):
        values = np.ascontiguousarray(item[()], kind).reshape(-1)
        sys.stdout.buffer.write(values.view(np.uint8).data)
    sys.stdout.flush()


def write_line(content: dict) -> None:
    """Writes a line of JSON."""
    sys.stdout.buffer.write(json.dumps(content).encode() + b"\n")
    sys.stdout.flush()


def limit_process(most_bytes: int, seconds: int) -> None:
    """Limits memory and time, if the system supports it."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + seconds)
    limit(resource.RLIMIT_CORE, 0)
    try:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return
    limit(resource.RLIMIT_AS, taken + 2 * most_bytes)


def limit(kind: int, value: int) -> None:
    """Sets a limit, unless a lower one is already set."""
    import resource

    _, hard = resource.getrlimit(kind)
    if hard == resource.RLIM_INFINITY or value < hard:
        resource.setrlimit(kind, (value, hard))


def open_entry(path: str, entry: str):
    """Returns what h5py opens: the path, or an entry of a zip archive in memory."""
    if not entry:
        return path
    with zipfile.ZipFile(path) as archive:
        return io.BytesIO(archive.read(entry))


def datasets(h5py, file, most_bytes: int, most_tensors: int):
    """Yields the datasets of a file with their names; checks that they are not elsewhere."""
    groups, seen, left, count = [("", file, 0)], set(), most_bytes, 0
    while groups:
        prefix, group, depth = groups.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen or depth > DEEPEST:
            raise RefusedError(f"{prefix or '/'} must be a group once, {DEEPEST} deep at most.")
        seen.add(address)
        for key in group:
            name = prefix + key
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise RefusedError(f"{name} must be in the file, got a link: it was not followed.")
            item = group[key]
            if isinstance(item, h5py.Group):
                groups.append((f"{name}/", item, depth + 1))
                continue
            left, count = left - check(h5py, name, item), count + 1
            if left < 0 or count > most_tensors:
                raise RefusedError(
                    f"tensors must be at most {most_tensors} and take at most {most_bytes} bytes "
                    "(64 MiB and 8 times the file's size), got more."
                )
            if item.shape is not None:
                yield name, item


def check(h5py, name: str, item) -> int:
    """Returns the size of a dataset in bytes; checks that all its values are in the file."""
    if not isinstance(item, h5py.Dataset):
        raise RefusedError(f"{name} must be a dataset, got a {type(item).__name__}.")
    if item.shape is None:
        return 0
    if item.dtype.kind not in "biuf":
        raise RefusedError(f"{name} must hold numbers, got {item.dtype}.")
    description = item.id.get_create_plist()
    if description.get_external_count() or item.is_virtual:
        raise RefusedError(
            f"{name} must be in the file, got values of other files: they were not read."
        )
    filters = {description.get_filter(index)[0] for index in range(description.get_nfilters())}
    if not filters <= FILTERS:
        raise RefusedError(
            f"{name} must be compressed by gzip or LZF, got filters {sorted(filters)}."
        )
    size = math.prod(item.shape) * item.dtype.itemsize
    if item.chunks is None:
        whole = item.id.get_storage_size() >= size
        return size if whole else refuse_absent(name, size)
    pairs = zip(item.shape, item.chunks, strict=True)
    whole = item.id.get_num_chunks() == math.prod(-(-side // chunk) for side, chunk in pairs)
    # A chunk is always inflated completely, even if the shape needs little of it.
    largest = math.prod(item.chunks) * item.dtype.itemsize
    return max(size, largest) if whole else refuse_absent(name, size)


def refuse_absent(name: str, size: int) -> int:
    """Refuses a dataset that has fewer values than its shape says."""
    raise RefusedError(f"{name} must have its {size} bytes of values in the file, got fewer.")


if __name__ == "__main__":
    main()
