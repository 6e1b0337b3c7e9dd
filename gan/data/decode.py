"""Decodes image files to uint8 tensors of a given size."""

import io
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from gan.images import ImageSize, as_image_size, height_and_width

if TYPE_CHECKING:
    from PIL import Image

Fit = Literal["crop", "pad", "squeeze"]

_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".pbm"),
    *(".avif", ".jfif", ".jpe", ".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc", ".apng", ".dib"),
)
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
# Pillow picks the reader by content. Only these: its EPS reader, for one, would start another program.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000", "HEIF")
# How files of these formats start
_STARTS = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  \r\n\x87\n"),
    *(b"\xff\x4f\xff\x51", *(b"P%d%c" % (kind, space) for kind in range(1, 7) for space in b"\n \t\r")),
)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
START_BYTES = 32
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # tags of TIFF


class DamagedError(ValueError):
    """An image file cannot be used, whatever is tried: the fault is in the file itself."""


@dataclass(frozen=True)
class Frame:
    """The size and number of channels that every image of a set is converted to: uint8 (channels, height, width).

    Resizing is Pillow's bicubic filter, which averages over all source pixels when it makes an image smaller; filters
    that do not shift the Frechet distance (Parmar et al. 2022). An image that fits keeps its pixels.

    Attributes:
        size: Height and width: a number, or (height, width) if they differ.
        channels: 1 (gray) or 3 (RGB).
        canvas: Images smaller than this are put into the middle of a black square of this size before they are resized.
        fit_by: "crop": the largest centred part of this shape is resized. "pad": all of the image is, and gets black
            margins. "squeeze": all of the image is, to this shape.
    """

    size: ImageSize
    channels: int
    canvas: int = 0
    fit_by: Fit = "crop"

    varies: ClassVar[bool] = False  # whether training sees an image differently each time; it is streamed then

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", as_image_size(self.size))

    @property
    def height(self) -> int:
        """Height of the images."""
        return height_and_width(self.size)[0]

    @property
    def width(self) -> int:
        """Width of the images."""
        return height_and_width(self.size)[1]

    def fit(self, image: "Image.Image") -> Tensor:
        """Return the image as uint8 (channels, height, width)."""
        image = _as_mode(image, "L" if self.channels == 1 else "RGB")
        if max(image.size) < self.canvas:
            image = _on_canvas(image, self.canvas, self.canvas)
        return _to_tensor(self.resized(image))

    def at(self, seed: int, position: int) -> "Frame":
        """Return the frame of the training image that stands at a position of the endless order: always the same.

        A subclass may let the frame vary, as a function of the run's seed and the position.
        """
        return self

    def enlarges(self, width: int, height: int) -> bool:
        """Return whether an image of this size is enlarged."""
        factors = self.width / width, self.height / height
        return (min(factors) if self.fit_by == "pad" else max(factors)) > 1

    def resized(self, image: "Image.Image") -> "Image.Image":
        """Return the image with the height and width of the frame."""
        if image.size == (self.width, self.height):
            return image
        if self.fit_by == "crop":
            return _resize(_crop(image, self.width, self.height), self.width, self.height)
        if self.fit_by == "squeeze":
            return _resize(image, self.width, self.height)
        factor = min(self.width / image.width, self.height / image.height)
        inner = max(1, round(image.width * factor)), max(1, round(image.height * factor))
        return _on_canvas(_resize(image, *inner), self.width, self.height)


@cache
def suffixes() -> tuple[str, ...]:
    """Return the suffixes of the image files that can be read here, in lower case."""
    return _SUFFIXES + HEIF_SUFFIXES if _reads_heif() else _SUFFIXES


