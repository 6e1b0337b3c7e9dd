"""Colours as vectors, changed by matrices: for any number of channels."""

import torch
from torch import Tensor


class Colors:
    """A composed map c -> A c + b of colours, for each of N images.

    Args:
        count: N.
        channels: Length of a colour.
        like: A tensor of the data type, on the device.
    """

    def __init__(self, count: int, channels: int, like: Tensor) -> None:
        self.identity = torch.eye(channels, dtype=like.dtype, device=like.device)
        self.gray = torch.full_like(self.identity, 1 / channels)  # the projection on the axis of gray colours
        self.matrix = self.identity.expand(count, channels, channels)
        self.offset = like.new_zeros(count, channels)

    def brighten(self, by: Tensor) -> None:
        """Add a number (N,) to every channel."""
        self.offset = self.offset + by[:, None]

    def scale(self, factor: Tensor) -> None:
        """Multiply every channel by a number (N,): the contrast about middle gray, 0."""
        self.matrix = factor[:, None, None] * self.matrix
        self.offset = factor[:, None] * self.offset

    def flip_luma(self, flipped: Tensor) -> None:
        """Invert the brightness, but no hue, where `flipped` (N,) is 1 and not 0."""
        self._apply(self.identity - 2 * flipped[:, None, None] * self.gray)

    def rotate_hue(self, angle: Tensor) -> None:
        """Rotate by an angle (N,) about the axis of gray colours; it needs three channels and does nothing with others.

        Rodrigues' formula: R = cos(t) (I - G) + sin(t) K + G, with K v the cross product of the axis and v.
        """
        if len(self.identity) != 3:
            return
        cross = (self.identity.roll(1, 0) - self.identity.roll(-1, 0)) * 3**-0.5
        sine, cosine = angle.sin()[:, None, None], angle.cos()[:, None, None]
        self._apply(cosine * (self.identity - self.gray) + sine * cross + self.gray)

    def saturate(self, factor: Tensor) -> None:
        """Multiply the distance to the axis of gray colours by a number (N,)."""
        self._apply(self.gray + factor[:, None, None] * (self.identity - self.gray))

    def __call__(self, images: Tensor) -> Tensor:
        """Return images (N, C, H, W) with these changes."""
        colors = self.matrix @ images.flatten(2) + self.offset[:, :, None]
        return colors.view(images.shape)

    def _apply(self, matrix: Tensor) -> None:
        self.matrix = matrix @ self.matrix
        self.offset = (matrix @ self.offset[:, :, None]).squeeze(2)
