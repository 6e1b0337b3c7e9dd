# mypy: ignore-errors
"""The Triton kernel between images and points: products with constant matrices."""

import triton
import triton.language as tl


@triton.jit
def rounded(x, PRECISION: tl.constexpr, WIDE: tl.constexpr):
    """Round an operand in float32 to TF32. Tensor cores cut off the bits that the interpreter masks."""
    if PRECISION == "tf32":
        bits = x.to(tl.int32, bitcast=True) + 0x1000
        if WIDE:
            bits = bits & -8192
        x = bits.to(tl.float32, bitcast=True)
    return x


@triton.jit
def transform(
    matrix, x, y, C, M, K, BATCH, x_outer, x_batch, x_row, x_part, y_outer, y_batch, y_row, y_part, PART, m_row, m_k,
    BC: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr, PARTS: tl.constexpr, PRECISION: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """Multiply x (outer, BATCH, K, C) by a constant matrix (M, K) to y (outer, BATCH, M, C). C is contiguous.

    Row r begins at ``r // 2 * row + r % 2 * part``: often it is a real or an imaginary part. The matrix is the sum of
    PARTS matrices, PART numbers apart, padded with zeros. WIDE is for Triton's interpreter, which takes bfloat16 for
    integers in `tl.dot`.
    """
    outer, batch = (tl.program_id(0) // BATCH).to(tl.int64), (tl.program_id(0) % BATCH).to(tl.int64)
    column = tl.program_id(1) * BC + tl.arange(0, BC)
    here = column[None, :] < C
    row = tl.program_id(2) * BM + tl.arange(0, BM)
    sums = tl.full((BM, BC), 0.0, tl.float32)
    x += outer * x_outer + batch * x_batch + column[None, :]
    for start in range(0, K, BK):
        k = start + tl.arange(0, BK)
        at = (k // 2).to(tl.int64) * x_row + (k % 2) * x_part
        tile = tl.load(x + at[:, None], mask=here & (k[:, None] < K), other=0.0)
        if WIDE:
            tile = tile.to(tl.float32)
        if PARTS == 1:
            tile = rounded(tile, PRECISION, WIDE)
        for part in tl.static_range(PARTS):
            constants = tl.load(matrix + part * PART + row[:, None] * m_row + k[None, :] * m_k)
            if WIDE:
                constants = constants.to(tl.float32)
            sums = tl.dot(constants, tile, sums, input_precision=PRECISION)
    at = (row // 2).to(tl.int64) * y_row + (row % 2) * y_part
    y += outer * y_outer + batch * y_batch + column[None, :]
    tl.store(y + at[:, None], sums.to(y.dtype.element_ty), mask=here & (row[:, None] < M))
