"""Starting TensorFlow without the noise."""

import contextlib
import os
import sys
import tempfile

from ..runtime import environment


def load_tensorflow() -> None:
    """Imports TensorFlow and finds its devices, holding back what its libraries print meanwhile.

    They report at start that there is no CUDA and that oneDNN is on, in the dress of errors, and
    TensorFlow 2.21 heeds no variable that would silence them. If the import fails, what was held
    back is printed.
    """
    environment.prepare()
    with held_back_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def held_back_stderr():
    """Keeps what is written to the standard error, and prints it only if the block fails."""
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
