"""Iterators of the pipeline end at once: none has a tuning thread, which may not wake."""

import pytest

from kerasseg.pipelines import inputs, records
from kerasseg.pipelines.inputs import cache

TRAINING = {"examples": 12, "batch_size": 4, "crop_size": (32, 32), "epochs": 2}


@pytest.mark.parametrize("share", [inputs.WHOLE, inputs.Share(1, 2, 1)])
@pytest.mark.parametrize("is_decoded", [False, True])
def test_no_thread_tunes_training_batches(tiny_data, share, is_decoded):
    dataset = records.load(tiny_data)
    files = dataset.files("train")
    decoded = cache.load("memory", dataset, 2, tiny_data) if is_decoded else None
    batches = inputs.training_batches(files, **TRAINING, decoded=decoded, share=share)
    assert batches.options().autotune.enabled is False
    assert batches.options().threading.max_intra_op_parallelism == 1


@pytest.mark.parametrize("share", [inputs.WHOLE, inputs.Share(1, 2, 1)])
def test_no_thread_tunes_evaluation_batches(tiny_data, share):
    files = records.load(tiny_data).files("validation")
    assert inputs.evaluation_batches(files, 2, share).options().autotune.enabled is False
