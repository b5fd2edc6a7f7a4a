"""Backbones of keras-hub (being written)."""

NAMES = ("hub",)
TAKES_ARGUMENT = True
PREPROCESSING = "imagenet"
