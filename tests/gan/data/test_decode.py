import io

import numpy as np
import pytest
import torch
from image_files import encode, noise
from PIL import Image, PngImagePlugin, TiffImagePlugin, TiffTags

from gan.data.decode import Frame, decode

RGB = noise(8, 8, 3)
GRAY = noise(8, 8)


def read(content, channels=3, size=8, **frame):
    return Frame(size, channels, **frame).fit(decode(content)).numpy()


def rgb(array):
    return array.transpose(2, 0, 1)


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_pixels_of_lossless_files_come_through(file_format):
    assert np.array_equal(read(encode(RGB, file_format)), rgb(RGB))


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP"])
def test_lossy_files_come_through_nearly(file_format):
    smooth = np.linspace(0, 255, 64).reshape(8, 8).astype(np.uint8)
    assert np.abs(read(encode(smooth, file_format, quality=95), channels=1).astype(int) - smooth).max() < 16


def test_gray_becomes_rgb_by_repetition():
    assert np.array_equal(read(encode(GRAY)), np.stack([GRAY] * 3))


def test_rgb_becomes_gray_by_luma():
    luma = RGB @ (0.299, 0.587, 0.114)  # ITU-R 601-2
    assert np.abs(read(encode(RGB), channels=1)[0] - luma).max() <= 1


def test_16_bits_are_scaled():
    deep = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    assert np.array_equal(read(encode(deep), channels=1)[0], np.rint(deep / 257))


def test_white_shows_through_what_is_transparent():
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4, :, 3] = 255  # the upper half is black, the lower is not there
    expected = np.repeat([0, 255], 4)[:, None].repeat(8, 1)
    assert np.array_equal(read(encode(pixels), channels=1)[0], expected)


def test_a_transparent_palette_color_is_white():
    image = Image.new("P", (8, 8), color=1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    assert (read(encode(image)) == np.array([40, 50, 60])[:, None, None]).all()
    assert (read(encode(image, transparency=1)) == 255).all()


def test_cmyk_becomes_rgb():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    assert np.array_equal(read(encode(image, "TIFF"))[:, 0, 0], [255, 0, 0])


def test_one_bit_becomes_black_and_white():
    bits = Image.fromarray(GRAY > 127)
    assert np.array_equal(read(encode(bits), channels=1)[0], np.where(GRAY > 127, 255, 0))


@pytest.mark.parametrize(
    ("orientation", "upright"), [(3, np.rot90(GRAY, 2)), (6, np.rot90(GRAY, -1)), (8, np.rot90(GRAY))]
)
def test_exif_orientation(orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read(encode(GRAY, exif=exif), channels=1)[0], upright)


def test_the_first_picture_of_an_animation():
    frames = [Image.fromarray(noise(8, 8, seed=seed)) for seed in (1, 2)]
    content = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.array_equal(read(content, channels=1)[0], np.asarray(frames[0]))


@pytest.mark.parametrize(("height", "width"), [(8, 14), (14, 8), (8, 13)])
def test_the_middle_is_cropped(height, width):
    pixels = noise(height, width, 3)
    top, left = (height - 8) // 2, (width - 8) // 2
    assert np.array_equal(read(encode(pixels)), rgb(pixels[top : top + 8, left : left + 8]))


def test_what_is_cropped_does_not_show():
    pixels = np.full((40, 120, 3), 255, np.uint8)
    pixels[:, 40:80] = 7
    assert (read(encode(pixels)) == 7).all()


def test_making_smaller_averages_over_all_pixels():
    checkers = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    assert np.abs(read(encode(checkers.astype(np.uint8)), channels=1).astype(int) - 128).max() <= 2


def test_making_larger_keeps_a_constant():
    assert (read(encode(np.full((1, 1, 3), 77, np.uint8))) == 77).all()


def test_a_canvas_leaves_the_pixels_as_they_are():
    framed = read(encode(GRAY), channels=1, size=12, canvas=12)[0]
    assert np.array_equal(framed[2:10, 2:10], GRAY)
    framed[2:10, 2:10] = 0
    assert not framed.any()
    larger = noise(12, 12)
    assert np.array_equal(read(encode(larger), channels=1, size=12, canvas=10)[0], larger)


def test_the_tensor_is_uint8_and_contiguous():
    tensor = Frame(4, 3).fit(Image.fromarray(RGB))
    assert tensor.shape == (3, 4, 4)
    assert tensor.dtype == torch.uint8
    assert tensor.is_contiguous()


def test_long_comments_are_no_damage():
    """Pillow refuses more than a megabyte in one chunk of text, whatever the pixels."""
    comment, file = PngImagePlugin.PngInfo(), io.BytesIO()
    comment.add_text("workflow", "x" * 2**22, zip=True)
    Image.fromarray(RGB).save(file, "png", pnginfo=comment)
    assert np.array_equal(read(file.getvalue()), rgb(RGB))


def test_an_image_is_turned_whatever_else_its_exif_holds():
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x0112], tags[0x0128] = 6, 70_000
    tags.tagtype[0x0128] = TiffTags.LONG  # a unit that Pillow reads, but cannot write back
    content = encode(GRAY, "TIFF", tiffinfo=tags)
    assert np.array_equal(read(content, channels=1)[0], np.rot90(GRAY, -1))
