"""Files of weights in installed packages, found without running any of the packages' code."""

from importlib import metadata
from pathlib import Path


def find(package: str, suffix: str = ".pth") -> Path:
    """Finds the only file of weights in an installed package.

    Args:
        package: Name by which the package is installed.
        suffix: End of the file's name.

    Returns:
        The path of the file.

    Raises:
        LookupError: If the package is not installed.
        ValueError: If it does not have one such file, as when an installation was cut short.
    """
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError as error:
        raise LookupError(f"{package} is not installed.") from error
    paths = [Path(str(file.locate())) for file in files if file.suffix == suffix]
    found = [path for path in paths if path.is_file()]
    if len(found) != 1:
        raise ValueError(
            f"package {package} must have one file *{suffix}, got {len(found)}: install it again."
        )
    return found[0]
