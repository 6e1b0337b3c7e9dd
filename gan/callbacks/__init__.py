"""What happens beside the training step; every callback counts generator steps."""

from gan.callbacks.checkpoint import AtomicCheckpointIO, Checkpoint
from gan.callbacks.ema import EMA
from gan.callbacks.interruption import Interruption
from gan.callbacks.monitor import Monitor
from gan.callbacks.pictures import Pictures
from gan.callbacks.progress import Progress
from gan.callbacks.samples import SampleGrid
from gan.callbacks.spectra import OperatorNorms
from gan.callbacks.writer import SampleWriter

__all__ = [
    "EMA",
    "AtomicCheckpointIO",
    "Checkpoint",
    "Interruption",
    "Monitor",
    "OperatorNorms",
    "Pictures",
    "Progress",
    "SampleGrid",
    "SampleWriter",
]
