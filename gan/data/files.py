"""Image files below a folder or inside a zip: a listing and a way to read one, nothing written anywhere."""

import os
import re
import stat
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from gan.data.decode import SUFFIXES
from gan.runs.folder import is_run

MAX_FILE_BYTES = 2**28
_ABSOLUTE = re.compile(r"([A-Za-z]:)?/")


class ImageFiles(ABC):
    """The image files below a root, by their names relative to it.

    Hidden files and folders and what is no image by its suffix are passed over.

    Attributes:
        root: The folder or zip, as it was given.
        sizes: Bytes of each file by name, sorted by name: the order is the same on every machine, and for a folder and
            its zip.

    Raises:
        FileNotFoundError: If there is no such root.
        ValueError: If it holds no images, or files that are not safe to read.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.sizes = dict(sorted(self._list()))
        if not self.sizes:
            raise ValueError(f"root {root!r} holds no images ({', '.join(SUFFIXES)})")
        for name, size in self.sizes.items():
            if size > MAX_FILE_BYTES:
                raise ValueError(
                    f"{name!r} in {root!r} is too large: {size:,} bytes, at most {MAX_FILE_BYTES:,} are read"
                )

    def read(self, name: str) -> bytes:
        """Return the content of one file.

        Raises:
            ValueError: If it cannot be read; the message is the reason and names no file.
        """
        try:
            return self._read(name)
        except Exception as error:  # zipfile raises OSError, BadZipFile, zlib.error, NotImplementedError, ...
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise ValueError(f"cannot be read: {reason}") from None

    @abstractmethod
    def _list(self) -> Iterator[tuple[str, int]]:
        """Yield names, with / between their parts, and sizes in bytes."""

    @abstractmethod
    def _read(self, name: str) -> bytes: ...


def open_files(root: str) -> ImageFiles:
    """Return the image files of a folder or a zip.

    Raises:
        FileNotFoundError: If there is no such root.
        ValueError: If it is neither, holds no images, or files that are not safe to read.
    """
    if os.path.isdir(root):
        return FolderFiles(root)
    if not os.path.exists(root):
        raise FileNotFoundError(f"root {root!r} does not exist; a folder or a zip of images is needed")
    if not os.path.isfile(root):  # reading a pipe would wait for ever
        raise ValueError(f"root {root!r} is neither a folder nor a file")
    return ZipFiles(root)


class FolderFiles(ImageFiles):
    """The image files below a folder. Symbolic links are followed, but no folder is entered twice, nor a run's."""

    def _list(self) -> Iterator[tuple[str, int]]:
        seen = set()
        for folder, subfolders, files in os.walk(self.root, followlinks=True, onerror=self._refuse):
            inner_run = folder != self.root and is_run(Path(folder))
            if (real := os.path.realpath(folder)) in seen or inner_run:
                subfolders.clear()  # what a run draws must not become one of its images
                continue
            seen.add(real)
            subfolders.sort()  # of two ways to one folder, always the same is taken
            for file in files:
                path = Path(folder, file)
                name = path.relative_to(self.root).as_posix()
                if _is_image(name):
                    yield name, self._size(path)

    def _size(self, path: Path) -> int:
        try:
            status = path.stat()
        except OSError as error:
            self._refuse(error)
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            raise ValueError(f"'{path}' is no regular file")
        return status.st_size

    def _refuse(self, error: OSError) -> NoReturn:
        raise ValueError(f"{error.filename!r} cannot be read: {error.strerror}") from None

    def _read(self, name: str) -> bytes:
        return Path(self.root, name).read_bytes()


class ZipFiles(ImageFiles):
    """The image files inside a zip. They are decoded from memory, never unpacked to disk."""

    def __init__(self, root: str) -> None:
        self._archive: zipfile.ZipFile | None = None
        self._process = -1
        super().__init__(root)

    def _list(self) -> Iterator[tuple[str, int]]:
        for entry in self._open().infolist():
            if _is_image(entry.filename):
                self._check(entry)
                yield entry.filename, entry.file_size

    def _check(self, entry: zipfile.ZipInfo) -> None:
        name = entry.filename.replace("\\", "/")
        if _ABSOLUTE.match(name) or ".." in name.split("/"):
            raise ValueError(f"{entry.filename!r} in {self.root!r} points outside of the archive")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise ValueError(f"{entry.filename!r} in {self.root!r} is a symbolic link; images are needed")
        if entry.flag_bits & 1:
            raise ValueError(f"{entry.filename!r} in {self.root!r} is encrypted; make the zip without a password")

    def _read(self, name: str) -> bytes:
        archive = self._open()
        size = archive.getinfo(name).file_size
        with archive.open(name) as file:
            content = file.read(size + 1)  # bounded: read() alone would inflate whatever the entry really holds
        if len(content) != size:
            raise ValueError(f"it holds {len(content)} bytes, its entry says {size}")
        return content

    def _open(self) -> zipfile.ZipFile:
        # A worker process opens the file again: processes that share one would move each other's position in it.
        if self._archive is None or self._process != os.getpid():
            try:
                self._archive = zipfile.ZipFile(self.root)
            except OSError as error:
                raise ValueError(f"root {self.root!r} cannot be read: {error.strerror}") from None
            except Exception as error:  # zipfile raises BadZipFile, NotImplementedError, UnicodeDecodeError, ...
                raise ValueError(f"root {self.root!r} is neither a folder nor a whole zip: {error}") from None
            self._process = os.getpid()
        return self._archive

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_archive": None}


def _is_image(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    hidden = "__MACOSX" in parts or any(part.startswith(".") and part not in (".", "..") for part in parts)
    return not hidden and parts[-1].lower().endswith(SUFFIXES)
