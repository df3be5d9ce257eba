# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Attention of the router and of the learners as fused Triton kernels, forward and backward; no matrix is kept.

Both are one causal attention with grouped queries in which every key has an *owner*: a query reads the keys that
belong to its class. In the learners' call the class of a query is its learner, so that each reads the keys of its own
modality; in the router's call there is one class, and columns R (b, t, c), shared by all heads, ride beside the values.
`KeyLayout` lists, for each class, the blocks of keys in which it owns any: the kernels visit no others.

Rows without a visible key give exactly 0 and gradient 0. Softmax and sums are float32, matrix products take the
dtype of the states. Row i of s sees keys up to i + t - s.

Shapes: `b` batch, `s` query rows, `t` keys, `e` head size, `c` columns; `H` query heads, `K` key heads, `G = H / K`;
for learners `h` heads and `n` learners, which stand for K and G.
"""

from typing import NamedTuple

import torch

from wings_hf.modeling.wings_triton import operator_name
from wings_hf.modeling.wings_triton_attention_kernels import (
    MAX_COLUMNS,
    CallShape,
    forward_kernel,
    keys_grad_kernel,
    queries_grad_kernel,
    tiles_for,
)


class KeyLayout(NamedTuple):
    """
    Where the keys of each class are; made once for all layers, without asking the device.

    Args:
        owner: class that owns the key, int32 (b, t); -1 for keys that nobody sees, such as padding.
        starts: index of the first key that each row sees, int32 (b, s); `None` where that is 0.
        blocks: for each class the blocks of keys in which it owns any, in order, int32 (b, classes, blocks).
        counts: how many of them are among the first i blocks, int32 (b, classes, blocks + 1).
        ends: one past the last row that sees keys as early as this block's, int32 (b, blocks); `None` without starts.
        block: number of keys in a block.
    """

    owner: torch.Tensor
    starts: torch.Tensor | None
    blocks: torch.Tensor
    counts: torch.Tensor
    ends: torch.Tensor | None
    block: int


def key_layout(owner: torch.Tensor, classes: int = 1, starts: torch.Tensor | None = None, block: int = 64) -> KeyLayout:
    """
    Args:
        owner: integers (b, t), from -1 (nobody's) to classes - 1.
        classes: number of learners; 1 for the router.
        starts: of packed samples, integers (b, s) below t: the first key that each row sees.
        block: keys in a block, a power of two, 16 at least.
    """
    batch, keys = owner.shape
    count = -(-keys // block)
    filled = torch.nn.functional.pad(owner, (0, count * block - keys), value=-1).view(batch, 1, count, block)
    kinds = torch.arange(classes, device=owner.device).view(1, classes, 1, 1)
    owned = (filled == kinds).any(-1)  # (b, classes, count)
    blocks = owned.logical_not().to(torch.int8).argsort(dim=-1, stable=True)
    counts = torch.nn.functional.pad(owned.cumsum(-1), (1, 0))
    ends = None
    if starts is not None:
        rows = torch.arange(1, starts.shape[1] + 1, device=owner.device).expand_as(starts)
        ends = torch.zeros(batch, count, dtype=rows.dtype, device=owner.device)
        ends = ends.scatter_reduce(1, starts.long() // block, rows, "amax").cummax(1).values
        starts, ends = starts.int().contiguous(), ends.int()
    return KeyLayout(owner.int().contiguous(), starts, blocks.int(), counts.int().contiguous(), ends, block)


def router_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    columns: torch.Tensor,
    layout: KeyLayout,
    scaling: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Causal attention, and what the columns R come to under its weights.

    Args:
        query, key, value: (b, H, s, e), (b, K, t, e), (b, K, t, e).
        columns: R, (b, t, c) with c at most 16.
        layout: of one class: `key_layout(torch.where(valid, 0, -1))`.
        scaling: of the scores; `None` for e ** -0.5.

    Returns:
        output (b, s, H, e), and attended columns, float32 (b, s, H, c).
    """
    heads, key_heads = query.shape[1], key.shape[1]
    grouped = query.unflatten(1, (key_heads, heads // key_heads))
    out, attended, _ = _attend(grouped, key, value, columns, layout, scaling)
    return out.flatten(2, 3), attended.flatten(2, 3)


def learner_attention(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    layout: KeyLayout,
    scaling: float | None = None,
) -> torch.Tensor:
    """
    What each learner gathers from the visible keys of its own modality.

    Args:
        queries: (b, h, n, s, e).
        keys, values: one per position whatever its modality, (b, h, t, e).
        layout: of n classes: owner i is the learner of queries[:, :, i].
        scaling: of the scores; `None` for e ** -0.5.

    Returns:
        (b, s, n, h, e), contiguous: `flatten(3)` is (b, s, n, d).
    """
    return _attend(queries, keys, values, None, layout, scaling)[0].transpose(2, 3)


def _attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    columns: torch.Tensor | None,
    layout: KeyLayout,
    scaling: float | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Checks, and calls the operator: out (b, s, K, G, e), attended (b, s, K, G, c), lse (b, K, G, s)."""
    classes, groups = layout.blocks.shape[1], queries.shape[2]
    if classes not in (1, groups):
        raise ValueError(f"The layout has {classes} classes of keys: expected 1, or one for each of {groups} queries.")
    if layout.owner.shape != (keys.shape[0], keys.shape[2]):
        expected = (keys.shape[0], keys.shape[2])
        raise ValueError(f"The layout is of keys {tuple(layout.owner.shape)}: expected {expected}.")
    if columns is not None and not 1 <= columns.shape[-1] <= MAX_COLUMNS:
        raise ValueError(f"{columns.shape[-1]} columns: expected 1 to {MAX_COLUMNS}.")
    scaling = queries.shape[-1] ** -0.5 if scaling is None else scaling
    owner, starts, blocks, counts, ends, block = layout
    return attention_operator(
        queries, keys, values, columns, owner, starts, blocks, counts, ends, block, float(scaling), columns is None
    )


# ---- operator ----------------------------------------------------------------------------------------------------


@torch.library.custom_op(operator_name(__name__, "attention"), mutates_args=())
def attention_operator(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    columns: torch.Tensor | None,
    owner: torch.Tensor,
    starts: torch.Tensor | None,
    blocks: torch.Tensor,
    counts: torch.Tensor,
    ends: torch.Tensor | None,
    block: int,
    scaling: float,
    groups_first: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Args:
        queries, keys, values, columns: (b, K, G, s, e), (b, K, t, e), (b, K, t, e), (b, t, c).
        owner, starts, blocks, counts, ends, block: see `KeyLayout`.
        groups_first: whether the output lies in memory as (b, s, G, K, e), not as (b, s, K, G, e).

    Returns:
        out (b, s, K, G, e); attended columns, float32 (b, s, K, G, c); log2 of the sum of exponentials (b, K, G, s).
    """
    queries, keys, values, columns = (_rows_contiguous(states) for states in (queries, keys, values, columns))
    out, attended, lse = _empty_outputs(queries, columns, groups_first)
    shape = CallShape(queries, keys, columns, starts, blocks, scaling)
    tiles = tiles_for("forward", shape.padded_head, queries.dtype)
    with torch.cuda.device_of(queries):
        forward_kernel[shape.row_grid(tiles)](
            queries, keys, values, columns, owner, starts, blocks, counts, out, attended, lse,
            *queries.stride()[:4], *keys.stride()[:3], *values.stride()[:3], *shape.column_strides(columns),
            *out.stride()[:4], *shape.sizes(), **shape.constants(), BLOCK_M=tiles.rows, BLOCK_N=block,
            num_warps=tiles.warps, num_stages=tiles.stages,
        )  # fmt: skip
    return out, attended, lse


@torch.library.custom_op(operator_name(__name__, "attention_backward"), mutates_args=())
def attention_backward_operator(
    out_grad: torch.Tensor,
    attended_grad: torch.Tensor,
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    columns: torch.Tensor | None,
    out: torch.Tensor,
    attended: torch.Tensor,
    lse: torch.Tensor,
    owner: torch.Tensor,
    starts: torch.Tensor | None,
    blocks: torch.Tensor,
    counts: torch.Tensor,
    ends: torch.Tensor | None,
    block: int,
    scaling: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of queries, keys, values and columns (empty without columns), like `attention_operator`'s inputs."""
    queries, keys, values, columns = (_rows_contiguous(states) for states in (queries, keys, values, columns))
    out_grad, attended_grad = _rows_contiguous(out_grad), attended_grad.contiguous()
    grads = [torch.empty_like(states, memory_format=torch.contiguous_format) for states in (queries, keys, values)]
    delta = torch.empty_like(lse)
    # Heads add to the gradient of the columns in an order of their own, so that it is the same each time.
    head_shares = attended.new_empty(keys.shape[1], *columns.shape) if columns is not None else attended.new_empty(0)
    shape = CallShape(queries, keys, columns, starts, blocks, scaling)
    strides = (*queries.stride()[:4], *keys.stride()[:3], *values.stride()[:3], *shape.column_strides(columns))
    with torch.cuda.device_of(queries):
        tiles = tiles_for("queries", shape.padded_head, queries.dtype)
        queries_grad_kernel[shape.row_grid(tiles)](
            queries, keys, values, columns, owner, starts, blocks, counts,
            out, attended, lse, out_grad, attended_grad, grads[0], delta,
            *strides, *out.stride()[:4], *out_grad.stride()[:4], *shape.sizes(), **shape.constants(),
            BLOCK_M=tiles.rows, BLOCK_N=block, num_warps=tiles.warps, num_stages=tiles.stages,
        )  # fmt: skip
        tiles = tiles_for("keys", shape.padded_head, queries.dtype)
        side = min(block, tiles.keys)
        keys_grad_kernel[(-(-shape.keys // side), shape.batch * shape.heads)](
            queries, keys, values, columns, owner, starts, counts, ends,
            lse, out_grad, attended_grad, delta, grads[1], grads[2], head_shares,
            *strides, *out_grad.stride()[:4], *shape.sizes(), **shape.constants(),
            BLOCK_M=tiles.rows, BLOCK_N=side, LAYOUT_BLOCK=block, num_warps=tiles.warps, num_stages=tiles.stages,
        )  # fmt: skip
    return *grads, head_shares.sum(0).to(columns.dtype) if columns is not None else head_shares


def _empty_outputs(
    queries: torch.Tensor, columns: torch.Tensor | None, groups_first: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    batch, heads, groups, rows, size = queries.shape
    if groups_first:
        out = queries.new_empty(batch, rows, groups, heads, size).transpose(2, 3)
    else:
        out = queries.new_empty(batch, rows, heads, groups, size)
    lse = queries.new_empty(batch, heads, groups, rows, dtype=torch.float32)
    if columns is None:
        return out, lse.new_empty(0), lse
    return out, lse.new_empty(batch, rows, heads, groups, columns.shape[-1]), lse


@attention_operator.register_fake
def _(queries, keys, values, columns, owner, starts, blocks, counts, ends, block, scaling, groups_first):
    return _empty_outputs(queries, columns, groups_first)


@attention_backward_operator.register_fake
def _(out_grad, attended_grad, queries, keys, values, columns, out, attended, *layout):
    grads = [torch.empty_like(states, memory_format=torch.contiguous_format) for states in (queries, keys, values)]
    return *grads, torch.empty_like(columns) if columns is not None else attended.new_empty(0)


def _keep(ctx, inputs, output) -> None:
    queries, keys, values, columns, owner, starts, blocks, counts, ends, block, scaling, _ = inputs
    ctx.save_for_backward(queries, keys, values, columns, *output, owner, starts, blocks, counts, ends)
    ctx.settings = block, scaling
    ctx.mark_non_differentiable(output[2])


def _backward(ctx, out_grad, attended_grad, _):
    grads = attention_backward_operator(out_grad, attended_grad, *ctx.saved_tensors, *ctx.settings)
    has_columns = ctx.saved_tensors[3] is not None
    return *grads[:3], grads[3] if has_columns else None, *(None,) * 8


attention_operator.register_autograd(_backward, setup_context=_keep)


def _rows_contiguous(states: torch.Tensor | None) -> torch.Tensor | None:
    """`states` with neighbouring numbers in the last dimension."""
    return states if states is None or states.stride(-1) == 1 else states.contiguous()
