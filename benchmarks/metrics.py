"""Time our FID beside torch-fidelity's, on the same images and network: `python -m benchmarks.metrics --images 10000`.

Both see the same two sets of random images, extract features of both, and compute FID and inception score. Without
`--weights`, Inception has random weights: its speed is the same. On a shared machine, compare images a CPU second.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity import calculate_metrics
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from gan.callbacks.evaluation_plan import default_plan
from gan.metrics import BFloat16, FeatureNetwork, Frechet, InceptionScore, InceptionV3, evaluate


class Images(Dataset[Tensor]):
    """Images in memory, as torch-fidelity takes them."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def random_images(n: int, seed: int) -> Tensor:
    """Return smooth random images: neighbouring pixels of real ones are alike."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 8, 8, generator=generator)
    return (255 * torch.nn.functional.interpolate(coarse, (32, 32), mode="bilinear")).byte()


def random_weights(folder: str) -> str:
    """Write a file of random weights."""

    class Random(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, *arguments: object, **keywords: object) -> None:
            pass

    empty, path = Path(folder, "empty.pth"), Path(folder, "random.pth")
    torch.save({}, empty)
    torch.manual_seed(0)
    network = Random("random", ["2048"], str(empty)).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    network(random_images(16, seed=2))
    torch.save(network.state_dict(), path)
    return str(path)


def ours(network: FeatureNetwork, fake: Tensor, real: Tensor, device: torch.device) -> float:
    batch_size = default_plan(device.type).batch_size
    scores = [Frechet(), InceptionScore()]
    result = evaluate(fake, real, network, scores, batch_size=batch_size, device=device)  # tensors: no cache
    return next(iter(result.values.values()))


def theirs(weights: str, fake: Tensor, real: Tensor, device: torch.device) -> float:
    values = calculate_metrics(
        input1=Images(fake),
        input2=Images(real),
        feature_extractor_weights_path=weights,
        fid=True,
        isc=True,
        cuda=device.type == "cuda",
        cache=False,
        verbose=False,
    )
    return float(values["frechet_inception_distance"])


def measure(name: str, compute: Callable[[], float], images: int) -> None:
    started, started_cpu = time.perf_counter(), time.process_time()
    fid = compute()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    speed = f"{images / seconds:8.1f} images/s {images / cpu_seconds:8.1f} a CPU second"
    print(f"{name:16} {seconds:8.1f} s {speed}   FID {fid:.6f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000, help="of each set")
    parser.add_argument("--weights", help="torch-fidelity's Inception; random without")
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device, n = options.device, options.images
    fake, real = random_images(n, seed=0), random_images(n, seed=1) // 2 + 64
    cpu = f"{torch.get_num_threads()} threads of {platform.machine()} with {torch.backends.cpu.get_cpu_capability()}"
    hardware = torch.cuda.get_device_name() if device.type == "cuda" else cpu
    print(f"torch {torch.__version__}, {hardware}, load {os.getloadavg()[0]:.1f}, 2 x {n} images", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        weights = options.weights or random_weights(folder)
        measure("torch-fidelity", lambda: theirs(weights, fake, real, device), 2 * n)
        measure("ours", lambda: ours(InceptionV3(weights), fake, real, device), 2 * n)
        measure("ours, bfloat16", lambda: ours(BFloat16(InceptionV3(weights)), fake, real, device), 2 * n)


if __name__ == "__main__":
    main()