def looks_like_image(start: bytes) -> bool:
    """Return whether a file that starts with these `START_BYTES` bytes is an image that can be read."""
    if start.startswith(_STARTS):
        return True
    if start[4:8] == b"ftyp":
        return start[8:12] in (*_AVIF_BRANDS, *(_HEIF_BRANDS if _reads_heif() else ()))
    is_webp = start.startswith(b"RIFF") and start[8:12] == b"WEBP"
    return is_webp or (start.startswith(b"BM") and start[6:10] == bytes(4))  # bytes that BMP reserves


def decode(content: bytes) -> "Image.Image":
    """Return the (first) image of a file, turned upright as its EXIF orientation says.

    Raises:
        DamagedError: If the bytes are no image that can be read whole; the message is the reason and names no file.
    """
    from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

    # One long comment or colour profile is no reason to refuse the pixels; all of them together are bounded still. It
    # holds for all of the process: Pillow has no other way.
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
    try:
        image = Image.open(io.BytesIO(content), formats=_formats())
        image.load()
    except UnidentifiedImageError:
        raise DamagedError(_what_it_is(content)) from None
    except Image.DecompressionBombError as error:
        raise DamagedError(f"is too large: {error}") from None
    except (
        Exception
    ) as error:  # Pillow's readers raise nearly anything on damaged files (SyntaxError, struct.error, ...)
        raise DamagedError(f"is damaged: {error}") from None
    with suppress(Exception):  # what is wrong with the metadata is no reason either; turned it is before they fail
        ImageOps.exif_transpose(image, in_place=True)
    return image


@cache
def _reads_heif() -> bool:
    """Install Pillow's plugin for HEIC, and say whether there is one."""
    try:
        import pillow_heif  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


@cache
def _formats() -> tuple[str, ...]:
    """Return those of the formats that this Pillow knows."""
    from PIL import Image

    _reads_heif()
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _what_it_is(content: bytes) -> str:
    """Return what is wrong with a file of none of the formats: that it is of another, if Pillow knows it."""
    from PIL import Image

    if content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS:
        return "is a HEIC image; pip install pillow-heif reads it"
    with suppress(Exception), Image.open(io.BytesIO(content)) as image:
        return f"is an image in the format {image.format}, which is not read; PNG and JPEG are"
    if b"<svg" in content[:1024].lower():
        return "is an image in the format SVG, which is not read; PNG and JPEG are"
    return f"is no image ({len(content)} bytes)"


def _as_mode(image: "Image.Image", mode: str) -> "Image.Image":
    from PIL import Image

    if image.mode == "F":
        raise DamagedError("has floating-point pixels, whose range is not defined")
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
        raise DamagedError("has 12-bit or inverted 16-bit pixels; 8 and plain 16 bits are understood")


def _from_16_bits(image: "Image.Image") -> "Image.Image":
    """Scale [0, 65535] to [0, 255]; Pillow's own conversion would clamp."""
    from PIL import Image

    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise DamagedError("has 32-bit pixels; 8 and 16 bits are understood")
    return Image.fromarray(np.rint(pixels / 257).astype(np.uint8))


def _on_canvas(image: "Image.Image", width: int, height: int) -> "Image.Image":
    from PIL import Image

    canvas = Image.new(image.mode, (width, height))
    canvas.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
    return canvas


def _crop(image: "Image.Image", width: int, height: int) -> "Image.Image":
    """Return the largest centred part whose sides are as `width` to `height`, to the nearest pixel."""
    if image.width * height <= image.height * width:
        across, down = image.width, max(1, round(image.width * height / width))
    else:
        across, down = max(1, round(image.height * width / height)), image.height
    left, top = (image.width - across) // 2, (image.height - down) // 2
    # Not `resize` with a box alone: the filter would see what is beyond it.
    return image.crop((left, top, left + across, top + down))


def _resize(image: "Image.Image", width: int, height: int) -> "Image.Image":
    from PIL import Image

    return image.resize((width, height), Image.Resampling.BICUBIC)


def _to_tensor(image: "Image.Image") -> Tensor:
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, -1).permute(2, 0, 1).contiguous()
