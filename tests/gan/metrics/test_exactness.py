import pytest
import torch
from torch import backends

from gan.metrics.exactness import exact_inference


def settings():
    return (
        torch.get_float32_matmul_precision(),
        backends.cudnn.allow_tf32,
        backends.cuda.matmul.allow_tf32,
        backends.mkldnn.matmul.fp32_precision,
        backends.cudnn.benchmark,
        backends.cudnn.deterministic,
        torch.is_grad_enabled(),
        torch.is_autocast_enabled("cpu"),
    )


@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_settings_are_put_back(precision):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    backends.cudnn.benchmark = True
    try:
        with torch.autocast("cpu", torch.bfloat16):
            outside = settings()
            with exact_inference("cpu"):
                assert not backends.cudnn.benchmark
                assert backends.cudnn.deterministic
                assert not torch.is_grad_enabled()
            assert settings() == outside
            with pytest.raises(ZeroDivisionError), exact_inference("cpu"):
                _ = 1 / 0
            assert settings() == outside
    finally:
        backends.cudnn.benchmark = False
        torch.set_float32_matmul_precision(before)


def test_products_are_exact_whatever_the_training_uses():
    x = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    exact = x.double() @ x.double()
    with torch.autocast("cpu", torch.bfloat16):
        assert ((x @ x).double() - exact).abs().max() > 1e-2
        with exact_inference("cpu"):
            assert ((x @ x).double() - exact).abs().max() < 1e-4
