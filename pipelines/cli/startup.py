"""Starting TensorFlow without its messages."""

import contextlib
import os
import sys
import tempfile

from ..runtime import environment


def load_tensorflow() -> None:
    """Imports TensorFlow, finds its devices and holds back what its libraries print.

    At the start they report, as if these were errors, that there is no CUDA and that oneDNN is on;
    no environment variable silences them in TensorFlow 2.21. If the import fails, the held-back
    text is printed.
    """
    environment.prepare()
    with held_back_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def held_back_stderr():
    """Captures the standard error and prints it only if the block fails."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
