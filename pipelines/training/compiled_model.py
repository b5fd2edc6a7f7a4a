"""The network of a run, compiled with its optimizer and its loss."""

import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any

import keras

import kerasseg
from kerasseg import losses, optimizers
from kerasseg.layers import BatchNormalization
from kerasseg.layers.mask_classification import MaskClassificationModel
from kerasseg.layers.outputs import SegmentationModel
from kerasseg.layers.query_attention import anneal_masks

from .. import records
from ..errors import InputError
from ..runs import loss_terms, phases
from ..runs.guests import Guest
from ..runs.option_fields import check_option
from ..runs.state import Position
from ..runs.training_options import TrainingOptions
from . import batch_norm, class_weights, freezing, guest_parts, learning_rates


def build(
    options: TrainingOptions,
    dataset: records.Dataset,
    strategy,
    own: Mapping[str, Guest] = types.MappingProxyType({}),
    schedule_start: Position = phases.START,
) -> keras.Model:
    """Builds the network of a run and compiles it with its optimizer and its loss.

    Sets the random seed and the dtype policy of Keras, too.

    Args:
        options: The options of the training.
        dataset: The converted dataset, for its classes, its sizes and its class weights.
        strategy: A `tf.distribute.Strategy`, in whose scope the variables are made.
        own: The user's own model, encoder and loss, by the option that names them.
        schedule_start: Position at which the schedule of the learning rate begins.

    Returns:
        The compiled model, from images `(batch, height, width, channels)`, float32 in [0, 255], to
        logits `(batch, height, width, num_classes)`, or to a dict of them with auxiliary logits.

    Raises:
        InputError: If the model or the loss cannot be built with these options.
    """
    guest_parts.check_options(options, own)
    keras.utils.set_random_seed(options.seed)
    keras.config.set_dtype_policy(options.dtype_policy)
    steps = options.optimizer_steps(dataset.splits["train"].examples)
    first_step = schedule_start.epoch * steps + schedule_start.step // options.accumulate
    try:
        with strategy.scope():
            schedule = learning_rates.schedule(options, options.epochs * steps, first_step)
            model = _build_network(options, dataset, own)
            if options.batch_norm == "group":
                model = batch_norm.replace_by_groups(model, options)
            set_batch_norm(model.layers, options, lambda: model.optimizer.iterations)
            _refuse_frozen(model, options)
            anneal_masks(
                model, options.epochs * steps, lambda: model.optimizer.iterations, first_step
            )
            outputs: Any = model.output
            with_auxiliary = isinstance(model, SegmentationModel) and "auxiliary" in outputs
            model.compile(
                optimizer=_build_optimizer(
                    options, schedule, [layer.name for layer in model.layers]
                ),
                loss=_build_loss(options, dataset, own, model),
                loss_weights={"auxiliary": options.auxiliary_weight} if with_auxiliary else None,
            )
    except ValueError as error:
        raise InputError(str(error)) from error
    except TypeError as error:
        given = ", ".join(f"{name}={value!r}" for name, value in options.model_options.items())
        raise InputError(f"{options.model} cannot be built with {given} ({error}).") from error
    return model


def _build_network(
    options: TrainingOptions, dataset: records.Dataset, own: Mapping[str, Guest]
) -> keras.Model:
    count = len(dataset.classes.names)
    arguments = {"num_classes": count, **options.model_options}
    given = arguments["num_classes"]
    check_option("num_classes", given == count, f"{count}, as the dataset has classes", given)
    if "encoder" in own:
        arguments["encoder"] = own["encoder"].value
    if "model" in own:
        model = guest_parts.build_network(own["model"], options, arguments, dataset.channels)
    else:
        architecture: Any = options.model  # known at run time only
        shape = (None, None, dataset.channels)
        model = kerasseg.build(architecture, **{"input_shape": shape, **arguments})
        taken = model.input_shape[-1]
        requirement = f"of {dataset.channels} channels, as the images of the dataset"
        check_option("input_shape", taken == dataset.channels, requirement, taken)
    for option in own.keys() - {"loss"}:
        guest_parts.check_saving(own[option], model)
    return model


def set_batch_norm(
    layers: list[keras.layers.Layer], options: TrainingOptions, steps_done: Callable, part: str = ""
) -> None:
    """Sets what batch normalisation does in training, as the options say.

    Args:
        layers: The layers of the network.
        options: The options of the training.
        steps_done: Called for the variable that counts the finished steps.
        part: Name of the part of the network that holds the layers; empty for the network itself.

    Raises:
        ValueError: If a layer of Keras would have to use frozen statistics.
    """
    for layer in layers:
        if isinstance(layer, keras.Model):  # an encoder of keras-hub
            set_batch_norm(layer.layers, options, steps_done, layer.name)
        elif isinstance(layer, keras.layers.BatchNormalization):
            encoder = (part or layer.name).startswith("encoder_")
            if options.batch_norm == "frozen" or (
                options.batch_norm == "frozen-encoder" and encoder
            ):
                freezing.freeze(layer)  # else as it is: someone may have frozen a part of theirs
            layer.momentum = options.batch_norm_momentum
            layer.synchronized |= options.batch_norm == "sync"
            if isinstance(layer, BatchNormalization):
                layer.frozen_statistics = options.batch_norm == "frozen-statistics"
                layer.steps_done = steps_done
            elif options.batch_norm == "frozen-statistics":
                raise ValueError(
                    f"batch_norm must not be {options.batch_norm} with layer {layer.name} of "
                    "Keras, which cannot freeze statistics as "
                    "kerasseg.layers.BatchNormalization can."
                )


