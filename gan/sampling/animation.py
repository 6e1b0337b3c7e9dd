"""Frames as a film: GIF, WebP or MP4."""

import os
import uuid
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from gan.runs.files import write_atomically

FILMS = ".gif", ".webp", ".mp4"


def check_film(path: Path) -> None:
    """Check that a film of this name can be made.

    Raises:
        ValueError: if it ends in another way, or MP4 is asked for and imageio-ffmpeg is not installed.
    """
    if path.suffix.lower() not in FILMS:
        raise ValueError(f"a walk is written to a {', '.join(FILMS)} file, got {path}")
    if path.suffix.lower() == ".mp4" and find_spec("imageio_ffmpeg") is None:
        raise ValueError("MP4 needs imageio-ffmpeg (pip install imageio-ffmpeg); .gif and .webp need nothing")


def write_film(path: Path, frames: Tensor, fps: int) -> None:
    """Write a film that repeats for ever (an MP4 plays once). The file is whole, or not there.

    Args:
        path: Ends in .gif, .webp or .mp4.
        frames: uint8 (N, 1 or 3, H, W).
        fps: Frames a second.
    """
    if path.suffix.lower() == ".mp4":
        _write_mp4(path, frames, fps)
        return
    from PIL import Image

    first, *rest = (Image.fromarray(frame.permute(1, 2, 0).squeeze(2).numpy()) for frame in frames)
    settings: dict[str, Any] = {"save_all": True, "append_images": rest, "duration": round(1000 / fps), "loop": 0}
    if path.suffix.lower() == ".webp":
        settings |= {"quality": 90, "method": 4}
    kind = path.suffix.lower().removeprefix(".")
    write_atomically(path, lambda file: first.save(file, kind, **settings))


def _write_mp4(path: Path, frames: Tensor, fps: int) -> None:
    import imageio_ffmpeg

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.tmp.mp4")
    height, width = (size + size % 2 for size in frames.shape[2:])  # the codec takes even sizes only
    even = frames.new_zeros(len(frames), 3, height, width)
    even[:, :, : frames.shape[2], : frames.shape[3]] = frames
    try:
        writer = imageio_ffmpeg.write_frames(
            str(temporary), (width, height), fps=fps, quality=8, macro_block_size=2, ffmpeg_log_level="error"
        )
        writer.send(None)
        for frame in even:
            writer.send(frame.permute(1, 2, 0).contiguous().numpy())
        writer.close()
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()
