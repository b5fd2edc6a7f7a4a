"""`kerasseg import-weights`."""

import click

from kerasseg import checkpoints, models

from . import options, startup


@click.command("import-weights")
@click.argument("file", type=options.existing_file, required=False)
@click.option(
    "--from",
    "address",
    metavar="hf://USER/NAME",
    help="Address of the weights on the Hugging Face Hub, instead of FILE; needs the extra hf.",
)
@click.option(
    "--model",
    type=click.Choice(models.names()),
    help="Architecture that the weights belong to; needed only if the file does not show it.",
)
@click.option(
    "--source",
    type=click.Choice(checkpoints.SOURCES),
    help="Implementation that the weights come from; needed only if the file does not show it.",
)
@click.option(
    "--checkpoint",
    metavar="NAME",
    help="Name of a published checkpoint, which `kerasseg checkpoints` lists; needed only if the "
    "file is not recognised.",
)
@click.option(
    "--encoder",
    help="Encoder of the network, such as resnet50; needed only where the weights do not show it.",
)
@click.option(
    "--model-option",
    type=options.Assignment(),
    callback=lambda ctx, param, value: options.assignments(param, value),
    multiple=True,
    help="Argument of the architecture, such as output_stride=16. May be repeated.",
)
@click.option(
    "--num-classes",
    type=click.IntRange(1),
    help="Number of classes of the new run, if the weights have a different number; needs "
    "--reset-head.",
)
@click.option(
    "--reset-head",
    is_flag=True,
    help="Give the last layer random weights, which must be trained, instead of the published "
    "ones.",
)
@click.option(
    "--classes",
    type=options.existing_file,
    help="File that lists the classes of the weights, one name and colour per line.",
)
@click.option(
    "--prefix",
    help="Beginning of the names of the tensors to import, such as student.; needed only if a "
    "file holds several networks that fit.",
)
@click.option(
    "--allow-non-finite",
    is_flag=True,
    help="Import a file even if some of its weights are NaN or infinite.",
)
@click.option(
    "--ignore-configuration",
    is_flag=True,
    help="Do not use the configuration in the file or beside it, and give by --model-option what "
    "the tensors do not show.",
)
@click.option(
    "--output",
    type=options.folder,
    required=True,
    help="Folder of the new run; it must not exist yet.",
)
def command(
    file,
    address,
    model,
    source,
    checkpoint,
    encoder,
    model_option,
    num_classes,
    reset_head,
    classes,
    prefix,
    allow_non_finite,
    ignore_configuration,
    output,
) -> None:
    """Import published weights into a run folder, which evaluate, predict, fit and export take.

    Reads .pth (without PyTorch, executing nothing), .safetensors, .h5 and .npz. A published
    checkpoint is recognised by its name or content, or by the configuration inside it: its options,
    preprocessing and classes are then set. What cannot be read from these must be given as an
    option. A prefix of the tensors' names, such as model., is removed if all tensors fit then.
    """
    weights = address if file is None else file
    if weights is None or (file is not None and address is not None):
        raise click.UsageError("Give either FILE or --from.")
    if address is not None and not address.startswith("hf://"):
        raise click.UsageError(f"--from must be hf://USER/NAME, got {address!r}.")
    startup.load_tensorflow()
    from .. import import_weights

    given = {"encoder": encoder} if encoder else {}
    console = options.console()
    described = import_weights.run(
        weights,
        output,
        model=model,
        source=source,
        checkpoint=checkpoint,
        model_options={**model_option, **given},
        num_classes=num_classes,
        reset_head=reset_head,
        classes=classes,
        prefix=prefix,
        allow_non_finite=allow_non_finite,
        ignore_configuration=ignore_configuration,
        report=lambda notice: console.print(notice, soft_wrap=True, markup=False),
    )
    count = len(described.classes.names)
    model = described.options.model
    console.print(f"{model} of {count} classes written to {output}", soft_wrap=True)
