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

from wings_hf.modeling.wings_triton import LOG2_E, constexpr, dot_precision, jit, operator_name, padded, tl

MAX_COLUMNS = 16


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
    shape = _Shape(queries, keys, columns, starts, blocks, scaling)
    tiles = tiles_for("forward", shape.padded_head, queries.dtype)
    with torch.cuda.device_of(queries):
        _forward_kernel[shape.row_grid(tiles)](
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
    shape = _Shape(queries, keys, columns, starts, blocks, scaling)
    strides = (*queries.stride()[:4], *keys.stride()[:3], *values.stride()[:3], *shape.column_strides(columns))
    with torch.cuda.device_of(queries):
        tiles = tiles_for("queries", shape.padded_head, queries.dtype)
        _queries_grad_kernel[shape.row_grid(tiles)](
            queries, keys, values, columns, owner, starts, blocks, counts,
            out, attended, lse, out_grad, attended_grad, grads[0], delta,
            *strides, *out.stride()[:4], *out_grad.stride()[:4], *shape.sizes(), **shape.constants(),
            BLOCK_M=tiles.rows, BLOCK_N=block, num_warps=tiles.warps, num_stages=tiles.stages,
        )  # fmt: skip
        tiles = tiles_for("keys", shape.padded_head, queries.dtype)
        side = min(block, tiles.keys)
        _keys_grad_kernel[(-(-shape.keys // side), shape.batch * shape.heads)](
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


# ---- launching ---------------------------------------------------------------------------------------------------


class Tiles(NamedTuple):
    """Query rows and keys that one program holds, its warps, and the depth of its pipeline of loads."""

    rows: int
    keys: int
    warps: int
    stages: int


def tiles_for(step: str, padded_head: int, dtype: torch.dtype) -> Tiles:
    """
    Args:
        step: "forward", "queries" (their gradient) or "keys" (theirs and the values').
        padded_head: head size, up to the next power of two.
    """
    if dtype == torch.float32:
        return Tiles(rows=32, keys=32, warps=8, stages=1)
    rows = 32 if step == "keys" else 128 if step == "forward" and padded_head <= 128 else 64
    return Tiles(rows=rows, keys=64, warps=8, stages=2 if padded_head <= 128 else 1)


class _Shape:
    """Sizes of one call, in the forms that the kernels take."""

    def __init__(self, queries, keys, columns, starts, blocks, scaling):
        self.batch, self.heads, self.groups, self.rows, self.head_size = queries.shape
        self.keys = keys.shape[2]
        self.padded_head = padded(self.head_size)
        self.columns = 0 if columns is None else columns.shape[-1]
        self.classes, self.blocks = blocks.shape[1:]
        self.starts = starts is not None
        self.scaling = scaling
        self.precision = dot_precision(queries.dtype)

    def row_grid(self, tiles: Tiles) -> tuple[int, int]:
        return -(-self.rows // tiles.rows), self.batch * self.heads * self.groups

    def sizes(self) -> tuple[int | float, ...]:
        return self.heads, self.groups, self.rows, self.keys, self.blocks, self.scaling * LOG2_E

    def constants(self) -> dict[str, int | bool | str]:
        return {
            "HEAD": self.head_size,
            "PADDED_HEAD": self.padded_head,
            "COLUMNS": self.columns,
            "PADDED_COLUMNS": MAX_COLUMNS,
            "CLASSES": self.classes,
            "STARTS": self.starts,
            "PRECISION": self.precision,
        }

    def column_strides(self, columns: torch.Tensor | None) -> tuple[int, int]:
        return (0, 0) if columns is None else columns.stride()[:2]


# ---- kernels -----------------------------------------------------------------------------------------------------
# Names: i rows, j keys, f the head's columns, c the columns R. `*_b`, `*_h`, `*_g`, `*_t` are strides.


@jit
def _place(heads, groups):
    """Batch entry (64 bit, for offsets), key head and group of the program."""
    index = tl.program_id(1)
    return (index // (heads * groups)).to(tl.int64), index // groups % heads, index % groups


@jit
def _load_tile(pointer, row, row_stride, rows, column, COLUMNS: constexpr):
    """Rows of a matrix with neighbouring columns; 0 outside it."""
    inside = (row < rows)[:, None] & (column < COLUMNS)[None, :]
    return tl.load(pointer + row[:, None] * row_stride + column[None, :], mask=inside, other=0.0)


@jit
def _store_tile(pointer, tile, row, row_stride, rows, column, COLUMNS: constexpr):
    inside = (row < rows)[:, None] & (column < COLUMNS)[None, :]
    tl.store(pointer + row[:, None] * row_stride + column[None, :], tile.to(pointer.dtype.element_ty), mask=inside)


@jit
def _visible_blocks(starts, counts, batch, group, i, rows, keys, blocks,
                    CLASSES: constexpr, STARTS: constexpr, BLOCK_M: constexpr, BLOCK_N: constexpr):  # fmt: skip
    """First key that each row i sees; where the class's blocks are listed, and which of the list these rows see."""
    listed = batch * CLASSES + group % CLASSES
    start = tl.zeros([BLOCK_M], tl.int32)
    first_block = 0
    if STARTS:
        start = tl.load(starts + batch * rows + i, mask=i < rows, other=keys)
        first_block = tl.minimum(tl.min(start) // BLOCK_N, blocks)
    last_key = tl.minimum(tl.max(i), rows - 1) + keys - rows
    end_block = tl.maximum(last_key + BLOCK_N, 0) // BLOCK_N
    first = tl.load(counts + listed * (blocks + 1) + first_block)
    end = tl.load(counts + listed * (blocks + 1) + end_block)
    return start, listed * blocks, first, end


@jit
def _forward_kernel(
    queries, keys_, values, columns, owner, starts, blocks_, counts, out, attended, lse,
    q_b, q_h, q_g, q_t, k_b, k_h, k_t, v_b, v_h, v_t, r_b, r_t, o_b, o_t, o_h, o_g,
    heads, groups, rows, keys, blocks, scale,
    HEAD: constexpr, PADDED_HEAD: constexpr, COLUMNS: constexpr, PADDED_COLUMNS: constexpr, CLASSES: constexpr,
    STARTS: constexpr, PRECISION: constexpr, BLOCK_M: constexpr, BLOCK_N: constexpr,
):  # fmt: skip
    """One program: BLOCK_M rows of one query head, over the blocks of keys that they see."""
    batch, head, group = _place(heads, groups)
    i = (tl.num_programs(0) - 1 - tl.program_id(0)) * BLOCK_M + tl.arange(0, BLOCK_M)  # the longest rows first
    f = tl.arange(0, PADDED_HEAD)
    c = tl.arange(0, PADDED_COLUMNS)
    start, listed, first, end = _visible_blocks(
        starts, counts, batch, group, i, rows, keys, blocks, CLASSES, STARTS, BLOCK_M, BLOCK_N
    )
    query = _load_tile(queries + batch * q_b + head * q_h + group * q_g, i, q_t, rows, f, HEAD)
    top = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    sums = tl.zeros([BLOCK_M, PADDED_HEAD], tl.float32)
    column_sums = tl.zeros([BLOCK_M, PADDED_COLUMNS], tl.float32)
    for index in range(first, end):
        j = tl.load(blocks_ + listed + index) * BLOCK_N + tl.arange(0, BLOCK_N)
        key = _load_tile(keys_ + batch * k_b + head * k_h, j, k_t, keys, f, HEAD)
        own = tl.load(owner + batch * keys + j, mask=j < keys, other=-1) == group % CLASSES
        seen = own[None, :] & (j[None, :] <= (i + keys - rows)[:, None])
        if STARTS:
            seen = seen & (j[None, :] >= start[:, None])
        scores = tl.where(seen, tl.dot(query, tl.trans(key), input_precision=PRECISION) * scale, float("-inf"))
        new_top = tl.maximum(top, tl.max(scores, 1))
        finite_top = tl.where(new_top == float("-inf"), 0.0, new_top)
        weights = tl.exp2(scores - finite_top[:, None])
        shrink = tl.exp2(top - finite_top)
        top = new_top
        total = total * shrink + tl.sum(weights, 1)
        value = _load_tile(values + batch * v_b + head * v_h, j, v_t, keys, f, HEAD)
        weights = weights.to(value.dtype)
        sums = sums * shrink[:, None] + tl.dot(weights, value, input_precision=PRECISION)
        if COLUMNS > 0:
            column = _load_tile(columns + batch * r_b, j, r_t, keys, c, COLUMNS).to(value.dtype)
            column_sums = column_sums * shrink[:, None] + tl.dot(weights, column, input_precision=PRECISION)
    total = tl.where(total == 0.0, 1.0, total)  # rows without a key: 0
    _store_tile(out + batch * o_b + head * o_h + group * o_g, sums / total[:, None], i, o_t, rows, f, HEAD)
    query_head = head * groups + group
    if COLUMNS > 0:
        place = (batch * rows * heads * groups + query_head) * COLUMNS
        stride = heads * groups * COLUMNS
        _store_tile(attended + place, column_sums / total[:, None], i, stride, rows, c, COLUMNS)
    top = tl.where(top == float("-inf"), 0.0, top)
    tl.store(lse + (batch * heads * groups + query_head) * rows + i, top + tl.log2(total), mask=i < rows)


@jit
def _queries_grad_kernel(
    queries, keys_, values, columns, owner, starts, blocks_, counts,
    out, attended, lse_, out_grads, attended_grads, grads, deltas,
    q_b, q_h, q_g, q_t, k_b, k_h, k_t, v_b, v_h, v_t, r_b, r_t,
    o_b, o_t, o_h, o_g, p_b, p_t, p_h, p_g,
    heads, groups, rows, keys, blocks, scale,
    HEAD: constexpr, PADDED_HEAD: constexpr, COLUMNS: constexpr, PADDED_COLUMNS: constexpr, CLASSES: constexpr,
    STARTS: constexpr, PRECISION: constexpr, BLOCK_M: constexpr, BLOCK_N: constexpr,
):  # fmt: skip
    """Gradient of what `_forward_kernel`'s program holds; also `delta = sum of out * its gradient`, for the keys."""
    batch, head, group = _place(heads, groups)
    query_head = head * groups + group
    i = (tl.num_programs(0) - 1 - tl.program_id(0)) * BLOCK_M + tl.arange(0, BLOCK_M)
    f = tl.arange(0, PADDED_HEAD)
    c = tl.arange(0, PADDED_COLUMNS)
    start, listed, first, end = _visible_blocks(
        starts, counts, batch, group, i, rows, keys, blocks, CLASSES, STARTS, BLOCK_M, BLOCK_N
    )
    query = _load_tile(queries + batch * q_b + head * q_h + group * q_g, i, q_t, rows, f, HEAD)
    output = _load_tile(out + batch * o_b + head * o_h + group * o_g, i, o_t, rows, f, HEAD)
    out_grad = _load_tile(out_grads + batch * p_b + head * p_h + group * p_g, i, p_t, rows, f, HEAD)
    delta = tl.sum(output.to(tl.float32) * out_grad.to(tl.float32), 1)
    if COLUMNS > 0:
        place = (batch * rows * heads * groups + query_head) * COLUMNS
        stride = heads * groups * COLUMNS
        attended_grad = _load_tile(attended_grads + place, i, stride, rows, c, COLUMNS)
        delta += tl.sum(_load_tile(attended + place, i, stride, rows, c, COLUMNS) * attended_grad, 1)
        attended_grad = attended_grad.to(query.dtype)
    place = (batch * heads * groups + query_head) * rows
    tl.store(deltas + place + i, delta, mask=i < rows)
    lse = tl.load(lse_ + place + i, mask=i < rows, other=0.0)
    grad = tl.zeros([BLOCK_M, PADDED_HEAD], tl.float32)
    for index in range(first, end):
        j = tl.load(blocks_ + listed + index) * BLOCK_N + tl.arange(0, BLOCK_N)
        key = _load_tile(keys_ + batch * k_b + head * k_h, j, k_t, keys, f, HEAD)
        own = tl.load(owner + batch * keys + j, mask=j < keys, other=-1) == group % CLASSES
        seen = own[None, :] & (j[None, :] <= (i + keys - rows)[:, None])
        if STARTS:
            seen = seen & (j[None, :] >= start[:, None])
        scores = tl.dot(query, tl.trans(key), input_precision=PRECISION) * scale
        weights = tl.where(seen, tl.exp2(scores - lse[:, None]), 0.0)
        value = _load_tile(values + batch * v_b + head * v_h, j, v_t, keys, f, HEAD)
        weights_grad = tl.dot(out_grad, tl.trans(value), input_precision=PRECISION)
        if COLUMNS > 0:
            column = _load_tile(columns + batch * r_b, j, r_t, keys, c, COLUMNS).to(query.dtype)
            weights_grad += tl.dot(attended_grad, tl.trans(column), input_precision=PRECISION)
        scores_grad = weights * (weights_grad - delta[:, None])
        grad += tl.dot(scores_grad.to(key.dtype), key, input_precision=PRECISION)
    grad *= scale * 0.6931471805599453  # `scale` is for powers of 2: times ln 2 it is for those of e
    place = ((batch * heads * groups + query_head) * rows) * HEAD
    _store_tile(grads + place, grad, i, HEAD, rows, f, HEAD)


@jit
def _keys_grad_kernel(
    queries, keys_, values, columns, owner, starts, counts, ends,
    lse_, out_grads, attended_grads, deltas, key_grads, value_grads, column_grads,
    q_b, q_h, q_g, q_t, k_b, k_h, k_t, v_b, v_h, v_t, r_b, r_t, p_b, p_t, p_h, p_g,
    heads, groups, rows, keys, blocks, scale,
    HEAD: constexpr, PADDED_HEAD: constexpr, COLUMNS: constexpr, PADDED_COLUMNS: constexpr, CLASSES: constexpr,
    STARTS: constexpr, PRECISION: constexpr, BLOCK_M: constexpr, BLOCK_N: constexpr, LAYOUT_BLOCK: constexpr,
):  # fmt: skip
    """One program: BLOCK_N keys of one key head, over the rows of all its query heads that see them."""
    head, batch = tl.program_id(1) % heads, (tl.program_id(1) // heads).to(tl.int64)
    j = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    f = tl.arange(0, PADDED_HEAD)
    c = tl.arange(0, PADDED_COLUMNS)
    key = _load_tile(keys_ + batch * k_b + head * k_h, j, k_t, keys, f, HEAD)
    value = _load_tile(values + batch * v_b + head * v_h, j, v_t, keys, f, HEAD)
    key_owner = tl.load(owner + batch * keys + j, mask=j < keys, other=-1)
    key_grad = tl.zeros([BLOCK_N, PADDED_HEAD], tl.float32)
    value_grad = tl.zeros([BLOCK_N, PADDED_HEAD], tl.float32)
    column_grad = tl.zeros([BLOCK_N, PADDED_COLUMNS], tl.float32)
    if COLUMNS > 0:
        column = _load_tile(columns + batch * r_b, j, r_t, keys, c, COLUMNS).to(key.dtype)
    layout_block = tl.program_id(0) * BLOCK_N // LAYOUT_BLOCK
    first_row = tl.maximum(tl.program_id(0) * BLOCK_N + rows - keys, 0)
    end_row = rows
    if STARTS:
        end_row = tl.load(ends + batch * blocks + layout_block)
    for group in range(groups):
        listed = (batch * CLASSES + group % CLASSES) * (blocks + 1) + layout_block
        owns_any = tl.load(counts + listed + 1) > tl.load(counts + listed)
        own = key_owner == group % CLASSES
        end_block = tl.where(owns_any, (end_row + BLOCK_M - 1) // BLOCK_M, 0)
        for row_block in range(first_row // BLOCK_M, end_block):
            i = row_block * BLOCK_M + tl.arange(0, BLOCK_M)
            query = _load_tile(queries + batch * q_b + head * q_h + group * q_g, i, q_t, rows, f, HEAD)
            out_grad = _load_tile(out_grads + batch * p_b + head * p_h + group * p_g, i, p_t, rows, f, HEAD)
            place = ((batch * heads + head) * groups + group) * rows
            lse = tl.load(lse_ + place + i, mask=i < rows, other=0.0)
            delta = tl.load(deltas + place + i, mask=i < rows, other=0.0)
            seen = own[:, None] & (j[:, None] <= (i + keys - rows)[None, :]) & (i < rows)[None, :]
            if STARTS:
                start = tl.load(starts + batch * rows + i, mask=i < rows, other=keys)
                seen = seen & (j[:, None] >= start[None, :])
            scores = tl.dot(key, tl.trans(query), input_precision=PRECISION) * scale
            weights = tl.where(seen, tl.exp2(scores - lse[None, :]), 0.0)
            rounded = weights.to(key.dtype)
            value_grad += tl.dot(rounded, out_grad, input_precision=PRECISION)
            weights_grad = tl.dot(value, tl.trans(out_grad), input_precision=PRECISION)
            if COLUMNS > 0:
                place = ((batch * rows * heads + head) * groups + group) * COLUMNS
                stride = heads * groups * COLUMNS
                attended_grad = _load_tile(attended_grads + place, i, stride, rows, c, COLUMNS).to(key.dtype)
                weights_grad += tl.dot(column, tl.trans(attended_grad), input_precision=PRECISION)
                column_grad += tl.dot(rounded, attended_grad, input_precision=PRECISION)
            scores_grad = weights * (weights_grad - delta[None, :])
            key_grad += tl.dot(scores_grad.to(key.dtype), query, input_precision=PRECISION)
    key_grad *= scale * 0.6931471805599453  # see `_queries_grad_kernel`
    place = (batch * heads + head) * keys * HEAD
    _store_tile(key_grads + place, key_grad, j, HEAD, keys, f, HEAD)
    _store_tile(value_grads + place, value_grad, j, HEAD, keys, f, HEAD)
    if COLUMNS > 0:
        place = (head * (tl.num_programs(1) // heads) + batch) * keys * COLUMNS
        _store_tile(column_grads + place, column_grad, j, COLUMNS, keys, c, COLUMNS)
