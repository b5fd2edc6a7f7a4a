"""Runs the command line: `python -m kerasseg`."""

from kerasseg.pipelines.cli import main

if __name__ == "__main__":
    main()
