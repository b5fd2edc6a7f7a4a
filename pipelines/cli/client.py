"""`kerasseg client`."""

from pathlib import Path

import click

from . import options, stopping


@click.command("client")
@click.argument("url")
@options.images_argument
@options.served_model_options
@click.option(
    "--output",
    type=options.folder,
    default=Path(),
    help="Folder to write the answers into; the current folder unless given.",
)
@click.option(
    "--signature",
    default="serving_default",
    show_default=True,
    help="Signature of the SavedModel to ask; it decides what the answer holds.",
)
@click.option(
    "--overlay", is_flag=True, help="Also ask for pictures of the classes drawn over the images."
)
@options.stretch_option
@options.overwrite_option
@options.download_options
@click.option(
    "--timeout",
    type=float,
    default=60,
    show_default=True,
    help="Seconds to wait for the answer to a request.",
)
@click.option(
    "--retries",
    type=int,
    default=3,
    show_default=True,
    help="Number of times that a request is sent again if the server cannot be reached or is busy.",
)
def command(url, images, **arguments) -> None:
    """Send IMAGES to a server and write its answers.

    IMAGES are files, folders with their subfolders, patterns such as 'photos/**/*.jpg', lists as
    @list.txt, http or https addresses, or - for one image on standard input. A list has one path,
    pattern or address per line, relative to its folder; @- reads it from standard input.

    The server is 'kerasseg serve' or TensorFlow Serving: URL is http://HOST:PORT for REST,
    grpc://HOST:PORT for gRPC. Label maps are written as NAME.png, 8-bit gray, overlays as
    NAME_overlay.png; class shares are printed. Images in a format that servers do not decode are
    sent as PNG, without loss. If two images would share a name, they keep their endings: a.jpg.png
    and a.png.png. Images that cannot be predicted are listed at the end.
    """
    from .. import client

    limits = options.take_limits(arguments)
    try:
        with (
            stopping.telling("the answers so far are written."),
            options.progress_bar("asking") as on_progress,
        ):
            answers = client.run(
                url,
                images,
                downloads=limits,
                on_progress=on_progress,
                on_passed_over=options.print_passed_over,
                **arguments,
            )
    except client.RefusedError as error:
        options.print_problems(error.problems)
        raise
    console = options.console()
    for answer in answers:
        for name, numbers in answer.values.items():
            shown = " ".join(f"{number:.4f}" for number in numbers)
            console.print(f"{answer.image}  {name}  {shown}", soft_wrap=True)
    files = sum(len(answer.files) for answer in answers)
    answered = f"{len(answers)} {'image' if len(answers) == 1 else 'images'} answered"
    written = f"{files} {'file' if files == 1 else 'files'} in {arguments['output']}"
    console.print(f"{answered}, {written}", soft_wrap=True)
