"""Runs `kerasseg ARGUMENTS` and kills itself before a change of a file in `checkpoints/`.

python killing_itself.py NUMBER ARGUMENTS...     NUMBER counts from 1
"""

import itertools
import os
import signal
import sys
from pathlib import Path

changes = itertools.count(1)


def counted(name):
    original = getattr(os, name)

    def changed(*arguments, **options):
        if "checkpoints" in place(arguments[0]) and next(changes) == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    return changed


def place(subject):
    file = Path(f"/proc/self/fd/{subject}").readlink() if isinstance(subject, int) else subject
    return str(file)


for changing in ("fsync", "replace", "rename", "link", "unlink"):
    setattr(os, changing, counted(changing))

from kerasseg.pipelines.cli import main  # noqa: E402

main(sys.argv[2:])
