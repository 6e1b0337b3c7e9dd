"""Pictures as files."""

from pathlib import Path

from torch import Tensor

from gan.images import encoded
from gan.runs.files import write_atomically

FORMATS = "png", "webp"


def write_picture(path: Path, image: Tensor) -> None:
    """Write a uint8 image (1 or 3, H, W) to a PNG or WebP file atomically."""
    content = encoded(image, path.suffix.lower().removeprefix("."))
    write_atomically(path, lambda file: file.write(content))
