"""That SegFormer-B0 learns: by heart, what is drawn before it."""

import keras
import numpy as np
import pytest

import kerasseg
from kerasseg.pipelines.scenery.scene import draw


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["paper", "mmseg"])
def test_eight_scenes_are_learned_by_heart(variant):
    keras.utils.set_random_seed(0)
    scenes = [draw(seed, (96, 128)) for seed in range(8)]
    images, labels = (np.stack(each) for each in zip(*scenes, strict=True))
    model = kerasseg.build("segformer", num_classes=9, variant=variant)
    metric = kerasseg.metrics.MeanIoU(9)
    model.compile(keras.optimizers.AdamW(1e-3), kerasseg.losses.CrossEntropy(), metrics=[metric])
    for _ in range(10):
        model.fit(images, labels, batch_size=8, epochs=50, verbose=0)
        _, score = model.evaluate(images, labels, verbose=0)
        if score >= 0.95:
            return
    pytest.fail(f"mean_iou must reach 0.95, got {score}.")
