"""Denoises a photograph with Deep Decoder, a network that has seen no other image (Heckel and Hand, ICLR 2019).

    python -m examples.deep_decoder
    python -m examples.deep_decoder --norm conv --noise 40 --image china.jpg

The network starts from a fixed random volume and is fitted to the noisy image alone. It has fewer parameters than the
image has numbers and can follow the image, but hardly the noise. The norm between its layers is exchanged:

- channel: the paper's, of each channel over the pixels of the image; `Instance` here;
- batch: `Batch`. On a single image it is the channel norm in training; in evaluation mode it has running statistics;
- conv: `Conv`. All kernels are 1×1, so ConvNorm makes each row of a layer's matrix a unit vector, with a gain, and the
  convolution a bias: as many parameters as the channel norm has, but nothing depends on the activations;
- none: no norm, with biases.

The table says PSNR against the clean image in dB. The photographs come with scikit-learn.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn import functional as F

from gan.networks import DeepDecoder
from gan.norms import Batch, Conv, Instance, Norm, normalize

NORMS: dict[str, list[Norm]] = {"channel": [Instance()], "batch": [Batch()], "conv": [Conv()], "none": []}
SIZE = 256
EVERY = 100  # iterations between two looks


def photograph(name: str) -> Tensor:
    """Return the crop (1, 3, 256, 256) in the middle of a photograph, in [0, 1]."""
    pixels = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)
    top, left = (pixels.shape[1] - SIZE) // 2, (pixels.shape[2] - SIZE) // 2
    return pixels[None, :, top : top + SIZE, left : left + SIZE].float() / 255


def with_noise(image: Tensor, deviation: float, seed: int) -> Tensor:
    """Return the image with Gaussian noise, clipped to [0, 1]; the deviation counts in steps of 8 bits."""
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    return (image + deviation / 255 * noise).clamp(0, 1)


def psnr(image: Tensor, clean: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB of images in [0, 1]."""
    return float(-10 * F.mse_loss(image, clean).log10())


def decoder(norm: str, width: int, seed: int) -> tuple[DeepDecoder, Tensor]:
    """Return the network with its norm, and the volume that it starts from."""
    torch.manual_seed(seed)
    network = DeepDecoder(SIZE, width=width, bias=norm in ("conv", "none"))
    volume = 0.1 * torch.rand(1, *network.volume)
    network.project = torch.nn.Identity()  # of generators only
    return normalize(network, NORMS[norm]), volume


def fit(
    network: DeepDecoder, volume: Tensor, noisy: Tensor, clean: Tensor, iterations: int
) -> tuple[Tensor, list[float]]:
    """Fit the network to the noisy image; return what it makes of it, and its PSNR every `EVERY` iterations."""
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    curve = []
    for iteration in range(1, iterations + 1):
        optimizer.zero_grad()
        output = (network.decode(volume) + 1) / 2
        F.mse_loss(output, noisy).backward()
        optimizer.step()
        if iteration % EVERY == 0 or iteration == iterations:
            with torch.no_grad():
                output = (network.decode(volume) + 1) / 2
            curve.append(psnr(output, clean))
            print(f"{iteration:6} {curve[-1]:.2f} dB", flush=True)
    return output, curve


def compare(norms: list[str], options: argparse.Namespace) -> dict[str, Tensor]:
    """Fit a network for each norm, print the table, and return the images by title."""
    clean = photograph(options.image)
    noisy = with_noise(clean, options.noise, options.seed).to(options.device)
    clean = clean.to(options.device)
    images = {"clean": clean, f"noisy: {psnr(noisy, clean):.2f} dB": noisy}
    rows = []
    for norm in norms:
        print(f"norm: {norm}", flush=True)
        network, volume = decoder(norm, options.width, options.seed)
        network, volume = network.to(options.device), volume.to(options.device)
        count, start = sum(parameter.numel() for parameter in network.parameters()), time.perf_counter()
        output, curve = fit(network, volume, noisy, clean, options.iterations)
        seconds = time.perf_counter() - start
        with torch.no_grad():
            evaluated = psnr((network.eval().decode(volume) + 1) / 2, clean)
        rows.append((norm, count, curve[-1], max(curve), evaluated, seconds))
        images[f"{norm}: {curve[-1]:.2f} dB"] = output
        (options.output / f"{norm}.json").write_text(json.dumps(curve))
    print("norm     parameters   last   best   evaluation mode   seconds")
    for norm, count, last, best, evaluated, seconds in rows:
        print(f"{norm:8} {count:10,} {last:6.2f} {best:6.2f} {evaluated:17.2f} {seconds:9.0f}")
    return images


def draw(images: dict[str, Tensor], path: Path) -> None:
    """Save the images side by side, each under its title."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(images), figsize=(2.6 * len(images), 2.9), layout="constrained")
    for axis, (title, image) in zip(axes, images.items(), strict=True):
        axis.imshow(image[0].detach().cpu().permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    figure.savefig(path, dpi=110)
    print(path)


def main() -> None:
    """Read the options, compare and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--norm", choices=NORMS, nargs="+", default=list(NORMS))
    parser.add_argument("--image", choices=["china.jpg", "flower.jpg"], default="flower.jpg")
    parser.add_argument("--noise", type=float, default=25.0, help="standard deviation, of 255")
    parser.add_argument("--width", type=int, default=64, help="k, the channels of every layer")
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda: seconds instead of an hour")
    parser.add_argument("--output", type=Path, default=Path("."), help="folder of deep_decoder.png and the curves")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    draw(compare(options.norm, options), options.output / "deep_decoder.png")


if __name__ == "__main__":
    main()
