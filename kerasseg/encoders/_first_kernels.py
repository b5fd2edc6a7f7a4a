"""Kernels that read an RGB image, for images with another number of channels."""

import numpy as np


def adapt(kernel: np.ndarray, channels: int, channel_order: str = "rgb") -> np.ndarray:
    r"""Adapts a kernel for RGB images to another number of channels.

    With K_0, K_1, K_2 the parts of the kernel for red, green and blue, and for N channels:

        N >= 3:  K'_i = K_{i mod 3} / n_{i mod 3},  n_c = number of channels i with i mod 3 = c
        N < 3:   K'_i = sum of K_c over the colours c with c mod N = i

    so that the parts for each colour add up to it, and an image whose channels are equal gives the
    features of the gray RGB image: sum_i K'_i = K_0 + K_1 + K_2. For a multiple of 3 channels,
    that is the kernel repeated and multiplied by 3 / N; for one channel it is the sum of its parts.

    Args:
        kernel: `(height, width, 3, filters)`.
        channels: Number of channels.
        channel_order: Order of the kernel's colours, "rgb" or "bgr".

    Returns:
        `(height, width, channels, filters)`, whose channels are in the order of the image: the
        first one is red.
    """
    colors = kernel if channel_order == "rgb" else kernel[:, :, ::-1]
    # share[i, c]: the share of colour c in the part for channel i.
    share = np.zeros((channels, 3), kernel.dtype)
    for index in range(max(channels, 3)):
        share[index % channels, index % 3] += 1
    share /= share.sum(axis=0)
    return np.einsum("ic,hwcf->hwif", share, colors)


def is_adaptable(shape: tuple, wanted: tuple) -> bool:
    """Tells whether a kernel reads RGB images, and differs from another in this alone."""
    return (
        len(shape) == len(wanted) == 4
        and shape[2] == 3 != wanted[2]
        and (*shape[:2], shape[3]) == (*wanted[:2], wanted[3])
    )
