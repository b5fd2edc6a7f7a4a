"""The form in which a benchmark's server takes predictions."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Submission:
    """Files of a benchmark: one per image, of the image's size.

    Attributes:
        names: Names of the classes, in the order of a network's classes.
        values: Value of each class in the files.
        no_class: Value of pixels of no class; None if the files cannot have such pixels.
        image_name: Pattern of the names of the benchmark's images, without their ending. Its first
            group is what the name of the file is made of.
        example: Name of an image, for messages.
        file: Path of an image's file in the archive; `{}` stands for the group.
        color_of: Function from a value to its (red, green, blue) in the palette of the files; None
            for gray files.
    """

    names: Sequence[str]
    values: Sequence[int]
    no_class: int | None
    image_name: str
    example: str
    file: str
    color_of: Callable[[int], tuple[int, int, int]] | None = None

    def path_of(self, image: str) -> str | None:
        """Returns the path of an image's file; None if it is no name of the benchmark's images.

        Args:
            image: Name of the image without folders and ending.
        """
        match = re.fullmatch(self.image_name, image)
        return self.file.format(match[1]) if match else None
