"""Export formats, one a file, and what every export must show before it is published."""
