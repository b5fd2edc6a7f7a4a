"""TensorBoard's own readers find scores and hyperparameters of a run."""

from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.plugins.hparams import metadata, plugin_data_pb2


def test_tensorboard_has_the_options_as_hyperparameters(tiny_run, tiny_training):
    events = plugin_event_accumulator.EventAccumulator(str(tiny_run / "tensorboard"))
    events.Reload()
    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    stored = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert stored["learning_rate"].number_value == tiny_training.learning_rate
    assert stored["model"].string_value == tiny_training.model
    assert stored["flip"].bool_value is tiny_training.flip
    assert stored["scale"].string_value == "0.5,2.0"
    variant = tiny_training.model_options["variant"]
    assert stored["model_option variant"].string_value == variant
    assert "init_from" not in stored
    assert {"loss", "learning_rate", "mean_iou"} <= set(events.Tags()["tensors"])
