import pytest
import torch
from torch import nn

from gan.runs.initial_weights import take_weights


def test_what_fits_is_taken_and_the_rest_is_named():
    old = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Linear(3, 4), "c": nn.Linear(1, 1, bias=False)})
    new = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Linear(5, 4), "d": nn.Linear(1, 1, bias=False)})
    before = new["b"].weight.clone()
    taken = take_weights(new, old.state_dict())
    assert taken.loaded == ["a.weight", "a.bias", "b.bias"]
    assert torch.equal(new["a"].weight, old["a"].weight)
    assert torch.equal(new["b"].weight, before)
    assert taken.misfits == [
        "of another shape: b.weight (4x3 in the checkpoint, 4x5 here)",
        "not in the checkpoint: d.weight",
        "only in the checkpoint: c.weight",
    ]


def test_nothing_is_too_little():
    with pytest.raises(ValueError, match="none of the checkpoint's weights fits"):
        take_weights(nn.Linear(2, 3), {"other": torch.zeros(1), "generator_ema.weight": torch.zeros(3, 2)})
