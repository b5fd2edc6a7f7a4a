"""Runs the command line: `python -m kerasseg`."""

from kerasseg.pipelines.cli import main  # pyright: ignore[reportMissingImports]

if __name__ == "__main__":
    main()
