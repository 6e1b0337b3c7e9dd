"""Residual networks for small images (He et al., CVPR 2016), with batch normalization after every convolution.

The networks of torchvision work as well: `--model.network torchvision.models.resnet18`.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from gan.norms.batch_norm import BatchNorm


class ResNet(nn.Module):
    """A 3x3 convolution, stages of residual blocks, the mean over all pixels, and a linear layer.

    Each stage but the first halves the image. A shortcut that changes shape is a 1x1 convolution with batch norm.

    Args:
        widths: Channels of each stage. The first convolution has those of the first stage.
        blocks_per_stage: Number of blocks; a block has two 3x3 convolutions.
        channels: Channels of the images; follows from the data.
        num_classes: Number of logits; follows from the data.
    """

    def __init__(self, widths: list[int], blocks_per_stage: int, channels: int = 3, num_classes: int = 10) -> None:
        super().__init__()
        if not widths or min(*widths, blocks_per_stage) < 1:
            raise ValueError(f"widths and blocks_per_stage must be at least 1, got {widths} and {blocks_per_stage}")
        if num_classes < 2:
            raise ValueError(f"a classifier needs at least 2 classes, got {num_classes}: the data have no labels")
        self.widths, self.blocks_per_stage = widths, blocks_per_stage
        self.channels, self.num_classes = channels, num_classes
        self.conv, self.norm = _conv3x3(channels, widths[0]), BatchNorm(widths[0])
        self.blocks = nn.Sequential()
        inputs = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks_per_stage):
                self.blocks.append(_Block(inputs, width, stride=2 if stage and not block else 1))
                inputs = width
        self.linear = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, channels, H, W) in [-1, 1] to logits (N, num_classes)."""
        return self.linear(self.blocks(F.relu(self.norm(self.conv(x)))).mean((2, 3)))


class ResNet18(ResNet):
    """ResNet-18 for images of 32 pixels: its first convolution is 3x3 and nothing is pooled; 11,173,962 parameters.

    Args:
        channels: Channels of the images; follows from the data.
        num_classes: Number of logits; follows from the data.
    """

    def __init__(self, channels: int = 3, num_classes: int = 10) -> None:
        super().__init__([64, 128, 256, 512], 2, channels, num_classes)


class ResNet20(ResNet):
    """ResNet-20 for CIFAR-10, with projections where the shape changes; 272,474 parameters.

    Args:
        width: Channels of the first stage. The published network has 16.
        channels: Channels of the images; follows from the data.
        num_classes: Number of logits; follows from the data.
    """

    def __init__(self, width: int = 16, channels: int = 3, num_classes: int = 10) -> None:
        super().__init__([width, 2 * width, 4 * width], 3, channels, num_classes)
        self.width = width


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv3x3(inputs, outputs, stride), BatchNorm(outputs)
        self.conv2, self.norm2 = _conv3x3(outputs, outputs), BatchNorm(outputs)
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), BatchNorm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(h)) + self.shortcut(x))


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
