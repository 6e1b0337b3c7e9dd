"""Several penalties as one."""

from collections.abc import Hashable, Iterable

from torch import Tensor, nn

from gan.losses.penalty import Generation, Penalty, Update


class Penalties(nn.ModuleList):
    """The sum of some penalties, with the methods of `Penalty`. Each gets its own part of the random numbers."""

    def __init__(self, penalties: Iterable[Penalty]) -> None:
        super().__init__(penalties)

    @property
    def differentiates_gradient(self) -> bool:
        """Whether one of them differentiates the discriminator's gradient."""
        return any(penalty.differentiates_gradient for penalty in self._each())

    def numbers(self, latent_dim: int) -> int:
        """Return how many random numbers all of them need for an image."""
        return sum(penalty.numbers(latent_dim) for penalty in self._each())

    def begin(self, seen: int) -> None:
        """Tell all of them how many real images the discriminator has been shown."""
        for penalty in self._each():
            penalty.begin(seen)

    def phase(self, number: int, seen: int) -> Hashable:
        """Return the phases of all of them."""
        return tuple(penalty.phase(number, seen) for penalty in self._each())

    def discriminator(self, update: Update) -> Tensor | None:
        """Return the sum of their terms of the discriminator's loss; None if none has one in this update."""
        parts = self._with_numbers(update.numbers, update.latents)
        return _sum(penalty.discriminator(update._replace(numbers=own)) for penalty, own in parts)

    def generator(self, generation: Generation) -> Tensor | None:
        """Return the sum of their terms of the generator's loss; None if none has one."""
        parts = self._with_numbers(generation.numbers, generation.latents)
        return _sum(penalty.generator(generation._replace(numbers=own)) for penalty, own in parts)

    def observe(self, real: Tensor, fake: Tensor) -> None:
        """Give all of them the mean logits of an update of the discriminator."""
        for penalty in self._each():
            penalty.observe(real, fake)

    def _each(self) -> list[Penalty]:
        return [penalty for penalty in self if isinstance(penalty, Penalty)]

    def _with_numbers(self, numbers: Tensor, latents: Tensor) -> list[tuple[Penalty, Tensor]]:
        penalties = self._each()
        sizes = [penalty.numbers(latents.shape[1]) for penalty in penalties]
        return list(zip(penalties, numbers.split(sizes, dim=1), strict=True)) if penalties else []


def _sum(terms: Iterable[Tensor | None]) -> Tensor | None:
    present = [term for term in terms if term is not None]
    return sum(present[1:], start=present[0]) if present else None
