import io

from rich.console import Console

from kerasseg.pipelines.runtime.progress import TrainingProgress


def lines(first_epoch, first_step, epochs=3, steps=4):
    written = io.StringIO()
    shown = TrainingProgress(Console(file=written, width=200), batch_size=2)
    shown.set_params({"epochs": epochs, "steps": steps})
    shown.on_train_begin()
    for epoch in range(first_epoch, epochs):
        shown.on_epoch_begin(epoch)
        for step in range(first_step if epoch == first_epoch else 0, steps):
            shown.on_train_batch_end(step, {"loss": 0.5})
        shown.on_epoch_end(epoch, {"loss": 0.5, "mean_iou": 0.25})
    shown.on_train_end()
    return written.getvalue().splitlines()


def test_each_epoch_has_a_line():
    first, _, last = lines(0, 0)
    assert first.startswith("epoch 1/3  loss 0.5000  mean_iou 0.2500  ")
    assert first.endswith("left")
    assert last.startswith("epoch 3/3 ")
    assert last.endswith("images/s  0 s left")


def test_the_time_left_is_printed_after_a_whole_epoch():
    resumed, whole = lines(1, 3)
    assert resumed.endswith("images/s")
    assert whole.endswith("left")


def test_an_epoch_of_which_only_the_evaluation_was_left_has_no_speed():
    assert lines(2, 4) == ["epoch 3/3  loss 0.5000  mean_iou 0.2500"]
