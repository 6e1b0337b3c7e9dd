"""Consistency regularization: the discriminator is to say the same of an image and of a changed one."""

from collections.abc import Hashable

from torch import Tensor

from gan.augment.pixels import mirrored_back, shifted, take, whole_number
from gan.losses.penalty import Generation, Judged, Penalty, Update, check_weight
from gan.randomness import as_normal


class Consistency(Penalty):
    """CR: weight · E[(D(T(x)) - D(x))²] over real images (Zhang et al., ICLR 2020, equation 2).

    T mirrors with probability one half and moves by up to 1/8 of the size in whole pixels; what moves in is reflected.

    Args:
        weight: How strong it is.

    Raises:
        ValueError: if the weight is not positive.
    """

    def __init__(self, weight: float = 10.0) -> None:
        super().__init__()
        check_weight(self, weight=weight)
        self.weight = weight

    def numbers(self, latent_dim: int) -> int:
        return 3

    def phase(self, number: int, seen: int) -> Hashable:
        return None

    def discriminator(self, update: Update) -> Tensor | None:
        return self.weight * _inconsistency(update, update.real, update.numbers)


class BalancedConsistency(Penalty):
    """bCR: consistency of real and of generated images (Zhao et al., AAAI 2021, section 3.1); T as in `Consistency`.

    Args:
        real_weight: How strong the term of the real images is.
        fake_weight: How strong the term of the generated images is.

    Raises:
        ValueError: if a weight is not positive.
    """

    def __init__(self, real_weight: float = 10.0, fake_weight: float = 10.0) -> None:
        super().__init__()
        check_weight(self, real_weight=real_weight, fake_weight=fake_weight)
        self.real_weight, self.fake_weight = real_weight, fake_weight

    def numbers(self, latent_dim: int) -> int:
        return 6

    def phase(self, number: int, seen: int) -> Hashable:
        return None

    def discriminator(self, update: Update) -> Tensor | None:
        real = _inconsistency(update, update.real, update.numbers[:, :3])
        fake = _inconsistency(update, update.fake, update.numbers[:, 3:])
        return self.real_weight * real + self.fake_weight * fake


class LatentConsistency(Penalty):
    """zCR (Zhao et al., AAAI 2021, section 3.2), for z and z + d with d normal.

    The discriminator's loss gets weight · E[(D(G(z)) - D(G(z + d)))²], the generator's minus diversity · E[(G(z) -
    G(z + d))²], the mean over images and pixels: images of different latent vectors are to differ.

    Args:
        weight: How strong the discriminator's term is.
        diversity: How strong the generator's term is.
        std: Standard deviation of d.

    Raises:
        ValueError: if an argument is not positive.
    """

    def __init__(self, weight: float = 20.0, diversity: float = 0.5, std: float = 0.05) -> None:
        super().__init__()
        check_weight(self, weight=weight, diversity=diversity, std=std)
        self.weight, self.diversity, self.std = weight, diversity, std

    def numbers(self, latent_dim: int) -> int:
        return latent_dim

    def phase(self, number: int, seen: int) -> Hashable:
        return None

    def discriminator(self, update: Update) -> Tensor | None:
        images = update.generate(self._moved(update.latents, update.numbers), update.fake.labels)
        return self.weight * (update.judge(images, update.fake) - update.fake.logits).square().mean()

    def generator(self, generation: Generation) -> Tensor | None:
        images = generation.generate(self._moved(generation.latents, generation.numbers), generation.labels)
        return -self.diversity * (images.float() - generation.images.float()).square().mean()

    def _moved(self, latents: Tensor, numbers: Tensor) -> Tensor:
        return latents + self.std * as_normal(numbers).to(latents.dtype)


def _inconsistency(update: Update, judged: Judged, numbers: Tensor) -> Tensor:
    changed = mirrored_and_moved(judged.images, *numbers.unbind(1))
    return (update.judge(changed, judged) - judged.logits).square().mean()


def mirrored_and_moved(images: Tensor, mirror: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Return images (N, C, H, W), changed as numbers (N,) in [0, 1) say."""
    height, width = images.shape[2:]
    rows, columns = (_moved(size, each) for size, each in ((height, down), (width, right)))
    columns = (width - 1 - columns).where((mirror < 0.5)[:, None], columns)
    return take(images, rows, columns)


def _moved(size: int, draws: Tensor) -> Tensor:
    most = size // 8
    return mirrored_back(shifted(size, whole_number(draws, 2 * most + 1) - most), size)