def check_encoder(model: keras.Model, options: TrainingOptions) -> None:
    """Refuses options of a new training that are for an encoder where the network has none.

    Runs of older releases may have them, without effect, and continue.

    Args:
        model: The network of the training.
        options: The options of the training.

    Raises:
        InputError: If an option would have no effect.
    """
    # The optimizer knows the encoder by the paths of its variables.
    if _has_encoder(model) or any(v.path.startswith("encoder_") for v in model.variables):
        return
    requirement = f"{{}} with {options.model}, which has no layer named encoder_..."
    factor, fixed = options.encoder_learning_rate_factor, options.batch_norm
    check_option("encoder_learning_rate_factor", factor == 1, requirement.format("1.0"), factor)
    check_option("batch_norm", fixed != "frozen-encoder", requirement.format("another"), fixed)


def _has_encoder(model: keras.Model) -> bool:
    return any(layer.name.startswith("encoder_") for layer in model.layers)


def _refuse_frozen(model: keras.Model, options: TrainingOptions) -> None:
    """Refuses a network of which no weight would change, or that has no encoder to freeze."""
    if options.freeze == "encoder":
        requirement = f"none with {options.model}, which has no layer named encoder_..."
        check_option("freeze", _has_encoder(model), requirement, options.freeze)
    factor = options.encoder_learning_rate_factor
    if not any(factor or not v.path.startswith("encoder_") for v in model.trainable_variables):
        total, frozen = len(model.variables), len(model.non_trainable_variables)
        raise ValueError(
            f"network must have weights that are trained, got {frozen} of {total} frozen and "
            f"encoder_learning_rate_factor {factor:g} for the others."
        )


def _build_optimizer(
    options: TrainingOptions, schedule: Any, layers: list[str]
) -> keras.optimizers.Optimizer:
    own: dict[str, Any] = {
        "encoder_factor": options.encoder_learning_rate_factor,
        "head_factor": options.head_learning_rate_factor,
        "layer_factors": learning_rates.layer_factors(options, layers),
        "encoder_waits": options.unfreeze_after is not None,
        "global_clipnorm": options.clip_norm,
    }
    if options.optimizer == "sgd":
        optimizer = optimizers.SGD(
            schedule, momentum=0.9, weight_decay=options.weight_decay or None, **own
        )
    else:
        optimizer = optimizers.AdamW(schedule, weight_decay=options.weight_decay, **own)
    if options.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if options.dtype_policy == "mixed_float16":
        return optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def _build_loss(
    options: TrainingOptions,
    dataset: records.Dataset,
    own: Mapping[str, Guest],
    model: keras.Model,
) -> keras.losses.Loss:
    if "loss" in own:
        return guest_parts.build_loss(own["loss"], options, len(dataset.classes.names))
    text = _loss_text(options, model)
    terms = loss_terms.parse(text)
    if options.dice_weight:
        terms.append(loss_terms.Term(options.dice_weight, "dice", {}))
    weights = class_weights.of(options, dataset)
    parts = [_build_term(term, weights) for term in terms]
    _check_class_weights(options, parts, text)
    _check_queries(options, parts, model)
    if len(parts) == 1 and terms[0].weight == 1:
        return parts[0]
    return losses.WeightedSum(parts, [term.weight for term in terms])


def _loss_text(options: TrainingOptions, model: keras.Model) -> str:
    if options.loss != loss_terms.AUTO:
        return options.loss
    mask_classification = isinstance(model, MaskClassificationModel)
    return "mask-classification" if mask_classification else "cross-entropy"


def _build_term(term: loss_terms.Term, weights: list[float] | None) -> keras.losses.Loss:
    made: Any = getattr(losses, loss_terms.CLASSES[term.name])
    taken = set(inspect.signature(made).parameters) - {"ignore_label", "name", "kwargs"}
    unknown = sorted(term.arguments.keys() - (taken - {"class_weights"}))
    if unknown:
        known = ", ".join(sorted(taken - {"class_weights"})) or "none"
        raise ValueError(f"arguments of loss {term.name} must be among {known}, got {unknown[0]}.")
    if "boundary_sigma" in term.arguments and not term.arguments.get("boundary_weight"):
        raise ValueError(
            f"boundary_sigma must be left out without a boundary_weight above 0 in loss "
            f"{term.name}, got {term.arguments['boundary_sigma']}."
        )
    of_classes = {"class_weights": weights} if "class_weights" in taken else {}
    return made(**term.arguments, **of_classes)


def _check_class_weights(
    options: TrainingOptions, parts: list[keras.losses.Loss], text: str
) -> None:
    if not any(hasattr(part, "class_weights") for part in parts):
        requirement = f"none with loss {text}, which has no class weights"
        value = options.class_weights
        check_option("class_weights", value == "none", requirement, value)


def _check_queries(
    options: TrainingOptions, parts: list[keras.losses.Loss], model: keras.Model
) -> None:
    """Refuses a loss of queries for a network without them: it would be a cross-entropy."""
    takes_queries = any(getattr(part, "takes_queries", False) for part in parts)
    fits = isinstance(model, MaskClassificationModel) or not takes_queries
    requirement = f"without mask-classification for {options.model}, which has no queries"
    check_option("loss", fits, requirement, options.loss)
