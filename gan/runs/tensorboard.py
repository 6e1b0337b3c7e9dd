"""How a run appears in TensorBoard."""

from collections.abc import Mapping
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

_PLACES = {"logits": "outputs/logits_", "learning_rate": "optimizer/learning_rate_"}
_COST = "evaluation_seconds", "evaluation_share", "images_per_second", "peak_memory_gib"


def tag_of(name: str, is_evaluation: bool) -> str:
    """Return the tag of a value. TensorBoard sorts its cards by tag: scores come first, then losses.

    Args:
        name: The value's name, as in `metrics.jsonl`.
        is_evaluation: Whether it comes from an evaluation.
    """
    if name in _COST:
        return f"speed/{name}"
    if is_evaluation:
        return f"evaluation/{name}"
    group, _, rest = name.partition("/")
    return _PLACES[group] + rest if group in _PLACES else name


def publish_settings(writer: SummaryWriter, settings: Mapping[str, str | int | float]) -> None:
    """Write the settings of a run for TensorBoard's HPARAMS tab.

    Only the run's own session is described, not the experiment: then TensorBoard gathers the columns from all runs,
    while the first description of an experiment would hide settings that other runs have besides.
    """
    _, start, end = hparams(dict(settings), {})
    file: Any = writer.file_writer
    file.add_summary(start)
    file.add_summary(end)
