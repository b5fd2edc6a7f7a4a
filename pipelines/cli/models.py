"""`kerasseg models`."""

import click

from . import options, startup


@click.command("models")
@click.argument("model", required=False)
@click.option(
    "--image-size",
    type=options.Numbers(int, "HEIGHT,WIDTH"),
    help="Size of the image in pixels for which MODEL's costs are given; 512,512 unless given.",
)
@click.option(
    "--measure",
    is_flag=True,
    help="Run MODEL with each encoder or size on this machine, for three seconds on one image at a "
    "time, and list images per second.",
)
def command(model, image_size, measure) -> None:
    """List the architectures, or what MODEL costs with each encoder or in each size.

    Without MODEL, each line shows the variants, encoders, output strides, parameters and paper of
    an architecture.

    With MODEL, such as pspnet, each line shows an encoder or a size, for 19 classes and with the
    defaults of the architecture. Parameters are all values that the network keeps. Multiply-adds
    are those of convolutions, dense layers and attention for one image. Memory is that of the
    weights and of the features that are needed at the same time for one image, as float32; further
    memory depends on the device. The last columns hold the best published mean IoU in percent,
    without several scales or flipping, of the checkpoints that 'kerasseg checkpoints' lists.
    """
    if model is None and (measure or image_size is not None):
        raise click.UsageError("--image-size and --measure need MODEL.")
    startup.load_tensorflow()
    from .. import models

    if model is None:
        options.print_table(models.COLUMNS, models.rows())
        return
    image_size = image_size or (512, 512)
    with options.progress_bar(f"{model} with each encoder") as advance:
        rows = models.encoder_rows(model, image_size=image_size, measure=measure, on_row=advance)
    columns = (*models.columns_of(model), *((models.SPEED_COLUMN,) if measure else ()))
    title = f"{model}, {image_size[0]} x {image_size[1]} pixels"
    options.print_table(columns, rows, title=title)
    if others := models.other_encoders(model):
        options.console().print(
            f"'kerasseg fit --model {model} --encoder' also takes {', '.join(others)}, with costs "
            "that depend on what is named.",
            soft_wrap=True,
            markup=False,
        )
