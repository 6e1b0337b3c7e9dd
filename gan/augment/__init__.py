"""Augmentation of what the discriminator sees: `GAN(augment=...)`. Plain torch, differentiable, image by image."""

from gan.augment.base import Augment, Unchanged
from gan.augment.diff_augment import DiffAugment
from gan.augment.pipe import ADA, Pipe

__all__ = ["ADA", "Augment", "DiffAugment", "Pipe", "Unchanged"]
