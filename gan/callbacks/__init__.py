"""Callbacks. All of them count training steps."""

from gan.callbacks.announcement import Announcement
from gan.callbacks.checkpoint import AtomicCheckpointIO, Checkpoint
from gan.callbacks.collapse import Collapse
from gan.callbacks.ema import EMA
from gan.callbacks.evaluation import Evaluation
from gan.callbacks.interruption import Interruption
from gan.callbacks.monitor import Monitor
from gan.callbacks.operator_norms import OperatorNorms
from gan.callbacks.overfitting import Overfitting
from gan.callbacks.progress import Progress
from gan.callbacks.progress_lines import ProgressLines
from gan.callbacks.sample_grid import SampleGrid

__all__ = [
    "EMA",
    "Announcement",
    "AtomicCheckpointIO",
    "Checkpoint",
    "Collapse",
    "Evaluation",
    "Interruption",
    "Monitor",
    "OperatorNorms",
    "Overfitting",
    "Progress",
    "ProgressLines",
    "SampleGrid",
]
