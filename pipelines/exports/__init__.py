"""Export formats, one per file, and the checks that every export must pass."""
