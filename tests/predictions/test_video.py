import importlib
import os
import sys

import av
import keras
import numpy as np
import PIL.Image
import pytest
from made_videos import decoded, make_video

from kerasseg.pipelines import predict
from kerasseg.pipelines.errors import InputError
from kerasseg.pipelines.predictions import memory, result_files, video_results
from kerasseg.pipelines.runs.crf import CRFParameters
from kerasseg.pipelines.runs.views import View

LIGHT = (0.2126, 0.7152, 0.0722)  # of BT.709


def labels_in(folder):
    paths = sorted(folder.iterdir())
    assert [path.name for path in paths] == [f"{n:06}.png" for n in range(1, len(paths) + 1)]
    return [np.asarray(PIL.Image.open(path)) for path in paths]


def listing(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def problem(run, video, tmp_path, **options):
    """Predicts a video that cannot be predicted; nothing may be written."""
    with pytest.raises(predict.PredictionError) as caught:
        predict.run(run, video, output=tmp_path / "out", video=True, **options)
    assert listing(tmp_path / "out") == []
    (found,) = caught.value.problems
    return f"{found.what} ({found.cause})"


def test_every_frame_is_predicted_as_an_image_and_drawn(tiny_run, tmp_path):
    video = make_video(tmp_path / "film.mov")
    told = []
    (written,) = predict.run(
        tiny_run, video, output=tmp_path / "out", video=True, on_frames=told.append
    )
    assert written.label == tmp_path / "out" / "film_labels"
    assert written.overlay == tmp_path / "out" / "film_overlay.mp4"
    labels = labels_in(written.label)
    frames = decoded(video)
    overlays = decoded(written.overlay)
    assert len(frames) == len(labels) == len(overlays) == 5
    for index, (pixels, time) in enumerate(frames):
        PIL.Image.fromarray(pixels).save(tmp_path / "frame.png")
        (expected,) = predict.run(tiny_run, tmp_path / "frame.png", output=tmp_path / "images")
        np.testing.assert_array_equal(labels[index], PIL.Image.open(expected.label))
        drawn = np.asarray(PIL.Image.open(expected.overlay), float)
        # Colours have half the resolution, but not the light.
        assert np.abs((overlays[index][0] - drawn) @ LIGHT).mean() < 8
        assert overlays[index][1] == pytest.approx(time)
    assert (told[-1].done, told[-1].count, told[-1].is_finished) == (5, 5, True)
    assert told[0].rate > 0


def test_colours_of_an_overlay_keep_their_values(tiny_run, tmp_path):
    video = make_video(tmp_path / "film.mp4", 2, (720, 64))
    (written,) = predict.run(tiny_run, video, output=tmp_path, video=True, opacity=0)
    for (before, _), (after, _) in zip(decoded(video), decoded(written.overlay), strict=True):
        assert np.abs(before.astype(float) - after).mean() < 2


def test_uneven_times_are_kept(tiny_run, tmp_path):
    times = [500, 540, 700, 701, 2000]
    video = make_video(tmp_path / "film.mkv", times=times)
    (written,) = predict.run(tiny_run, video, output=tmp_path, video=True)
    found = [time for _, time in decoded(written.overlay)]
    assert found == pytest.approx([(time - 500) / 1000 for time in times])


def test_an_odd_size_is_kept_by_labels_and_said_of_the_overlay(tiny_run, tmp_path):
    video = make_video(tmp_path / "film.mkv", 2, (31, 45), codec="ffv1", form="bgr0")
    told = []
    (written,) = predict.run(tiny_run, video, output=tmp_path, video=True, on_windows=told.append)
    assert labels_in(written.label)[0].shape == (31, 45)
    (overlay, _), _ = decoded(written.overlay)
    assert overlay.shape == (32, 46, 3)
    np.testing.assert_allclose(overlay[30].astype(float), overlay[31], atol=20)
    assert "31 x 45 pixels; the overlay has 32 x 46" in told[0]


@pytest.mark.parametrize("turn", [90, 180, -90])
def test_a_turned_video_is_predicted_as_a_player_shows_it(tiny_run, tmp_path, turn):
    video = make_video(tmp_path / "film.mp4", 1, turn=turn)
    (written,) = predict.run(tiny_run, video, output=tmp_path, video=True, opacity=0)
    ((stored, _),) = decoded(video)
    upright = np.rot90(stored, turn // 90)  # counter-clockwise, as FFmpeg counts
    ((overlay, _),) = decoded(written.overlay)
    assert overlay.shape == upright.shape
    assert np.abs(overlay.astype(float) - upright).mean() < 3
    assert labels_in(written.label)[0].shape == upright.shape[:2]


@pytest.mark.parametrize(
    ("name", "codec", "form"),
    [
        ("ten.mkv", "ffv1", "yuv420p10le"),
        ("gray.mkv", "ffv1", "gray"),
        ("alpha.mkv", "ffv1", "bgra"),
        ("old.avi", "mpeg4", "yuv420p"),
        ("web.webm", "libvpx", "yuv420p"),
        ("film.gif", "gif", "rgb8"),
        ("raw.y4m", "wrapped_avframe", "yuv420p"),
    ],
)
def test_videos_of_other_formats_are_predicted(tiny_run, tmp_path, name, codec, form):
    video = make_video(tmp_path / name, 3, codec=codec, form=form)
    (written,) = predict.run(tiny_run, video, output=tmp_path, video=True)
    assert len(labels_in(written.label)) == len(decoded(written.overlay)) == 3


def noise(count):
    random = np.random.default_rng(0)
    return [
        PIL.Image.fromarray(random.integers(0, 256, (20, 30, 3), np.uint8)) for _ in range(count)
    ]


@pytest.mark.parametrize("name", ["film.png", "film.apng"])
def test_an_animated_png_is_a_video_by_what_it_holds(tiny_run, run_cli, tmp_path, name):
    frames = noise(3)
    frames[0].save(tmp_path / name, "PNG", save_all=True, append_images=frames[1:], duration=100)
    (written,) = predict.run(tiny_run, tmp_path / name, output=tmp_path, video=True)
    assert len(labels_in(written.label)) == 3
    frames[0].save(tmp_path / "still.png")
    with pytest.raises(InputError, match="must be a video, got an image; leave --video out"):
        predict.run(tiny_run, tmp_path / "still.png", output=tmp_path, video=True)
    result = run_cli("predict", tiny_run, tmp_path / name, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert "let 'kerasseg predict --video' predict them all" in " ".join(result.output.split())


def test_several_videos_of_a_folder_are_predicted_and_results_are_no_videos(tiny_run, tmp_path):
    (tmp_path / "films" / "sub").mkdir(parents=True)
    for name in ("a.mp4", "a.mkv", "sub/b.mp4"):
        make_video(tmp_path / "films" / name, 1)
    for _ in range(2):  # the second time beside the results
        written = predict.run(tiny_run, tmp_path / "films", output=tmp_path / "films", video=True)
        found = [w.overlay.relative_to(tmp_path / "films").as_posix() for w in written]
        assert found == ["a.mkv_overlay.mp4", "a.mp4_overlay.mp4", "sub/b_overlay.mp4"]


@pytest.mark.slow
def test_views_a_crf_and_a_least_confidence_work_as_for_images(tiny_run, tmp_path, monkeypatch):
    video = make_video(tmp_path / "film.mkv", 1, codec="ffv1", form="bgr0")
    ((pixels, _),) = decoded(video)
    PIL.Image.fromarray(pixels).save(tmp_path / "frame.png")
    for options in (
        {"view": View(window=(16, 24), scales=(1.0, 1.5), flip=True), "min_confidence": 0.5},
        {"crf": CRFParameters(num_iterations=2), "min_confidence": 0.5},
        {"draw_background": True},  # in parts, as it does not fit
    ):
        if "draw_background" in options:
            monkeypatch.setattr(memory.Limit, "fits", lambda self, size: False)
        output = tmp_path / str(len(listing(tmp_path)))
        (expected,) = predict.run(tiny_run, tmp_path / "frame.png", output=output, **options)
        (written,) = predict.run(tiny_run, video, output=output, video=True, **options)
        (label,) = labels_in(written.label)
        np.testing.assert_array_equal(label, PIL.Image.open(expected.label))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": True}, "confidence must be left out with video"),
        ({"crf_strip": (1,)}, "crf_strip must be left out with video"),
        ({"tiff": True}, "tiff must be left out with video"),
        ({"format": "voc"}, "format must be left out with video"),
        ({"as_dataset": "new"}, "as_dataset must be left out with video"),
    ],
)
def test_options_of_images_are_refused(tiny_run, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        predict.run(tiny_run, make_video(tmp_path / "film.mp4", 1), video=True, **options)


def test_a_network_of_other_channels_is_refused(tmp_path):
    videos = video_results.Videos(result_files.Pictures(tmp_path))
    with pytest.raises(InputError, match="must take 3 channels, RGB, to predict videos, got 4"):
        videos.check_network(keras.Model(*[keras.Input((None, None, 4))] * 2))


def test_damaged_videos_are_refused_and_nothing_is_written(tiny_run, tmp_path):
    whole = make_video(tmp_path / "whole.mp4", 40).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 2])  # its index was at its end
    assert "video cannot be opened" in problem(tiny_run, cut, tmp_path)
    cut.write_bytes(b"no video")
    assert "video cannot be opened" in problem(tiny_run, cut, tmp_path)
    cut.write_bytes(b"")
    assert "video cannot be opened" in problem(tiny_run, cut, tmp_path)
    with av.open(str(tmp_path / "whole.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    start = packets[20].pos
    cut.write_bytes(whole[:start] + b"\xff" * 600 + whole[start + 600 :])
    assert "cannot be decoded" in problem(tiny_run, cut, tmp_path)


def test_a_video_that_is_cut_short_names_the_frame(tiny_run, tmp_path):
    with av.open(str(tmp_path / "whole.mp4"), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = 32, 48
        for seed in range(40):
            pixels = np.random.default_rng(seed).integers(0, 256, (32, 48, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    content = (tmp_path / "whole.mp4").read_bytes()
    cut = tmp_path / "cut.mp4"
    for size in (len(content) // 2, len(content) - 5):
        cut.write_bytes(content[:size])
        found = problem(tiny_run, cut, tmp_path)
        assert found.startswith("frame ")
        assert "cut short" in found


def test_files_without_a_video_are_refused(tiny_run, tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    found = problem(tiny_run, tmp_path / "sound.mp4", tmp_path)
    assert found == "file must hold a video (only audio is in it)"
    (tmp_path / "empty.y4m").write_bytes(b"YUV4MPEG2 W48 H32 F25:1 Ip A1:1 C420jpeg\n")
    assert "must have a frame, got none" in problem(tiny_run, tmp_path / "empty.y4m", tmp_path)


def test_a_pipe_in_a_folder_of_videos_is_passed_by(tiny_run, tmp_path):
    (tmp_path / "films").mkdir()
    make_video(tmp_path / "films" / "z.mp4", 2)
    os.mkfifo(tmp_path / "films" / "a.mp4")  # nobody will ever write to it
    with pytest.raises(predict.PredictionError) as caught:
        predict.run(tiny_run, tmp_path / "films", video=True, output=tmp_path / "out")
    (told,) = caught.value.problems
    assert told.what == "video must be a file, got a named pipe"
    assert len(labels_in(tmp_path / "out" / "z_labels")) == 2


def test_own_results_are_replaced_and_foreign_ones_only_if_asked(tiny_run, tmp_path):
    video = make_video(tmp_path / "film.mp4", 3)
    out = tmp_path / "out"
    predict.run(tiny_run, video, output=out, video=True)
    make_video(video, 2)
    predict.run(tiny_run, video, output=out, video=True)
    names = ["film_labels", "film_labels/000001.png", "film_labels/000002.png", "film_overlay.mp4"]
    assert listing(out) == names
    for name in ("film_labels/drawn by hand.png", "film_overlay.mp4"):
        before = (out / name).read_bytes() if (out / name).exists() else None
        (out / name).write_bytes(b"mine")
        with pytest.raises(InputError, match=f"got .*{name}"):
            predict.run(tiny_run, video, output=out, video=True)
        assert (out / name).read_bytes() == b"mine"
        if before is None:
            (out / name).unlink()
    predict.run(tiny_run, video, output=out, video=True, overwrite=True)
    assert listing(out) == names


@pytest.mark.parametrize("stage", ["network", "writing"])
def test_an_interrupted_prediction_leaves_nothing(tiny_run, tmp_path, monkeypatch, stage):
    video = make_video(tmp_path / "film.mp4", 30)

    def stop(progress):
        if stage == "network" and progress.done == 20:
            raise KeyboardInterrupt

    def fail(self, frame):
        raise OSError(28, "No space left on device")

    if stage == "writing":
        monkeypatch.setattr(video_results.OverlayVideo, "write", fail)
    with pytest.raises(KeyboardInterrupt if stage == "network" else InputError):
        predict.run(tiny_run, video, output=tmp_path / "out", video=True, on_frames=stop)
    assert listing(tmp_path / "out") == []


def test_what_a_killed_prediction_left_is_removed_by_the_next(tiny_run, tmp_path):
    left = tmp_path / "out" / ".writing-0123456789abcdef" / "labels"
    left.mkdir(parents=True)
    other = tmp_path / "out" / ".writing-of-another-process.png"
    other.write_bytes(b"")
    video = make_video(tmp_path / "film.mp4", 1)
    predict.run(tiny_run, video, output=tmp_path / "out", video=True)
    assert not left.parent.exists()
    assert other.exists()


def test_the_extra_is_asked_for(tiny_run, tmp_path, monkeypatch):
    video = make_video(tmp_path / "film.mp4", 1)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"av must be installed .* 'kerasseg\[video\]'"):
        predict.run(tiny_run, video, output=tmp_path / "out", video=True)
    importlib.invalidate_caches()


def test_the_table_of_an_overlay_is_its_formula():
    from kerasseg.pipelines.classes import ClassSpace

    classes = ClassSpace(("background", "b", "c"), ((10, 20, 30), (255, 0, 7), (3, 130, 255)))
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 64, 3), np.uint8)
    label = rng.choice(np.array([0, 1, 2, 255], np.uint8), (64, 64))
    for opacity in (0.0, 0.3, 0.5, 1.0):
        pictures = result_files.Pictures("out", opacity)
        mixed = video_results.mixed(video_results._table(pictures, classes), image, label)
        np.testing.assert_array_equal(mixed, pictures.drawing(classes)(image, label))


def test_the_command_shows_frames_per_second(tiny_run, run_cli, tmp_path):
    video = make_video(tmp_path / "film.mp4", 3)
    refused = run_cli("predict", tiny_run, video, "--output", tmp_path / "out")
    assert refused.exit_code == 1
    assert "got a video; 'kerasseg predict --video' predicts it" in refused.output
    result = run_cli("predict", tiny_run, video, "--video", "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert f"{video}: 3 frames, " in result.output
    assert " frames/s\n" in result.output
    assert f"1 video predicted into {tmp_path / 'out'}" in result.output
    make_video(video, 1)
    (tmp_path / "cut.mp4").write_bytes(b"")
    both = run_cli("predict", tiny_run, video, tmp_path / "cut.mp4", "--video")
    assert both.exit_code == 1
    assert f"{video}: 1 frame, " in both.output
    assert "1 of the videos cannot be predicted" in both.output
