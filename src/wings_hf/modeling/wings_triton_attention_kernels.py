# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The Triton kernels of wings_triton_attention.py, and the sizes that they are launched with.

Shapes: `b` batch, `s` query rows, `t` keys, `e` head size, `c` columns, `K` key heads, `G` groups of queries.
"""

from typing import NamedTuple

import torch

from wings_hf.modeling.wings_triton import LOG2_E, constexpr, dot_precision, jit, padded, tl

MAX_COLUMNS = 16


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


class CallShape:
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
def forward_kernel(
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
def queries_grad_kernel(
    queries, keys_, values, columns, owner, starts, blocks_, counts,
    out, attended, lse_, out_grads, attended_grads, grads, deltas,
    q_b, q_h, q_g, q_t, k_b, k_h, k_t, v_b, v_h, v_t, r_b, r_t,
    o_b, o_t, o_h, o_g, p_b, p_t, p_h, p_g,
    heads, groups, rows, keys, blocks, scale,
    HEAD: constexpr, PADDED_HEAD: constexpr, COLUMNS: constexpr, PADDED_COLUMNS: constexpr, CLASSES: constexpr,
    STARTS: constexpr, PRECISION: constexpr, BLOCK_M: constexpr, BLOCK_N: constexpr,
):  # fmt: skip
    """Gradient of what `forward_kernel`'s program holds; also `delta = sum of out * its gradient`, for the keys."""
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
def keys_grad_kernel(
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
    key_grad *= scale * 0.6931471805599453  # see `queries_grad_kernel`
    place = (batch * heads + head) * keys * HEAD
    _store_tile(key_grads + place, key_grad, j, HEAD, keys, f, HEAD)
    _store_tile(value_grads + place, value_grad, j, HEAD, keys, f, HEAD)
    if COLUMNS > 0:
        place = (head * (tl.num_programs(1) // heads) + batch) * keys * COLUMNS
        _store_tile(column_grads + place, column_grad, j, COLUMNS, keys, c, COLUMNS)
