import struct

import av
import numpy as np
import pytest
from made_videos import decoded, make_video

from kerasseg.pipelines.errors import ImageFileError
from kerasseg.pipelines.predictions import video_reading


@pytest.mark.parametrize("turn", [0, 90, 180, -90])
def test_a_mirrored_video_is_read_as_a_player_shows_it(tmp_path, turn):
    video = make_video(tmp_path / "film.mp4", 1, turn=turn, flip=True)
    ((stored, _),) = decoded(video)
    with video_reading.opened(video) as frames:
        (frame,) = frames
        assert frames.size == frame.pixels.shape[:2]
    np.testing.assert_array_equal(frame.pixels, np.rot90(stored, turn // 90)[:, ::-1])


def test_a_video_that_is_turned_askew_is_refused(tmp_path):
    video = make_video(tmp_path / "film.mp4", 1, turn=30)
    assert "must be turned by quarters, got 29 degrees" in refusal(video)[0]


def refusal(path):
    """Returns why a video is refused while its frames are read, and how many came before."""
    count = 0
    try:
        with video_reading.opened(path) as frames:
            for _ in frames:
                count += 1
    except ImageFileError as error:
        return f"{error.what} ({error.cause})", count
    pytest.fail(f"{count} frames of a damaged video were read")


@pytest.mark.parametrize(
    ("name", "codec", "form", "message"),
    [
        ("a.mkv", "libx264", "yuv420p", "bytes as its header says"),
        ("a.webm", "libvpx", "yuv420p", "bytes as its header says"),
        ("a.wmv", "wmv2", "yuv420p", "bytes as its header says"),
        ("a.gif", "gif", "rgb8", "must end with the mark of its format"),
        ("a.ogv", "libvpx", "yuv420p", "must end with the mark of its format"),
        ("a.apng", "apng", "rgb24", "must end with the mark of its format"),
        ("a.y4m", "wrapped_avframe", "yuv420p", "cannot be decoded"),
        ("a.avi", "mjpeg", "yuvj420p", "cannot be decoded"),
        ("a.flv", "flv", "yuv420p", "cannot be decoded"),
    ],
)
def test_a_cut_is_seen_wherever_the_format_tells_of_its_end(tmp_path, name, codec, form, message):
    video = make_video(tmp_path / name, 20, codec=codec, form=form)
    content = video.read_bytes()
    with video_reading.opened(video) as frames:
        assert len(list(frames)) == 20
    for share in (0.5, 0.8, 0.97):
        video.write_bytes(content[: int(len(content) * share)])
        found, count = refusal(video)
        assert message in found
        assert count < 20


@pytest.mark.parametrize("name", ["a.ts", "a.h264"])
def test_a_stream_that_is_cut_loses_no_frame_without_a_word(tmp_path, name):
    video = make_video(tmp_path / name, 20, (64, 96), crf="1")
    content = video.read_bytes()
    assert len(decoded(video)) == 20
    refused = 0
    for size in range(len(content) // 2, len(content), len(content) // 40):
        video.write_bytes(content[:size])
        try:
            with video_reading.opened(video) as frames:
                count = len(list(frames))
        except ImageFileError:
            refused += 1
        else:
            assert count == len(decoded(video))  # by a decoder that forgives
    assert refused > 5


def test_a_video_that_ends_before_its_duration_is_refused(tmp_path):
    video = make_video(tmp_path / "a.mkv", 20, codec="ffv1", form="bgr0")
    content = video.read_bytes()
    at = content.index(b"\x44\x89\x88") + 3  # the element of the duration, a float64 in ms
    assert struct.unpack(">d", content[at : at + 8]) == (800,)
    for duration, is_refused in ((850, False), (2000, True)):
        video.write_bytes(content[:at] + struct.pack(">d", duration) + content[at + 8 :])
        if is_refused:
            found, count = refusal(video)
            assert "must last 2.00 s as its header says, got 0.80 s" in found
            assert count == 20
        else:
            with video_reading.opened(video) as frames:
                assert len(list(frames)) == 20


def test_a_recording_that_was_never_finished_is_predicted_as_far_as_it_goes(tmp_path):
    video = make_video(tmp_path / "a.mkv", 20, codec="ffv1", form="bgr0")
    live = str(tmp_path / "live.mkv")
    with av.open(str(video)) as source, av.open(live, "w", options={"live": "1"}) as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    assert b"\x18\x53\x80\x67\x01" + b"\xff" * 7 in (tmp_path / "live.mkv").read_bytes()
    with video_reading.opened(tmp_path / "live.mkv") as frames:
        assert len(list(frames)) == 20


def test_sound_may_be_longer_than_the_video(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "bgr0"
        sound = container.add_stream("pcm_s16le", rate=8000)
        pixels = np.zeros((16, 16, 3), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 24000), np.int16), "s16", "mono")
        samples.sample_rate = 8000
        container.mux(sound.encode(samples))
        container.mux(sound.encode())
    with av.open(str(tmp_path / "a.mkv")) as container:
        assert container.duration == 3_000_000
    with video_reading.opened(tmp_path / "a.mkv") as frames:
        assert len(list(frames)) == 1


def test_a_video_without_a_known_codec_or_a_frame_is_refused(tmp_path):
    video = make_video(tmp_path / "a.mkv", 2, codec="ffv1", form="bgr0")
    video.write_bytes(video.read_bytes().replace(b"V_FFV1", b"V_XYZ1"))
    assert "must have a codec that FFmpeg decodes" in refusal(video)[0]
    with av.open(str(tmp_path / "empty.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = 32, 48
        container.start_encoding()
    assert "file must hold a video" in refusal(tmp_path / "empty.mp4")[0]


def test_a_size_that_changes_names_the_frame(tmp_path, monkeypatch):
    video = make_video(tmp_path / "film.mp4", 3)
    other = video_reading._Look((16, 16))
    looks = iter([video_reading._Look((32, 48))] * 3 + [other])
    monkeypatch.setattr(video_reading, "_look", lambda frame: next(looks, other))
    with (
        video_reading.opened(video) as frames,
        pytest.raises(ImageFileError, match=r"frame 3 must .* of the first, 32 x 48, got 16 x 16"),
    ):
        list(frames)
