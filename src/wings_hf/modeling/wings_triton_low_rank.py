# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Low-rank projections with residual, `y_m = x + (x A_m) B_m` for the learners m, and the rotation of the result, as one
fused Triton kernel; the gradients are torch's matrix products.

A program keeps `x A_m` of its rows and goes through their columns a second time, when they are in the cache, so that
the device's memory is read once. It takes columns in pairs: the two that the rotation mixes.

Shapes: `N` rows, `d` hidden size, `n` learners, `r` rank, `e` head size, `p` rotated columns of a head.
"""

import torch

from wings_hf.modeling.wings_triton import constexpr, dot_precision, jit, operator_name, padded, tl

MAX_RANK = 128


def low_rank_residual(
    x: torch.Tensor,
    down: torch.Tensor,
    up: torch.Tensor,
    rope: tuple[torch.Tensor, torch.Tensor] | None = None,
    head_size: int | None = None,
    interleaved: bool = False,
) -> torch.Tensor:
    """
    Args:
        x: (N, d).
        down, up: A (n, d, r) and B (n, r, d), with r at most 128.
        rope: cosines and signed sines of the rows' positions, float32 (N, p), see `RopeSpec.tables`; `None` for none.
        head_size: e; it matters where there is a rotation.
        interleaved: whether neighbouring columns make a pair.

    Returns:
        (N, n, d).
    """
    if up.shape[1] > MAX_RANK:
        raise ValueError(f"Rank {up.shape[1]}: expected at most {MAX_RANK}.")
    head_size = x.shape[1] if head_size is None else head_size
    if head_size % 2 or x.shape[1] % head_size:
        raise ValueError(f"Heads of {head_size} columns, {x.shape[1]} in all: expected an even size that divides them.")
    cos, sin = (None, None) if rope is None else rope
    return low_rank_operator(x, down, up, cos, sin, head_size, interleaved)[0]


@torch.library.custom_op(operator_name(__name__, "low_rank_residual"), mutates_args=())
def low_rank_operator(
    x: torch.Tensor,
    down: torch.Tensor,
    up: torch.Tensor,
    cos: torch.Tensor | None,
    sin: torch.Tensor | None,
    head_size: int,
    interleaved: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `low_rank_residual`; also returns `x A` (N, n, r), for the gradients."""
    x, down, up = x.contiguous(), down.contiguous(), up.contiguous()
    if cos is not None:
        cos, sin = cos.contiguous(), sin.contiguous()
    rows, width = x.shape
    learners, rank, _ = up.shape
    out, low = x.new_empty(rows, learners, width), x.new_empty(rows, learners, rank)
    block_m, block_d = tile_sides(rows)
    with torch.cuda.device_of(x):
        _low_rank_kernel[-(-rows // block_m), learners](
            x, down, up, cos, sin, out, low, rows,
            WIDTH=width, HEAD=head_size, RANK=rank, PADDED_RANK=padded(rank),
            ROTATED=0 if cos is None else cos.shape[-1], INTERLEAVED=interleaved, PRECISION=dot_precision(x.dtype),
            BLOCK_M=block_m, BLOCK_D=block_d, num_warps=4, num_stages=3,
        )  # fmt: skip
    return out, low


def tile_sides(rows: int) -> tuple[int, int]:
    """Rows of x, and columns at a time, of one program: few rows where there are few in all."""
    return (64 if rows > 8192 else 32), 64


@low_rank_operator.register_fake
def _(x, down, up, *others):
    rows, (learners, rank, width) = x.shape[0], up.shape
    return x.new_empty(rows, learners, width), x.new_empty(rows, learners, rank)


def _keep(ctx, inputs, output) -> None:
    x, down, up, cos, sin, head_size, interleaved = inputs
    ctx.save_for_backward(x, down, up, cos, sin, output[1])
    ctx.settings = head_size, interleaved
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, grad, _):
    x, down, up, cos, sin, low = ctx.saved_tensors
    grad = _turn_back(grad, cos, sin, *ctx.settings)
    low_grad = torch.einsum("Nnd,nrd->Nnr", grad, up)
    x_grad = grad.sum(1) + torch.einsum("Nnr,ndr->Nd", low_grad, down)
    down_grad = torch.einsum("Nd,Nnr->ndr", x, low_grad)
    return x_grad, down_grad, torch.einsum("Nnr,Nnd->nrd", low, grad), None, None, None, None


