"""What people, and those who mean ill, give as images: each works as one hopes, or is named in one clear line."""

import os
import pickle
import stat
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_files import encode, noise, write_folder, write_zip
from PIL import Image

from gan.data import Folder

GOOD = encode(noise(6, 5, 3))
JPEG = encode(noise(64, 64, 3), "JPEG")
DEEP = noise(6, 6).astype(np.uint16) * 257
HEIC = b"\0\0\0\x18ftypheic" + bytes(64)
EXIF = Image.Exif()
EXIF[0x0112] = 6


def folder(**files):
    """A row of the table: a folder of these files; __ in a name stands for the dot."""
    return lambda path: write_folder(path / "set", {name.replace("__", "."): data for name, data in files.items()})


def named(*names):
    return lambda path: write_folder(path / "set", dict.fromkeys(names, GOOD))


def zipped(*names, **options):
    return lambda path: write_zip(path / "set.zip", dict.fromkeys(names, GOOD), **options)


def nothing(path):
    return str(path / "missing")


def empty_folder(path):
    (path / "set").mkdir()
    return str(path / "set")


def text_file(path):
    (path / "set.zip").write_text("not a zip")
    return str(path / "set.zip")


def png_header(width, height):
    """A PNG that says how large it is and holds no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunks + b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def zip_then(change):
    """A zip of good.png and bad.png after `change` has had its way with the bytes."""

    def make(path):
        root = Path(write_zip(path / "set.zip", {"good.png": GOOD, "bad.png": bytes(10_000)}, zipfile.ZIP_DEFLATED))
        root.write_bytes(change(root.read_bytes()))
        return str(root)

    return make


def last_entry(offset, layout, value):
    """A change: overwrites a field of the last entry of the central directory (APPNOTE 4.3.12)."""

    def change(content):
        content = bytearray(content)
        struct.pack_into(layout, content, content.rindex(b"PK\x01\x02") + offset, value)
        return bytes(content)

    return change


def zip_symlink(path):
    link = zipfile.ZipInfo("bad.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    return write_zip(path / "set.zip", {"good.png": GOOD, link: b"/etc/passwd"})


def zip_twice(path):
    root = write_zip(path / "set.zip", {"a.png": b"old"})
    with zipfile.ZipFile(root, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a.png", GOOD)
    return root


def zip_behind_a_program(path):
    root = Path(write_zip(path / "set.zip", {"a.png": GOOD}))
    root.write_bytes(b"#!/bin/sh\n" + root.read_bytes())
    return str(root)


def linked(path):
    write_folder(path / "elsewhere", {"a.png": GOOD, "more/b.png": GOOD})
    (path / "set").mkdir()
    (path / "set/a.png").symlink_to(path / "elsewhere/a.png")
    (path / "set/more").symlink_to(path / "elsewhere/more")
    return str(path / "set")


def linked_in_a_circle(path):
    root = write_folder(path / "set", {"a/1.png": GOOD, "b/1.png": GOOD})
    (path / "set/a/up").symlink_to(path / "set")
    (path / "set/a/across").symlink_to(path / "set/b")
    return root


def dangling(path):
    root = write_folder(path / "set", {"good.png": GOOD})
    (path / "set/bad.png").symlink_to(path / "gone.png")
    return root


def pipe(path):
    root = write_folder(path / "set", {"good.png": GOOD})
    os.mkfifo(path / "set/bad.png")
    return root


def nameless_pipe(path):
    root = write_folder(path / "set", {"good.png": GOOD})
    os.mkfifo(path / "set/pipe")
    return root


def enormous(path):
    root = write_folder(path / "set", {"bad.png": b""})
    os.truncate(path / "set/bad.png", 2**28 + 1)
    return root


def pipe_as_root(path):
    os.mkfifo(path / "set")
    return str(path / "set")


def locked(name):
    def make(path):
        root = write_folder(path / "set", {"good.png": GOOD, "dir/bad.png": GOOD})
        (path / "set" / name).chmod(0)
        return root

    return make


WORKS = {
    "one image": (named("a.png"), 1),
    "mixed sizes": (folder(a__png=GOOD, b__png=encode(noise(40, 3, 3)), c__png=encode(noise(2, 90, 3))), 3),
    "one pixel": (folder(a__png=encode(noise(1, 1, 3))), 1),
    "50,000 pixels wide": (folder(a__png=encode(noise(2, 50_000))), 1),
    "other files": (folder(a__png=GOOD, b__txt=b"text", Thumbs__db=b"?", LICENSE=b"text", c__zip=b"PK"), 1),
    "hidden files": (named("a.png", ".b.png", ".git/c.png", "__MACOSX/d.png", "._a.png"), 1),
    "a folder called like an image": (named("a.png", "b.png/c.png"), 2),
    "other suffixes": (
        folder(
            a__jfif=JPEG, b__jpe=JPEG, c__avif=encode(noise(9, 9, 3), "AVIF"), d__jp2=encode(noise(9, 9, 3), "JPEG2000")
        ),
        4,
    ),
    "no suffix": (folder(a=GOOD, b=JPEG, c=encode(noise(9, 9, 3), "AVIF"), README=b"Python", LICENSE=b"P text"), 3),
    "no suffix, in a zip": (zipped("a", "b/c", "d/"), 2),
    "AVIF and JPEG 2000 called PNG": (
        folder(a__png=encode(noise(9, 9, 3), "AVIF"), b__png=encode(noise(9, 9, 3), "JPEG2000")),
        2,
    ),
    "photos of two lenses": (
        folder(
            a__jpg=encode(
                Image.fromarray(noise(9, 9, 3)), "MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))]
            )
        ),
        1,
    ),
    "a pipe without a suffix": (nameless_pipe, 1),
    "capitals": (named("A.PNG", "B.Jpg", "C.JPEG"), 3),
    "another format than its name says": (folder(a__png=JPEG, b__jpg=GOOD), 2),
    "any script": (named("貓/ねこ.png", "кот/🐈.png", "كلب/ק.png", "a b'\"\\n.png"), 4),
    "CMYK": (folder(a__jpg=encode(Image.new("CMYK", (9, 9)), "JPEG")), 1),
    "YCbCr": (folder(a__jpg=encode(Image.new("YCbCr", (9, 9)), "JPEG")), 1),
    "LAB": (folder(a__tif=encode(Image.new("LAB", (9, 9)), "TIFF")), 1),
    "progressive JPEG": (folder(a__jpg=encode(noise(64, 64, 3), "JPEG", progressive=True)), 1),
    "16 bits": (folder(a__png=encode(DEEP), b__tif=encode(DEEP, "TIFF"), c__pgm=encode(DEEP, "PPM")), 3),
    "alpha": (
        folder(a__png=encode(noise(6, 6, 4)), b__png=encode(noise(6, 6, 2)), c__webp=encode(noise(6, 6, 4), "WEBP")),
        3,
    ),
    "palette": (folder(a__gif=encode(noise(6, 6), "GIF"), b__png=encode(Image.new("P", (5, 5)), transparency=0)), 2),
    "one bit": (folder(a__png=encode(Image.new("1", (5, 5)))), 1),
    "EXIF rotation": (folder(a__jpg=encode(noise(9, 5, 3), "JPEG", exif=EXIF)), 1),
    "EXIF that is none": (folder(a__png=encode(noise(9, 5, 3), exif=b"garbage!")), 1),
    "links": (linked, 2),
    "links in a circle": (linked_in_a_circle, 2),
    "zip": (zipped("a.png", "b/c.png"), 2),
    "zip of folders": (zipped("a/", "a/b.png", "c.png/"), 1),
    "zip, deflated": (zipped("a.png", compression=zipfile.ZIP_DEFLATED), 1),
    "zip, LZMA": (zipped("a.png", compression=zipfile.ZIP_LZMA), 1),
    "zip of any script": (zipped("貓/ねこ.png", "кот/🐈.png"), 2),
    "zip from Windows": (zipped("a\\b.png", "c\\d.png"), 2),
    "zip with leading dots": (zipped("./a/b.png", "./c/d.png"), 2),
    "zip with one name twice": (zip_twice, 1),
    "zip behind a program": (zip_behind_a_program, 1),
}

REFUSED = {
    "no such root": (nothing, r"root '.*missing' does not exist"),
    "empty folder": (empty_folder, r"holds no images \(\.png, "),
    "no images": (folder(a__txt=b"text"), r"holds no images"),
    "images beside splits": (
        named("train/a.png", "test/b.png", "bad.png"),
        r"look like splits, but bad.png lies beside",
    ),
    "not an image": (folder(bad__png=b"text"), r"'bad.png' in '.*' is no image \(4 bytes\)"),
    "empty file": (folder(bad__png=b""), r"'bad.png' in '.*' is no image \(0 bytes\)"),
    "a pickle": (folder(bad__png=pickle.dumps(print)), r"'bad.png' in '.*' is no image"),
    "HEIC where nothing reads it": (
        folder(bad__png=HEIC),
        r"'bad.png' in '.*' is a HEIC image; pip install pillow-heif",
    ),
    "HEIC alone": (folder(bad__heic=HEIC), r"passed over: 1 .heic \(pip install pillow-heif reads HEIC\)"),
    "several at once": (
        folder(a__png=b"text", b__png=GOOD, c__png=b""),
        r"2 images are damaged: 'a.png' in '.*' is no image \(4 bytes\), 'c.png' in .*; --data.damaged skip takes",
    ),
    "PostScript": (
        folder(bad__png=encode(noise(6, 6, 3), "EPS")),
        r"'bad.png' in '.*' is an image in the format EPS, which",
    ),
    "SVG": (
        folder(bad__png=b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        r"'bad.png' in '.*' is an image in the format SVG",
    ),
    "truncated PNG": (folder(bad__png=encode(noise(64, 64, 3))[:3000]), r"'bad.png' in '.*' is damaged: .*truncated"),
    "truncated JPEG": (folder(bad__jpg=JPEG[:-200]), r"'bad.jpg' in '.*' is damaged: .*truncated"),
    "truncated header": (folder(bad__png=GOOD[:20]), r"'bad.png' in '.*' is (damaged|no image)"),
    "flipped bits": (folder(bad__png=GOOD[:60] + bytes(20) + GOOD[80:]), r"'bad.png' in '.*' is damaged"),
    "no pixels": (folder(bad__png=png_header(0, 0)), r"'bad.png' in '.*' is (damaged|no image)"),
    "50,000 by 50,000": (folder(bad__png=png_header(50_000, 50_000)), r"'bad.png' in '.*' is too large"),
    "floats": (folder(bad__tif=encode(np.ones((6, 6), np.float32), "TIFF")), r"'bad.tif' in '.*' has floating-point"),
    "32 bits": (folder(bad__tif=encode(np.full((6, 6), 10**6, np.int32), "TIFF")), r"'bad.tif' in '.*' has 32-bit"),
    "a dangling link": (dangling, r"bad.png' cannot be read: No such file"),
    "a pipe": (pipe, r"bad.png' is no regular file"),
    "an enormous file": (enormous, r"'bad.png' in '.*' is too large: 268,435,457 bytes, at most 268,435,456"),
    "a pipe as root": (pipe_as_root, r"root '.*set' is neither a folder nor a file"),
    "inverted 16 bits": (folder(bad__tif=encode(DEEP, "TIFF", tiffinfo={262: 0})), r"'bad.tif' in '.*' has .*inverted"),
    "a locked file": (locked("dir/bad.png"), r"'dir/bad.png' in '.*' cannot be read: Permission denied"),
    "a locked folder": (locked("dir"), r"dir' cannot be read: Permission denied"),
    "no zip": (text_file, r"root '.*set.zip' is neither a folder nor a whole zip"),
    "empty zip": (zipped(), r"root '.*set.zip' holds no images"),
    "truncated zip": (zip_then(lambda content: content[:-30]), r"root '.*set.zip' is neither a folder nor a whole zip"),
    "zip that climbs out": (zipped("a.png", "x/../../bad.png"), r"'x/\.\./\.\./bad.png' in '.*' points outside"),
    "zip that climbs out of Windows": (zipped("..\\bad.png"), r"bad.png' in '.*' points outside"),
    "zip with an absolute name": (zipped("/etc/bad.png"), r"'/etc/bad.png' in '.*' points outside"),
    "zip with a drive": (zipped("C:\\bad.png"), r"bad.png' in '.*' points outside"),
    "zip with a link": (zip_symlink, r"'bad.png' in '.*' is a symbolic link"),
    "zip with a password": (
        zip_then(last_entry(8, "<H", 1)),
        r"'bad.png' in '.*' is encrypted; make the zip without a password",
    ),
    "zip bomb": (zip_then(last_entry(24, "<I", 2**30)), r"'bad.png' in '.*' is too large: 1,073,741,824 bytes"),
    "zip bomb that lies": (zip_then(last_entry(24, "<I", 10)), r"'bad.png' in '.*' cannot be read"),
    "zip entry that is too short": (zip_then(last_entry(24, "<I", 20_000)), r"'bad.png' in '.*' cannot be read"),
    "zip with another checksum": (zip_then(last_entry(16, "<I", 0)), r"'bad.png' in '.*' cannot be read: Bad CRC-32"),
    "zip with unknown compression": (
        zip_then(last_entry(10, "<H", 77)),
        r"'bad.png' in '.*' cannot be read: .*compression",
    ),
    "zip of a later version": (
        zip_then(last_entry(6, "<B", 99)),
        r"root '.*set.zip' is neither a folder nor a whole zip: zip file version 9.9",
    ),
    "zip with a lost entry": (zip_then(last_entry(42, "<I", 7)), r"'bad.png' in '.*' cannot be read"),
}


def count(root):
    return sum(len(images) for images in Folder(root, image_size=4).reference("train"))


@pytest.mark.parametrize(("make", "images"), WORKS.values(), ids=WORKS)
def test_works(make, images, tmp_path):
    assert count(make(tmp_path)) == images


@pytest.mark.parametrize(("make", "line"), REFUSED.values(), ids=REFUSED)
def test_is_refused_in_one_line(make, line, tmp_path, request):
    if "locked" in request.node.name and os.geteuid() == 0:
        pytest.skip("nothing is locked for root")
    root = make(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=line) as error:
        count(root)
    assert len(str(error.value).splitlines()) == 1


def test_a_zip_bomb_that_lies_is_not_inflated(tmp_path):
    change = last_entry(24, "<I", 10)  # bad.png: declares ten bytes
    files = {"good.png": GOOD, "bad.png": bytes(50_000_000)}
    root = Path(write_zip(tmp_path / "set.zip", files, zipfile.ZIP_DEFLATED))
    root.write_bytes(change(root.read_bytes()))
    data = Folder(str(root))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"'bad.png' in"):
        next(data.reference("train"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_nothing_is_unpacked(tmp_path):
    root = zipped("a.png", "b/c.png")(tmp_path)
    count(root)
    assert os.listdir(tmp_path) == ["set.zip"]
