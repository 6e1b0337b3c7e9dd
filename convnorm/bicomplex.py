"""A convolution of few input channels, its preconditioner and the crop in one, in a real Fourier basis of both axes.

Give each axis' transform an imaginary unit of its own, i and j with ij = ji (bicomplex numbers; Segre 1892). A real
image then has one number of four real parts at each of the (N/2 + 1)^2 pairs of frequencies that are not negative, and
convolution still is their product. Of an axis' transform only real matrices are left, with a third of the operations of
`mixing`, where both axes share one unit. The product takes 16 multiplications where that takes 6: nothing, if there are
few inputs.

Letters: F and G frequencies of the two axes; p and q the parts, real and imaginary, that go with them; H, W an image's
axes, H', W' its output's.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from convnorm.fourier import kept, parts, real_basis
from convnorm.geometry import Geometry
from convnorm.gradients import gradients_with_graph


class Basis(NamedTuple):
    """All constants of one geometry.

    Attributes:
        analysis: from an image's rows, (F·p, H), and from its columns, (q·G, W).
        synthesis: to those rows and columns of the output that are kept, (H', F·p) and (W', q·G).
        kernel: from the kernel's taps to its bicomplex numbers, (p·q·F·G, k*k), of at least float32.
        matrix: from the parts of such a number to the matrix that multiplies by it, (4·4, 4), likewise.
        mirror: where the frequency -g of the second axis stands, for each g, (G,).
    """

    analysis: tuple[Tensor, Tensor]
    synthesis: tuple[Tensor, Tensor]
    kernel: Tensor
    matrix: Tensor
    mirror: Tensor


@kept
def basis(grid: Geometry, dtype: torch.dtype, device: torch.device) -> Basis:
    """Return the constants of a layer on its grid, for images in `dtype`."""
    (n, m), image, taps, window = grid.size, grid.image, grid.taps, grid.window
    of_image, of_window = ([real_basis(n, places[0]), real_basis(m, places[1])] for places in (image, window))
    kernel = torch.einsum("pfu,qgv->pqfguv", parts(n, taps[0]), parts(m, taps[1])).flatten(0, 3).flatten(1)
    unit = torch.tensor([[[1, 0], [0, -1]], [[0, 1], [1, 0]]], dtype=torch.float64)  # (row, column, part) of a + bi
    matrix = torch.einsum("abp,cdq->acbdpq", unit, unit).flatten(0, 3).flatten(1)
    exact = torch.promote_types(dtype, torch.float32)
    return Basis(
        (of_image[0].transpose(0, 1).flatten(0, 1).to(device, dtype), of_image[1].flatten(0, 1).to(device, dtype)),
        (
            of_window[0].transpose(0, 1).flatten(0, 1).T.to(device, dtype),
            of_window[1].flatten(0, 1).T.to(device, dtype),
        ),
        kernel.to(device, exact),
        matrix.to(device, exact),
        (-torch.arange(m // 2 + 1, device=device)) % m,
    )


def mix_few(x: Tensor, weight: Tensor, spectrum: Tensor, constants: Basis) -> Tensor:
    """Return what crop and stride leave of the preconditioned full output; the arguments are those of `mixing.mix`."""
    batch, inputs, height, width = x.shape
    (first, second), (back, across) = constants.analysis, constants.synthesis
    rows = first @ x.permute(2, 3, 0, 1).reshape(height, width * batch * inputs)
    columns = second @ rows.view(len(first), width, batch * inputs)
    image = columns.view(len(first) // 2, 2, 2, len(second) // 2, batch, inputs).permute(0, 3, 4, 1, 2, 5).flatten(3)
    # A compiler sees plain operations: it fuses what it likes, and chooses itself what to compute twice.
    product = _product if torch.compiler.is_compiling() else _Product.apply
    z = product(image, weight, spectrum, constants)
    y = back @ z.reshape(len(first), len(across) * batch * len(weight))
    return y.view(len(back), len(across), batch, len(weight)).permute(2, 3, 0, 1)


def _kernels(weight: Tensor, spectrum: Tensor, constants: Basis) -> Tensor:
    """Return the matrices that multiply by the preconditioned kernels, (F, p, q, G, 4I, O), of at least float32.

    With i for j a bicomplex number is a kernel's value at (f, g), with -i for j that at (f, -g). The preconditioner
    scales them by different V and V'; the number (V + V') / 2 + (V' - V) / 2 ij does both.
    """
    outputs, inputs = weight.shape[:2]
    shape = 4, spectrum.shape[1], len(constants.mirror), inputs, outputs
    taps = weight.permute(2, 3, 1, 0).reshape(-1, inputs * outputs)
    kernel = (constants.kernel @ taps).view(shape)
    v = spectrum.permute(1, 2, 0).unsqueeze(2)  # (F, N, 1, O)
    here, mirrored = v[:, : shape[2]], v[:, constants.mirror]
    sign = constants.matrix.new_tensor([1, -1, -1, 1]).view(4, 1, 1, 1, 1)  # ij (a + bj + ci + dij) = d - cj - bi + aij
    kernel = (here + mirrored) / 2 * kernel + (mirrored - here) / 2 * sign * kernel.flip(0)
    matrices = (constants.matrix @ kernel.flatten(1)).view(2, 2, *shape)
    return matrices.permute(3, 0, 1, 4, 2, 5, 6).flatten(4, 5)


def _product(image: Tensor, weight: Tensor, spectrum: Tensor, constants: Basis) -> Tensor:
    """Multiply the image's numbers (F, G, B, 4I) by the kernels' and go back to the columns: (F, p, W', B, O)."""
    kernels = _kernels(weight, spectrum, constants).to(image.dtype)
    products = image[:, None, None] @ kernels
    return torch.einsum("wk,fpkbo->fpwbo", constants.synthesis[1], products.flatten(2, 3))


class _Product(torch.autograd.Function):
    """`_product`, keeping only its inputs, one part at a time: what is at its frequencies stays in the cache."""

    @staticmethod
    def forward(image: Tensor, weight: Tensor, spectrum: Tensor, constants: Basis) -> Tensor:
        kernels = _kernels(weight, spectrum, constants).to(image.dtype)
        synthesis, room = constants.synthesis[1], _room(image, kernels)
        z = image.new_empty(*kernels.shape[:2], len(synthesis), image.shape[2], len(weight))
        for f, p in _each(kernels):
            for q in range(2):
                torch.bmm(image[f], kernels[f, p, q], out=room[q])
            torch.mm(synthesis, room.flatten(0, 1).flatten(1), out=z[f, p].flatten(1))
        return z

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor, Tensor, Basis], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.constants = inputs[3]  # type: ignore[attr-defined]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        image, weight, spectrum = ctx.saved_tensors
        needed = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # a graph of the gradient is wanted, for a gradient penalty
            z = _product(image, weight, spectrum, ctx.constants)
            return *gradients_with_graph(z, (image, weight), needed, grad), None, None
        with torch.enable_grad():
            leaf = weight.detach().requires_grad_()
            kernels = _kernels(leaf, spectrum, ctx.constants).to(image.dtype)
        grad_image, grad_kernels = _gradients(image, kernels.detach(), ctx.constants.synthesis[1], grad, needed)
        grad_weight = None if grad_kernels is None else torch.autograd.grad(kernels, leaf, grad_kernels)[0]
        return grad_image, grad_weight, None, None


def _gradients(
    image: Tensor, kernels: Tensor, synthesis: Tensor, grad: Tensor, needed: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of the product in the image's and the kernels' numbers, each if it is needed."""
    grad_image = torch.zeros_like(image) if needed[0] else None
    grad_kernels = torch.empty_like(kernels) if needed[1] else None
    room = _room(image, kernels)
    for f, p in _each(kernels):
        torch.mm(synthesis.T, grad[f, p].flatten(1), out=room.flatten(0, 1).flatten(1))
        for q in range(2):
            if grad_kernels is not None:
                torch.bmm(image[f].transpose(1, 2), room[q], out=grad_kernels[f, p, q])
            if grad_image is not None:
                grad_image[f].baddbmm_(room[q], kernels[f, p, q].transpose(1, 2))
    return grad_image, grad_kernels


def _room(image: Tensor, kernels: Tensor) -> Tensor:
    """Return memory for the products of one frequency and part of the first axis, (q, G, B, O)."""
    return image.new_empty(2, *image.shape[1:3], kernels.shape[-1])


def _each(kernels: Tensor) -> list[tuple[int, int]]:
    return [(f, p) for f in range(len(kernels)) for p in range(2)]
