"""Variables that TensorFlow heeds while its libraries are loaded."""

import os
import platform


def prepare(*, for_server: bool = False) -> None:
    """Sets, if they are not set, what makes TensorFlow start quietly and compute fast.

    At start it reports, in the dress of errors, that there is no CUDA. And it leaves oneDNN off on
    CPUs without the latest vector instructions, on which a training then takes up to 2.5 times as
    long; oneDNN is made for x86.

    Args:
        for_server: Whether to share an accelerator, taking only what is needed of its memory.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if platform.machine().lower() in ("x86_64", "amd64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if for_server:
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
