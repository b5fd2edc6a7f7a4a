"""`kerasseg predict`."""

import click

from ..datasets import BENCHMARKS
from . import options, startup, stopping


@click.command("predict")
@click.argument("run", type=options.run_or_model_file)
@options.images_argument
@click.option(
    "--output", type=options.folder, help="Folder to write into; RUN/predictions unless given."
)
@options.class_options
@click.option(
    "--opacity",
    type=click.FloatRange(0, 1),
    help="Opacity of the class colours in overlays: 0 shows the image alone, 1 the colours alone; "
    "0.5 unless given.",
)
@click.option(
    "--draw-background",
    is_flag=True,
    help="Draw class 0 in overlays even if it is named background, void or the like; without this "
    "option such a class is not drawn.",
)
@click.option(
    "--confidence",
    is_flag=True,
    help="Also write how sure the network is of each pixel, as three 16-bit gray PNG files whose "
    "values divided by 65535 are in [0, 1]: NAME_confidence.png, the largest probability; "
    "NAME_entropy.png, the entropy of all probabilities, 1 if all classes are equally probable; "
    "NAME_margin.png, the largest probability minus the second largest.",
)
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    help="Turn pixels whose largest probability is below this number into 255, ignored; overlays "
    "leave them uncoloured.",
)
@click.option(
    "--format",
    type=click.Choice(tuple(BENCHMARKS)),
    help="Write the files that the server of a benchmark takes, and no others. The network must "
    "have the classes of the benchmark, and the images their original names.",
)
@click.option(
    "--zip",
    type=options.file,
    help="Zip file to put the files of --format into as well, ready for the server.",
)
@click.option(
    "--as-dataset",
    type=options.folder,
    help="Write the images with their predictions as labels into this new folder, which "
    "'kerasseg convert --dataset folder' takes, instead of label maps and overlays.",
)
@options.checkpoint_option
@options.code_option
@options.stretch_option
@click.option(
    "--memory",
    type=options.ByteSize(),
    help="Memory that the program may take, such as 2GB. An image that would take more as a whole "
    "is predicted in windows. Half of what the machine, or the GPU, has left unless given.",
)
@click.option(
    "--tiff",
    is_flag=True,
    help="Read all TIFF images in rows, and write their labels and overlays as TIFF files that "
    "keep the georeference. Images too large to be decoded are always read so.",
)
@click.option(
    "--video",
    is_flag=True,
    help="Predict videos instead of images: NAME_overlay.mp4 shows the classes over the video, and "
    "NAME_labels holds the label map of each frame. Needs pip install 'kerasseg[video]'.",
)
@options.overwrite_option
@options.download_options
@options.view_options
@options.crf_options
@click.option(
    "--crf-strip",
    metavar="N,N,...",
    callback=options.parse_steps,
    help="Also write one picture per image that shows the labels after these numbers of CRF "
    "iterations side by side, such as 0,1,2,10.",
)
def command(run, images, crf, crf_iterations, **arguments) -> None:
    """Predict IMAGES with the network of RUN.

    RUN is a run folder or a .keras file, whose classes --classes or --data names.

    IMAGES are files, folders with their subfolders, patterns such as 'photos/**/*.jpg', lists as
    @list.txt, http or https addresses, or - for one image on standard input. A list has one path,
    pattern or address per line, relative to its folder; @- reads it from standard input. Images
    may have any format that Pillow decodes. With --video, IMAGES are videos: files, folders,
    patterns or lists.

    Every image gets two files of its own size: NAME.png holds the class numbers, with the colours
    of the classes as palette, and NAME_overlay.png shows the classes over the image. --crf-strip
    adds NAME_crf_strip.png. If two images would share a name, they keep their endings: a.jpg.png
    and a.png.png. TIFF images of more than 89 megapixels, or all of them with --tiff, get NAME.tif
    and NAME_overlay.tif instead. Images that cannot be predicted are listed at the end.

    Probabilities, for --confidence and --min-confidence, are the softmax of the logits divided by
    the temperature that 'kerasseg calibrate' fitted to this network and view. Logits are blended
    over the windows of --window, and probabilities averaged over --scales and --flip before that.
    With --crf they are the marginals of the CRF, which are not calibrated; with --crf-iterations 0,
    those of the network.
    """
    startup.load_tensorflow()
    from .. import predict

    console, noun = options.console(), "video" if arguments["video"] else "image"
    parameters = options.crf_parameters(run, crf, crf_iterations)
    view, limits = options.take_view(arguments), options.take_limits(arguments)
    options.tell_checkpoint(run, arguments["checkpoint"])
    if arguments["confidence"] or arguments["min_confidence"] is not None:
        options.tell_calibration(run, arguments["checkpoint"], parameters, view)
    try:
        with (
            stopping.telling(
                f"{arguments['as_dataset']} is not written."
                if arguments["as_dataset"]
                else f"the {noun}s so far are written."
            ),
            options.progress_bar("predicting") as bar,
        ):
            written = predict.run(
                run,
                images,
                view=view,
                downloads=limits,
                crf=parameters,
                on_progress=bar,
                on_frames=options.FramesReport(bar),
                on_passed_over=options.print_passed_over,
                on_windows=lambda sentence: console.print(sentence, soft_wrap=True),
                **arguments,
            )
    except predict.PredictionError as error:
        options.print_problems(error.problems)
        raise
    noun += "" if len(written) == 1 else "s"
    folder = arguments["as_dataset"] or predict.output_folder(run, arguments["output"])
    console.print(f"{len(written)} {noun} predicted into {folder}", soft_wrap=True)
    if arguments["zip"]:
        console.print(f"archive for the server: {arguments['zip']}", soft_wrap=True)
