"""Frames per second of `predict --video` beside those of the network alone, and its memory.

    python benchmarks/video.py RUN VIDEO

Frames that are ready in memory go through the network alone, then the whole road is taken: decode,
predict, draw, compress, write. Both alternate, so that what else the machine does falls on both.
Prints frames/s, seconds of all cores per frame, and the memory at frames 100 and 1,000.
"""

import itertools
import resource
import sys
import tempfile
import time
from pathlib import Path

from kerasseg.pipelines.predictions import result_files, video_reading, video_results
from kerasseg.pipelines.predictions.predictor import Predictor
from kerasseg.pipelines.runs import trained_networks
from kerasseg.pipelines.runs.views import WHOLE
from kerasseg.pipelines.runtime import allocator

_BLOCK = 50  # frames between two changes


def main(run: str, video: str) -> None:
    """Measures and prints."""
    described, model = trained_networks.load(run)
    allocator.keep_freed(allocator.ARRAYS)
    predictor = Predictor(model, WHOLE)
    with video_reading.opened(Path(video)) as frames:
        size = frames.size
        ready = [frame.pixels for frame in itertools.islice(frames, _BLOCK)]
    batch_size, predict = predictor.frames(Path(video), size)
    predict(ready[:batch_size])  # traced and warm
    alone, road = [0.0, 0.0, 0], [0.0, 0.0, 0]
    clock = [time.monotonic(), time.process_time()]

    def lap(into: list, count: int) -> None:
        now = [time.monotonic(), time.process_time()]
        into[0] += now[0] - clock[0]
        into[1] += now[1] - clock[1]
        into[2] += count
        clock[:] = now

    def on_frames(progress) -> None:
        if progress.done in (100, 1000) and not progress.is_finished:
            print(f"frame {progress.done}: {_resident() / 2**20:.0f} MiB resident", flush=True)
        if progress.done % _BLOCK < batch_size and not progress.is_finished:
            lap(road, _BLOCK)
            for begin in range(0, _BLOCK, batch_size):
                predict(ready[begin : begin + batch_size])
            lap(alone, _BLOCK)

    with tempfile.TemporaryDirectory() as folder:
        videos = video_results.Videos(result_files.Pictures(Path(folder)))
        (item,) = videos.plan([(Path(video), Path(Path(video).name))])
        clock[:] = [time.monotonic(), time.process_time()]
        video_results.write(item, predictor, videos, described.classes, on_frames=on_frames)
        lap(road, 0)
    for name, (seconds, cpu, count) in (("network alone", alone), ("whole road", road)):
        print(f"{name}: {count / seconds:.2f} frames/s, {cpu / count * 1000:.1f} ms of CPU a frame")
    rates = [count / seconds for seconds, _, count in (road, alone)]
    print(f"ratio of frames/s {rates[0] / rates[1]:.3f}, of CPU {alone[1] / road[1]:.3f}")
    print(f"most memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB")


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main(*sys.argv[1:3])
