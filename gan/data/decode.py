"""From the bytes of an image file, of whatever kind, to a square uint8 tensor."""

import io
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
# Pillow picks the reader by content. Only these: its EPS reader, for one, would start another program.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # tags of TIFF


@dataclass(frozen=True)
class Frame:
    """What every image of a set is made to fit: the largest centred square, resized, as uint8 (channels, size, size).

    Resizing is Pillow's bicubic filter, which averages over all source pixels when it makes an image smaller; filters
    that do not shift the Frechet distance (Parmar et al. 2022). An image that fits keeps its pixels.

    Attributes:
        size: Height and width.
        channels: 1 (gray) or 3 (RGB).
        canvas: Images smaller than this are put into the middle of a black square of this size before they are resized.
    """

    size: int
    channels: int
    canvas: int = 0

    def fit(self, image: "Image.Image") -> Tensor:
        """Return the image as uint8 (channels, size, size)."""
        image = _as_mode(image, "L" if self.channels == 1 else "RGB")
        if max(image.size) < self.canvas:
            image = _on_canvas(image, self.canvas)
        return _to_tensor(_square(image, self.size))


def decode(content: bytes) -> "Image.Image":
    """Return the (first) image of a file, turned upright as its EXIF orientation says.

    Raises:
        ValueError: If the bytes are no image that can be read whole; the message is the reason and names no file.
    """
    from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

    # One long comment or colour profile is no reason to refuse the pixels; all of them together are bounded still. It
    # holds for all of the process: Pillow has no other way.
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
        image.load()
    except UnidentifiedImageError:
        raise ValueError(f"is no image ({len(content)} bytes)") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"is too large: {error}") from None
    except (
        Exception
    ) as error:  # Pillow's readers raise nearly anything on damaged files (SyntaxError, struct.error, ...)
        raise ValueError(f"is damaged: {error}") from None
    with suppress(Exception):  # what is wrong with the metadata is no reason either; turned it is before they fail
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _as_mode(image: "Image.Image", mode: str) -> "Image.Image":
    from PIL import Image

    if image.mode == "F":
        raise ValueError("has floating-point pixels, whose range is not defined")
    if image.mode.startswith("I"):
        _check_tiff(image)
        image = _from_16_bits(image)
    elif image.has_transparency_data:  # what shows through is white, as viewers have it
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image if image.mode == mode else image.convert(mode)


def _check_tiff(image: "Image.Image") -> None:
    """Refuse what Pillow passes on unchanged, as if it were plain 16-bit pixels."""
    tags = getattr(image, "tag_v2", {})
    bits, white_is_zero = tags.get(_BITS_PER_SAMPLE, (16,)), tags.get(_PHOTOMETRIC) == 0
    if white_is_zero or bits == (12,):
        raise ValueError("has 12-bit or inverted 16-bit pixels; 8 and plain 16 bits are understood")


def _from_16_bits(image: "Image.Image") -> "Image.Image":
    """Scale [0, 65535] to [0, 255]; Pillow's own conversion would clamp."""
    from PIL import Image

    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError("has 32-bit pixels; 8 and 16 bits are understood")
    return Image.fromarray(np.rint(pixels / 257).astype(np.uint8))


def _on_canvas(image: "Image.Image", size: int) -> "Image.Image":
    from PIL import Image

    canvas = Image.new(image.mode, (size, size))
    canvas.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return canvas


def _square(image: "Image.Image", size: int) -> "Image.Image":
    from PIL import Image

    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    # Not `resize` with the box alone: the filter would see what is beyond it.
    return image.crop(box).resize((size, size), Image.Resampling.BICUBIC)


def _to_tensor(image: "Image.Image") -> Tensor:
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, -1).permute(2, 0, 1).contiguous()
