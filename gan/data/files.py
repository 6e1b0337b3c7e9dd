"""Image files below a folder or inside a zip: a listing and a way to read one, nothing written anywhere."""

import os
import re
import stat
import zipfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from gan.data.decode import HEIF_SUFFIXES, START_BYTES, DamagedError, looks_like_image, suffixes
from gan.data.labels import LABELS_FILE
from gan.data.layout import parts_of
from gan.data.words import some
from gan.runs.folder import is_run

MAX_FILE_BYTES = 2**28
_ABSOLUTE = re.compile(r"([A-Za-z]:)?/")


class ImageFiles(ABC):
    """The image files below a root, by their names relative to it.

    An image is told by its suffix; a file without one by its first bytes. Hidden files and folders are passed over.

    Attributes:
        root: The folder or zip, as it was given.
        sizes: Bytes of each image file by name, sorted by name: the order is the same on every machine, and for a
            folder and its zip.
        label_files: Names of the files called `dataset.json`.
        passed_over: The number of files that are no images, by suffix, the most frequent first.

    Raises:
        FileNotFoundError: If there is no such root.
        ValueError: If it holds no images, or files that are not safe to read.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.label_files: list[str] = []
        images: list[str] = []
        others: Counter[str] = Counter()
        for name in self._names():
            if _is_hidden(name):
                continue
            last = parts_of(name)[-1]
            suffix = last[last.rindex(".") :].lower() if "." in last else ""
            if last == LABELS_FILE:
                self.label_files.append(name)
            elif suffix in suffixes() or (not suffix and self._is_image(name)):
                images.append(name)
            else:
                others[suffix or "no suffix"] += 1
        self.passed_over = dict(sorted(others.items(), key=lambda item: (-item[1], item[0])))
        self.sizes = {name: self._checked_size(name) for name in sorted(images)}
        self.label_files = sorted(set(self.label_files))
        if not self.sizes:
            raise ValueError(f"root {root!r} holds no images ({', '.join(suffixes())}){self._what_else()}")

    def _what_else(self) -> str:
        if not self.passed_over:
            return ""
        return f"; passed over: {count_by_suffix(self.passed_over)}"

    def _is_image(self, name: str) -> bool:
        try:
            return looks_like_image(self._read_start(name))
        except Exception:  # as for any file that is no image: whether it can be read does not matter
            return False

    def _checked_size(self, name: str) -> int:
        if (size := self._size(name)) > MAX_FILE_BYTES:
            raise ValueError(
                f"{name!r} in {self.root!r} is too large: {size:,} bytes, at most {MAX_FILE_BYTES:,} are read"
            )
        return size

    def read(self, name: str) -> bytes:
        """Return the content of one file.

        Raises:
            ValueError: If it cannot be read, a `DamagedError` if that is the file's own fault; the message is the
                reason and names no file.
        """
        try:
            return self._read(name)
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror or error}") from None
        except Exception as error:  # zipfile raises BadZipFile, zlib.error, NotImplementedError, ...
            raise DamagedError(f"cannot be read: {error}") from None

    @abstractmethod
    def _names(self) -> Iterator[str]:
        """Yield the names of all files, with / between their parts."""

    @abstractmethod
    def _size(self, name: str) -> int:
        """Return the size of a file in bytes, or raise a ValueError if it is not safe to read."""

    @abstractmethod
    def _read(self, name: str) -> bytes: ...

    @abstractmethod
    def _read_start(self, name: str) -> bytes:
        """Return the first bytes of a file."""


def count_by_suffix(numbers: Mapping[str, int]) -> str:
    """Return how many files of each suffix there are, for a message."""
    text = some(f"{number:,} {suffix}" for suffix, number in numbers.items())
    if any(suffix in HEIF_SUFFIXES for suffix in numbers):
        text += " (pip install pillow-heif reads HEIC)"
    return text


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

    def _names(self) -> Iterator[str]:
        seen = set()
        for folder, subfolders, files in os.walk(self.root, followlinks=True, onerror=self._refuse):
            inner_run = folder != self.root and is_run(Path(folder))
            if (real := os.path.realpath(folder)) in seen or inner_run:
                subfolders.clear()  # what a run draws must not become one of its images
                continue
            seen.add(real)
            subfolders.sort()  # of two ways to one folder, always the same is taken
            for file in files:
                yield Path(folder, file).relative_to(self.root).as_posix()

    def _size(self, name: str) -> int:
        path = Path(self.root, name)
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

    def _read_start(self, name: str) -> bytes:
        path = Path(self.root, name)
        if not stat.S_ISREG(path.stat().st_mode):
            return b""
        with open(path, "rb") as file:
            return file.read(START_BYTES)


class ZipFiles(ImageFiles):
    """The image files inside a zip. They are decoded from memory, never unpacked to disk."""

    def __init__(self, root: str) -> None:
        self._archive: zipfile.ZipFile | None = None
        self._process = -1
        super().__init__(root)

    def _names(self) -> Iterator[str]:
        return (entry.filename for entry in self._open().infolist() if not entry.is_dir())

    def _size(self, name: str) -> int:
        entry = self._open().getinfo(name)
        self._check(entry)
        return entry.file_size

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
            raise zipfile.BadZipFile(f"it holds {len(content)} bytes, its entry says {size}")
        return content

    def _read_start(self, name: str) -> bytes:
        with self._open().open(name) as file:
            return file.read(START_BYTES)

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


def _is_hidden(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return "__MACOSX" in parts or any(part.startswith(".") and part not in (".", "..") for part in parts)