def _turn_back(
    grad: torch.Tensor, cos: torch.Tensor | None, sin: torch.Tensor | None, head_size: int, interleaved: bool
) -> torch.Tensor:
    """Gradient (N, n, d) before the rotation: rotated by the negative angles."""
    if cos is None:
        return grad
    size = cos.shape[-1]
    heads = grad.unflatten(-1, (-1, head_size))
    part = heads[..., :size]
    pairs = part.unflatten(-1, (-1, 2) if interleaved else (2, -1))
    swapped = pairs.flip(-1 if interleaved else -2).flatten(-2)
    cos, sin = (table[:, None, None].to(grad.dtype) for table in (cos, sin))
    return torch.cat([part * cos - swapped * sin, heads[..., size:]], dim=-1).flatten(-2)


low_rank_operator.register_autograd(_backward, setup_context=_keep)


# ---- kernel ------------------------------------------------------------------------------------------------------


@jit
def _low_rank_kernel(
    x_, down, up, cos_, sin_, out, low_out, rows,
    WIDTH: constexpr, HEAD: constexpr, RANK: constexpr, PADDED_RANK: constexpr, ROTATED: constexpr,
    INTERLEAVED: constexpr, PRECISION: constexpr, BLOCK_M: constexpr, BLOCK_D: constexpr,
):  # fmt: skip
    """One program: BLOCK_M rows and one learner."""
    i = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    learner, learners = tl.program_id(1), tl.num_programs(1)
    r = tl.arange(0, PADDED_RANK)
    in_rows, in_rank = (i < rows)[:, None], r < RANK
    x = x_ + i.to(tl.int64)[:, None] * WIDTH
    down += learner * WIDTH * RANK
    up += learner * WIDTH * RANK
    low = tl.zeros([BLOCK_M, PADDED_RANK], tl.float32)
    for first in range(0, WIDTH, BLOCK_D):
        f = first + tl.arange(0, BLOCK_D)
        tile = tl.load(x + f[None, :], mask=in_rows & (f < WIDTH)[None, :], other=0.0)
        maps = tl.load(down + f[:, None] * RANK + r[None, :], mask=(f < WIDTH)[:, None] & in_rank[None, :], other=0.0)
        low += tl.dot(tile, maps, input_precision=PRECISION)
    low = low.to(x_.dtype.element_ty)
    row = i.to(tl.int64)[:, None] * learners + learner
    tl.store(low_out + row * RANK + r[None, :], low, mask=in_rows & in_rank[None, :])
    for first in range(0, WIDTH // 2, BLOCK_D):
        pair = first + tl.arange(0, BLOCK_D)
        in_width = pair < WIDTH // 2
        inside = in_rows & in_width[None, :]
        # Pair w of its head: the two columns that the rotation mixes, or any two beyond the rotated part.
        w = pair % (HEAD // 2)
        start = pair // (HEAD // 2) * HEAD
        if INTERLEAVED:
            one, two = 2 * w, 2 * w + 1
        else:
            beyond = w >= ROTATED // 2
            one = w + tl.where(beyond, ROTATED // 2, 0)
            two = one + tl.where(beyond, (HEAD - ROTATED) // 2, ROTATED // 2)
        y_one = _project(x, up, low, start + one, r, inside, in_width, WIDTH, RANK, PRECISION)
        y_two = _project(x, up, low, start + two, r, inside, in_width, WIDTH, RANK, PRECISION)
        if ROTATED > 0:
            table = i[:, None] * ROTATED
            turns = inside & (one < ROTATED)[None, :]
            cos = tl.load(cos_ + table + one[None, :], mask=turns, other=1.0)
            sin_one = tl.load(sin_ + table + one[None, :], mask=turns, other=0.0)
            sin_two = tl.load(sin_ + table + two[None, :], mask=turns, other=0.0)
            turned = y_one * cos + y_two * sin_one
            y_two = y_two * cos + y_one * sin_two
            y_one = turned
        place = out + row * WIDTH + start[None, :]
        tl.store(place + one[None, :], y_one.to(out.dtype.element_ty), mask=inside)
        tl.store(place + two[None, :], y_two.to(out.dtype.element_ty), mask=inside)


@jit
def _project(x, up, low, f, r, inside, in_width, WIDTH: constexpr, RANK: constexpr, PRECISION: constexpr):
    """Columns f of `x + low B`."""
    maps = tl.load(up + r[:, None] * WIDTH + f[None, :], mask=(r < RANK)[:, None] & in_width[None, :], other=0.0)
    residual = tl.load(x + f[None, :], mask=inside, other=0.0)
    return residual.to(tl.float32) + tl.dot(low, maps, input_precision=PRECISION)
