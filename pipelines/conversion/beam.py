"""The same conversion on a cluster: Apache Beam runs `convert_shard` on its workers.

Beam is made for many machines; on one machine, the processes of `convert` are 5 to 10 times as fast
as its DirectRunner. All workers must see source and output under the same path.
"""

# Apache Beam is an extra that development does not need. pyright: reportMissingImports=false

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from .shards import ShardResult, ShardSpec, convert_or_keep, read_result


def convert_shards(specs: Sequence[ShardSpec], options: Sequence[str]) -> dict[Path, ShardResult]:
    """Converts shards under Beam.

    A worker writes its result beside its shard, as a local conversion does, so an interrupted
    pipeline can be resumed in the same way.

    Args:
        specs: The shards.
        options: Beam's own pipeline options, such as `--runner=FlinkRunner`.

    Returns:
        The result of each shard.

    Raises:
        InputError: If Beam is not installed or does not have an option, the pipeline fails, or it
            does not return every shard.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise InputError(
            "runner beam must have Apache Beam installed: pip install 'kerasseg[beam]'."
        ) from error
    try:
        pipeline_options = PipelineOptions(list(options), save_main_session=False)
        with beam.Pipeline(options=pipeline_options) as pipeline:
            _ = (
                pipeline
                | "Shards" >> beam.Create(list(specs))
                | "Spread" >> beam.Reshuffle()
                | "Convert" >> beam.Map(_convert)
            )
    except (Exception, SystemExit) as error:  # runners raise many kinds; argparse exits
        raise InputError(f"the Beam pipeline failed: {error}") from error
    return collect(specs)


def _convert(spec: ShardSpec) -> int:
    return convert_or_keep(spec).examples


def collect(specs: Sequence[ShardSpec]) -> dict[Path, ShardResult]:
    """Compares the number of results with that of the shards: some runners lose elements."""
    results = {spec.path: read_result(spec) for spec in specs}
    lost = [path.name for path, result in results.items() if result is None]
    if lost:
        raise InputError(
            f"all {len(specs)} shards must come back from Beam, but {len(lost)} did not: "
            f"{', '.join(lost[:4])}{' ...' if len(lost) > 4 else ''}; the same command converts "
            "the rest. Do all workers see the output folder?"
        )
    found = {path: result for path, result in results.items() if result is not None}
    for spec in specs:
        result = found[spec.path]
        size = spec.path.stat().st_size if spec.path.is_file() else 0
        if not result.problems and (result.examples, result.bytes) != (len(spec.examples), size):
            raise InputError(
                f"{spec.path}: must hold {len(spec.examples)} examples, got {result.examples} in "
                f"{size} bytes; the same command converts it again."
            )
    return found
