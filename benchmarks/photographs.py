"""A set of 300 small photographs, for trying what helps with few images, and the picture docs/few_images.webp.

    pip install scikit-image
    python -m benchmarks.photographs crops photographs
    python -m benchmarks.photographs picture runs/plain/version_0 runs/augmented/version_0 --steps 1000 4000

The set: crops of eight photographs that scikit-learn (china, flower), scikit-image (astronaut, chelsea, coffee, rocket,
motorcycle) and Matplotlib (grace_hopper) ship: squares of 96 to 112 pixels at random places, as many of each,
scaled to 64 pixels. `train` has 300 from the left three quarters of the photographs, `test` 96 from the right quarter:
the two share no pixel.

The picture: the sample grids of both runs after some steps, beside training images.
"""

import argparse
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

FILE = Path(__file__).parents[1] / "docs" / "few_images.webp"
SKIMAGE = "astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png"
PHOTOGRAPHS = {
    "sklearn": [f"datasets/images/{name}.jpg" for name in ("china", "flower")],
    "matplotlib": ["mpl-data/sample_data/grace_hopper.jpg"],
    "skimage": [f"data/{name}" for name in SKIMAGE],
}
SIZE, SIDES = 64, (96, 112)
TRAIN, TEST = 300, 96
ROWS, GAP = 4, 2  # rows of a grid that are shown, pixels between images


def photographs() -> Iterator[Image.Image]:
    """Yield the photographs.

    Raises:
        OSError: if a package that ships some is not installed.
    """
    for package, files in PHOTOGRAPHS.items():
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise OSError(f"{package} is not installed: pip install scikit-image")
        for file in files:
            yield Image.open(Path(spec.submodule_search_locations[0], file)).convert("RGB")


def write_crops(root: Path) -> None:
    """Write the set."""
    random, photos = np.random.default_rng(0), list(photographs())
    for split, count in ("train", TRAIN), ("test", TEST):
        (root / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            photo = photos[number % len(photos)]
            border = photo.width * 3 // 4
            left, right = (0, border) if split == "train" else (border, photo.width)
            side = int(random.integers(SIDES[0], SIDES[1], endpoint=True))
            x, y = (int(random.integers(low, high - side + 1)) for low, high in ((left, right), (0, photo.height)))
            crop = photo.crop((x, y, x + side, y + side)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
            crop.save(root / split / f"{number:03}.png")


def draw(runs: list[Path], steps: list[int]) -> None:
    """Draw the sample grids of the runs after some steps, a column a run, a row a step; first training images."""
    titles = ["training images", *(run.parent.name for run in runs)]
    figure, axes = plt.subplots(len(steps), len(titles), figsize=(13, 2.4 * len(steps)), squeeze=False)
    for row, step in zip(axes, steps, strict=True):
        grids = [runs[0] / "samples" / "real.png", *(run / "samples" / f"step_{step:08d}.png" for run in runs)]
        for axis, grid, title in zip(row, grids, titles, strict=True):
            axis.imshow(np.asarray(Image.open(grid))[: ROWS * (SIZE + GAP) + GAP])
            axis.set(xticks=[], yticks=[], title=title if step == steps[0] else None)
        row[1].set_ylabel(f"step {step:,}")
    for axis in axes[1:, 0]:
        axis.remove()
    figure.subplots_adjust(wspace=0.08, hspace=0.06)
    figure.savefig(FILE, dpi=100, bbox_inches="tight", pil_kwargs={"quality": 80})
    print(FILE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    crops = commands.add_parser("crops", help="write the set")
    crops.add_argument("root", type=Path)
    picture = commands.add_parser("picture", help="draw the picture")
    picture.add_argument("runs", type=Path, nargs="+")
    picture.add_argument("--steps", type=int, nargs="+", required=True)
    options = parser.parse_args()
    if options.command == "crops":
        write_crops(options.root)
    else:
        draw(options.runs, options.steps)


if __name__ == "__main__":
    main()
