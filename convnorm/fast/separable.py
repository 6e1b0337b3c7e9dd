"""A convolution of few input channels, its preconditioner and the crop in one, in a real Fourier basis of both axes.

Give each axis' transform an imaginary unit of its own, i and j with ij = ji (bicomplex numbers; Segre 1892). A real
image then has one number of four real parts at each of the (N/2 + 1)^2 pairs of frequencies that are not negative, and
convolution still is their product. Of an axis' transform only real matrices are left, with a third of the operations of
`mixing`, where both axes share one unit. The product takes 16 multiplications where that takes 6: nothing, if there are
few inputs.

Letters: F and G frequencies of the two axes; p and q the parts, real and imaginary, that go with them; H, W an image's
axes, H', W' its output's.
"""

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from convnorm.autocast import without_autocast
from convnorm.fast.cache import cached
from convnorm.fast.gradients import by_plain_operations, gradients_anew, gradients_with_graph, piece_by_piece
from convnorm.fast.maps import Orders, apply, empty, from_columns, orders
from convnorm.fast.positions import Positions
from convnorm.fast.waves import parts, real_basis
from convnorm.memory_format import keep_memory_format


class Basis(NamedTuple):
    """All constants of one geometry.

    Attributes:
        analysis: from an image's rows, (F·p, H), and from its columns, (q·G, W).
        synthesis: to those rows and columns of the output that are kept, (H', F·p) and (W', q·G).
        kernel: from the kernel's taps to its bicomplex numbers, (p·q·F·G, k*k), of at least float32.
        matrix: from the parts of such a number to the matrix that multiplies by it, (4·4, 4), likewise.
        sign: of the four parts in ``ij (a + bj + ci + dij) = d - cj - bi + aij``, (4, 1, 1, 1, 1), likewise.
        mirror: where the frequency -g of the second axis stands, for each g, (G,).
    """

    analysis: tuple[Tensor, Tensor]
    synthesis: tuple[Tensor, Tensor]
    kernel: Tensor
    matrix: Tensor
    sign: Tensor
    mirror: Tensor


