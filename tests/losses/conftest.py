import numpy as np
import pytest


@pytest.fixture
def batch():
    """Labels, some of them ignored, and logits of three classes."""
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 2, 255], (2, 5, 7)).astype(np.uint8)
    logits = rng.normal(size=(2, 5, 7, 3)).astype(np.float32)
    return labels, logits
