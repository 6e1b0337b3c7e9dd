"""Time and memory of `gan data check` and `gan data convert` on photographs made for it: `python -m benchmarks.data`.

The photographs are noise with the spectrum of natural images (amplitude 1/f), in colours that vary slowly: half JPEG of
quality 90, half PNG, in folders of ten classes. Memory is the proportional set size (PSS) of all processes of a command
together, looked at four times a second; so this needs Linux.
"""

import argparse
import io
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

SHORT, LONG = 256, 384  # sides of the photographs, in pixels
CLASSES = 10
FIELDS, FIELD_SIZE = 24, 1024
LOAD = (
    "from gan.data import Folder; print(len(list(Folder({root!r}, {size}, num_workers={workers}).reference('train'))))"
)


def field(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return noise of mean 0 and variance 1 whose amplitude falls with the frequency: (FIELD_SIZE, FIELD_SIZE)."""
    across = np.fft.rfftfreq(FIELD_SIZE)[None]
    frequency = np.hypot(np.fft.fftfreq(FIELD_SIZE)[:, None], across)
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((FIELD_SIZE, FIELD_SIZE))) / frequency
    noise = np.fft.irfft2(spectrum, (FIELD_SIZE, FIELD_SIZE))
    return (noise / noise.std()).astype(np.float32)


def photograph(fields: NDArray[np.float32], rng: np.random.Generator) -> Image.Image:
    """Return a picture of brightness and two colours, each a part of a field: uint8, landscape or portrait."""
    width, height = rng.permutation([SHORT, int(rng.integers(SHORT, LONG + 1))])
    parts = []
    for number in rng.choice(len(fields), 3, replace=False):
        top, left = rng.integers(0, FIELD_SIZE - LONG, 2)
        parts.append(fields[number, top : top + height, left : left + width])
    light, warm, green = parts
    channels = light + 0.4 * warm, light + 0.3 * green, light - 0.4 * warm
    pixels = np.stack(channels, 2) * rng.uniform(35, 60) + rng.uniform(90, 160)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_photographs(root: Path, count: int) -> int:
    """Write the photographs; return their bytes."""
    rng = np.random.default_rng(0)
    fields = np.stack([field(rng) for _ in range(FIELDS)])
    written = 0
    for number in range(count):
        file = io.BytesIO()
        kind, settings = ("JPEG", {"quality": 90}) if number % 2 else ("PNG", {"compress_level": 3})
        photograph(fields, rng).save(file, kind, **settings)
        path = root / f"class_{number // 2 % CLASSES}" / f"{number:06d}.{'jpg' if number % 2 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.getvalue())
        written += len(file.getvalue())
    return written


def processes_of(root: int) -> list[int]:
    """Return a process and all that it has started."""
    try:
        text = Path(f"/proc/{root}/task/{root}/children").read_text()
    except OSError:  # it has ended
        return []
    return [root, *(found for child in text.split() for found in processes_of(int(child)))]


def memory(process: int) -> int:
    """Return the proportional set size of a process, in bytes; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def measure(*command: str) -> tuple[float, float]:
    """Run a command; return its seconds and the most MiB that its processes held together."""
    started, most = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as running:
        while running.poll() is None:
            most = max(most, sum(map(memory, processes_of(running.pid))))
            time.sleep(0.25)
        seconds = time.perf_counter() - started
        if running.returncode:
            raise RuntimeError(f"{' '.join(command)}: {running.stderr.read().decode() if running.stderr else ''}")
    return seconds, most / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=64, help="side of the images that are made of them")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of processes to try")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos, converted = Path(folder, "photos"), Path(folder, "small.zip")
        size = write_photographs(photos, options.images)
        print(f"Python {platform.python_version()}, Pillow {PIL.__version__}, {os.cpu_count()} cores, load ", end="")
        print(f"{os.getloadavg()[0]:.1f}; {options.images:,} photographs, {size / 2**20:,.0f} MiB\n")
        print("| what | processes | seconds | images/s | peak memory (MiB) |\n| --- | --- | --- | --- | --- |")

        def row(what: str, processes: int, *command: str) -> None:
            seconds, mebibytes = measure(sys.executable, *command)
            speed = options.images / seconds
            print(f"| {what} | {processes} | {seconds:.1f} | {speed:.0f} | {mebibytes:.0f} |", flush=True)

        common = "--size", str(options.size), "--workers"
        for workers in options.workers:
            sheet = "--sheet", f"{folder}/sheet.png"
            row("`gan data check`", workers, "-m", "gan", "data", "check", str(photos), *sheet, *common, str(workers))
        for workers in options.workers:
            converted.unlink(missing_ok=True)
            command = "-m", "gan", "data", "convert", str(photos), str(converted), *common, str(workers)
            row("`gan data convert`", workers, *command)
        for name, root, workers in ("the photographs", photos, max(options.workers)), ("the zip", converted, 0):
            load = LOAD.format(root=str(root), size=options.size, workers=workers)
            row(f"one pass of a training over {name}", max(1, workers), "-c", load)


if __name__ == "__main__":
    main()
