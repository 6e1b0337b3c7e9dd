"""Image files for the tests, made on the spot."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encode(image, file_format="PNG", **options):
    """The bytes of a file that holds an image or an array of pixels."""
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, file_format, **options)
    return stream.getvalue()


def write_folder(root, files):
    for name, content in files.items():
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return str(root)


def write_zip(root, files, compression=zipfile.ZIP_STORED):
    """Files by name; a name may be a ZipInfo."""
    with zipfile.ZipFile(root, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return str(root)