@cached
def basis(fields: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Basis:
    """Return the constants of a layer on its grid, whose fields these are, for images in `dtype`."""
    grid = Positions(*fields)
    (n, m), image, taps, window = grid.size, grid.pixels, grid.taps, grid.crop
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
        torch.tensor([1, -1, -1, 1]).view(4, 1, 1, 1, 1).to(device, exact),
        (-torch.arange(m // 2 + 1, device=device)) % m,
    )


def mix_few(x: Tensor, weight: Tensor, spectrum: Tensor, constants: Basis) -> Tensor:
    """Return what crop and stride leave of the preconditioned full output; the arguments are those of `mixing.mix`."""
    batch, inputs, height, width = x.shape
    first, second = constants.analysis
    rows = first @ keep_memory_format(x).permute(2, 3, 0, 1).reshape(height, width * batch * inputs)
    columns = second @ rows.view(len(first), width, batch * inputs)
    image = columns.view(len(first) // 2, 2, 2, len(second) // 2, batch, inputs).permute(0, 3, 4, 1, 2, 5).flatten(3)
    product = _product if by_plain_operations() else _Product.apply
    return from_columns(constants.synthesis[0], product(image, weight, spectrum, constants))


def _kernels(weight: Tensor, spectrum: Tensor, constants: Basis) -> Tensor:
    """Return the matrices that multiply by the preconditioned kernels, (F, p·q·G, 4I, O), of at least float32."""
    outputs, inputs = weight.shape[:2]
    shape = 4, spectrum.shape[1], len(constants.mirror), inputs, outputs
    taps = weight.permute(2, 3, 1, 0).reshape(-1, inputs * outputs)
    kernel = _preconditioned((constants.kernel @ taps).view(shape), spectrum, constants)
    matrices = (constants.matrix @ kernel.flatten(1)).view(4, *shape)
    return matrices.permute(2, 0, 3, 1, 4, 5).flatten(3, 4).flatten(1, 2)


def _kernels_gradient(grad: Tensor, shape: torch.Size, spectrum: Tensor, constants: Basis) -> Tensor:
    """Return the gradient of `_kernels` in a weight of the given shape: its steps, which are linear, back."""
    outputs, inputs, *taps = shape
    parts = grad.to(constants.matrix.dtype).view(len(grad), 4, -1, 4, inputs, outputs).permute(1, 3, 0, 2, 4, 5)
    kernel = (constants.matrix.T @ parts.reshape(16, -1)).view(4, *parts.shape[2:])
    gradient = constants.kernel.T @ _preconditioned(kernel, spectrum, constants).view(-1, inputs * outputs)
    return gradient.view(*taps, inputs, outputs).permute(3, 2, 0, 1)


def _preconditioned(kernel: Tensor, spectrum: Tensor, constants: Basis) -> Tensor:
    """Scale bicomplex numbers (4, F, G, I, O) by the preconditioner; this linear map is its own adjoint.

    With i for j a bicomplex number is a kernel's value at (f, g), with -i for j that at (f, -g). The preconditioner
    scales them by different V and V'; the number (V + V') / 2 + (V' - V) / 2 ij does both.
    """
    v = spectrum.permute(1, 2, 0).unsqueeze(2).contiguous()  # (F, N, 1, O)
    here, mirrored = v[:, : len(constants.mirror)], v[:, constants.mirror]
    return (here + mirrored) / 2 * kernel + (mirrored - here) / 2 * constants.sign * kernel.flip(0)


def _product(image: Tensor, weight: Tensor, spectrum: Tensor, constants: Basis) -> Tensor:
    """Multiply the image's numbers (F, G, B, 4I) by the kernels' and go back to the columns: (F, p, W', B, O)."""
    products = image.repeat(1, 4, 1, 1) @ _kernels(weight, spectrum, constants).to(image.dtype)
    columns = constants.synthesis[1] @ products.unflatten(1, (2, -1)).flatten(3)
    return columns.unflatten(3, products.shape[2:])


class _Product(torch.autograd.Function):
    """`_product`, keeping only its inputs; on a CPU one frequency at a time, whose points stay in the cache."""

    @staticmethod
    def forward(image: Tensor, weight: Tensor, spectrum: Tensor, constants: Basis) -> Tensor:
        if not piece_by_piece(image):
            return _product(image, weight, spectrum, constants)
        kernels = _kernels(weight, spectrum, constants).to(image.dtype)
        across, points = constants.synthesis[1], _room(image, len(weight)).points
        z = empty(image, len(image), 2, len(across), image.shape[2], len(weight))
        for f in range(len(image)):
            numbers = _repeated(image[f])
            for kernel, column in zip(kernels[f].chunk(2), z[f], strict=True):
                torch.bmm(numbers, kernel, out=points)
                apply(across, points, column)
        return z

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor, Tensor, Basis], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.constants = inputs[3]  # type: ignore[attr-defined]

    @staticmethod
    @without_autocast
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        image, weight, spectrum = ctx.saved_tensors
        needed = ctx.needs_input_grad[:2]
        again = functools.partial(_product, spectrum=spectrum, constants=ctx.constants)
        if torch.is_grad_enabled():  # a graph of the gradient is wanted, for a gradient penalty
            return *gradients_with_graph(again, (image, weight), needed, grad), None, None
        if not piece_by_piece(image):
            return *gradients_anew(again, (image, weight), needed, grad), None, None
        return *_gradients(image, weight, spectrum, ctx.constants, grad, needed), None, None


def _gradients(
    image: Tensor, weight: Tensor, spectrum: Tensor, constants: Basis, grad: Tensor, needed: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of `_product` in the image and in the weight, each if it is needed."""
    frequencies, points, batch, numbers = image.shape
    kernels = _kernels(weight, spectrum, constants).to(image.dtype) if needed[0] else None
    grad_image, grad_kernels = torch.empty_like(image), image.new_empty(frequencies, 4 * points, numbers, len(weight))
    across, room = constants.synthesis[1], _room(image, len(weight)).maps
    for f in range(frequencies):
        repeated, of_image = _repeated(image[f]).transpose(1, 2), []
        for part, column in enumerate(grad[f]):
            apply(across.T, column, room)
            if kernels is not None:
                of_image.append(torch.bmm(room, kernels[f].chunk(2)[part].transpose(1, 2)))
            if needed[1]:
                torch.bmm(repeated, room, out=grad_kernels[f].chunk(2)[part])
        if of_image:
            grad_image[f] = torch.cat(of_image).view(4, points, batch, numbers).sum(0)
    return (
        grad_image if needed[0] else None,
        _kernels_gradient(grad_kernels, weight.shape, spectrum, constants) if needed[1] else None,
    )


def _repeated(numbers: Tensor) -> Tensor:
    """Return the image's numbers of one frequency, (G, B, 4I), for each part of the second axis, (q·G, B, 4I)."""
    return numbers.repeat(2, 1, 1)


def _room(image: Tensor, outputs: int) -> Orders:
    """Return memory for the products of one frequency and part of the first axis, (q·G, B, O)."""
    return orders(image, 2 * image.shape[1], image.shape[2], outputs)
