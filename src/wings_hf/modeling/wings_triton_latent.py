# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Attention of the learners in decoding, one query row, straight from the latent cache: a fused Triton kernel, forward.

A latent cache keeps the initial embeddings x (b, t, d) once for all layers, and for each layer the rank-r states
`a_k = x Ak` and `a_v = x Av` (b, t, r), with the maps of each position's own modality. Keys and values are then

    k_j = rotate(x_j + a_k[j] Bk)    v_j = x_j + a_v[j] Bv

and none of them is formed in memory: one load of x_j serves both. The values' map is applied after the sum,
`sum p_j v_j = sum p_j x_j + (sum p_j a_v[j]) Bv`, and without rotation the keys' is applied to the query before,
`q k_j = q x_j + (Bk q) a_k[j]`. With rotation it is the query that is turned back, for each key.

The keys are split among programs; a second kernel joins their shares of softmax and sums. A learner without a key
gives exactly 0.

Shapes: `b` batch, `t` keys, `d` hidden size, `h` heads, `e = d / h`, `n` learners, `r` rank, `p` rotated columns.
"""

import torch

from wings_hf.modeling.wings_triton import LOG2_E, constexpr, dot_precision, jit, operator_name, padded, tl

BLOCK_T = 64  # keys in a block; half of it where they are rotated, which takes more registers
LEARNER_ROWS = 16  # learners are the rows of a tile: the fewest that matrix units take
MAX_SPLITS = 32


def latent_decode(
    queries: torch.Tensor,
    x: torch.Tensor,
    key_states: torch.Tensor,
    value_states: torch.Tensor,
    key_up: torch.Tensor,
    value_up: torch.Tensor,
    owner: torch.Tensor,
    rope: tuple[torch.Tensor, torch.Tensor] | None = None,
    interleaved: bool = False,
    scaling: float | None = None,
) -> torch.Tensor:
    """
    What each learner gathers from the keys of its modality, for one query row; no gradients.

    Args:
        queries: after rotation, (b, n, h, e).
        x: initial embeddings, (b, t, d).
        key_states, value_states: a_k and a_v, (b, t, r).
        key_up, value_up: Bk and Bv of the n learners, (n, r, d).
        owner: index of the learner whose key it is, integers (b, t); -1 for keys that nobody sees.
        rope: cosines and signed sines of the keys' positions, float32 (b, t, p): `RopeSpec.tables` without the
            dimension of the heads; `None` where keys are not rotated.
        interleaved: whether neighbouring columns make a pair.
        scaling: of the scores; `None` for e ** -0.5.

    Returns:
        (b, n, h, e), contiguous: `flatten(2)` is (b, n, d).
    """
    if x.shape[-1] != queries.shape[2] * queries.shape[3]:
        raise ValueError(f"x is {x.shape[-1]} wide: expected {queries.shape[2]} heads of {queries.shape[3]} columns.")
    if queries.shape[1] > LEARNER_ROWS:
        raise ValueError(f"{queries.shape[1]} learners: expected at most {LEARNER_ROWS}.")
    scaling = queries.shape[-1] ** -0.5 if scaling is None else scaling
    cos, sin = (None, None) if rope is None else rope
    return latent_decode_operator(
        queries, x, key_states, value_states, key_up, value_up, owner, cos, sin, interleaved, float(scaling)
    )


@torch.library.custom_op(operator_name(__name__, "latent_decode"), mutates_args=())
def latent_decode_operator(
    queries: torch.Tensor,
    x: torch.Tensor,
    key_states: torch.Tensor,
    value_states: torch.Tensor,
    key_up: torch.Tensor,
    value_up: torch.Tensor,
    owner: torch.Tensor,
    cos: torch.Tensor | None,
    sin: torch.Tensor | None,
    interleaved: bool,
    scaling: float,
) -> torch.Tensor:
    """See `latent_decode`."""
    batch, learners, heads, size = queries.shape
    keys, rank = key_states.shape[1:]
    queries, key_up, value_up = queries.contiguous(), key_up.contiguous(), value_up.contiguous()
    states = [each if each.stride(-1) == 1 else each.contiguous() for each in (x, key_states, value_states)]
    if cos is not None:
        cos, sin = cos.contiguous(), sin.contiguous()
    block = BLOCK_T if cos is None else BLOCK_T // 2
    splits = split_count(-(-keys // block), batch * heads, queries.device)
    blocks = -(-keys // (block * splits))  # of each split
    shares = queries.new_empty(batch, heads, splits, learners, size + rank + 2, dtype=torch.float32)
    out = torch.empty_like(queries)
    constants = {
        "HEAD": size,
        "PADDED_HEAD": padded(size),
        "RANK": rank,
        "PADDED_RANK": padded(rank),
    }
    with torch.cuda.device_of(queries):
        _share_kernel[heads, splits, batch](
            queries, *states, key_up, owner.contiguous(), cos, sin, shares,
            *(stride for each in states for stride in each.stride()[:2]),
            learners, keys, blocks, scaling * LOG2_E,
            **constants, ROTATED=0 if cos is None else cos.shape[-1], INTERLEAVED=interleaved,
            PRECISION=dot_precision(queries.dtype), LEARNER_ROWS=LEARNER_ROWS, BLOCK_T=block,
            num_warps=4 if cos is None else 8, num_stages=2,
        )  # fmt: skip
        _join_kernel[heads, learners, batch](
            shares, value_up, out, splits, **constants, PADDED_SPLITS=MAX_SPLITS, num_warps=4
        )
    return out


@latent_decode_operator.register_fake
def _(queries, *others):
    return torch.empty_like(queries, memory_format=torch.contiguous_format)


def split_count(blocks: int, programs: int, device: torch.device) -> int:
    """Into how many parts the blocks of keys go, so that `programs` times as many fill the device about twice."""
    units = torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
    return max(1, min(MAX_SPLITS, blocks, 2 * units // programs))


# ---- kernels -----------------------------------------------------------------------------------------------------
# Names: m learners, j keys, f the head's columns, r ranks. A share is (sums of x, sums of a_v, top, total).


@jit
def _load_rows(pointer, row, row_stride, rows, column, COLUMNS: constexpr):
    """Rows of a matrix with neighbouring columns; 0 outside it."""
    inside = (row < rows)[:, None] & (column < COLUMNS)[None, :]
    return tl.load(pointer + row[:, None] * row_stride + column[None, :], mask=inside, other=0.0)


@jit
def _share_kernel(
    queries, x_, key_states, value_states, key_up, owner_, cos_, sin_, shares,
    x_b, x_t, k_b, k_t, v_b, v_t,
    learners, keys, blocks, scale,
    HEAD: constexpr, PADDED_HEAD: constexpr, RANK: constexpr, PADDED_RANK: constexpr, ROTATED: constexpr,
    INTERLEAVED: constexpr, PRECISION: constexpr, LEARNER_ROWS: constexpr, BLOCK_T: constexpr,
):  # fmt: skip
    """One program: one head of all learners, over `blocks` blocks of keys."""
    head, split, batch = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    heads = tl.num_programs(0)
    width = heads * HEAD
    m = tl.arange(0, LEARNER_ROWS)
    f = tl.arange(0, PADDED_HEAD)
    r = tl.arange(0, PADDED_RANK)
    query_place = queries + (batch * learners * heads + head) * HEAD
    query = _load_rows(query_place, m, width, learners, f, HEAD)
    low_query = tl.zeros([LEARNER_ROWS, PADDED_RANK], tl.float32)
    if ROTATED == 0:
        for learner in range(learners):
            up = _load_rows(key_up + learner * RANK * width + head * HEAD, r, width, RANK, f, HEAD)
            one = tl.load(query_place + learner * width + f, mask=f < HEAD, other=0.0)
            low = tl.sum(up.to(tl.float32) * one.to(tl.float32)[None, :], 1)
            low_query = tl.where((m == learner)[:, None], low[None, :], low_query)
    top = tl.full([LEARNER_ROWS], float("-inf"), tl.float32)
    total = tl.zeros([LEARNER_ROWS], tl.float32)
    sums = tl.zeros([LEARNER_ROWS, PADDED_HEAD], tl.float32)
    low_sums = tl.zeros([LEARNER_ROWS, PADDED_RANK], tl.float32)
    for block in range(split * blocks, tl.minimum((split + 1) * blocks, tl.cdiv(keys, BLOCK_T))):
        j = block * BLOCK_T + tl.arange(0, BLOCK_T)
        owner = tl.load(owner_ + batch * keys + j, mask=j < keys, other=-1)
        x = _load_rows(x_ + batch * x_b + head * HEAD, j, x_t, keys, f, HEAD)
        low_key = _load_rows(key_states + batch * k_b, j, k_t, keys, r, RANK)
        low_value = _load_rows(value_states + batch * v_b, j, v_t, keys, r, RANK)
        if ROTATED == 0:
            scores = tl.dot(query, tl.trans(x), input_precision=PRECISION)
            scores += tl.dot(low_query.to(x.dtype), tl.trans(low_key), input_precision=PRECISION)
        else:
            one_score = _rotated_scores(
                query_place, x, low_key, key_up + head * HEAD, owner, cos_, sin_, batch * keys + j, j < keys,
                f, r, learners, width,
                HEAD, PADDED_HEAD, RANK, ROTATED, INTERLEAVED, PRECISION, BLOCK_T,
            )  # fmt: skip
            scores = tl.broadcast_to(one_score[None, :], [LEARNER_ROWS, BLOCK_T])
        scores = tl.where(m[:, None] == owner[None, :], scores * scale, float("-inf"))
        new_top = tl.maximum(top, tl.max(scores, 1))
        finite_top = tl.where(new_top == float("-inf"), 0.0, new_top)
        weights = tl.exp2(scores - finite_top[:, None])
        shrink = tl.exp2(top - finite_top)
        top = new_top
        total = total * shrink + tl.sum(weights, 1)
        weights = weights.to(x.dtype)
        sums = sums * shrink[:, None] + tl.dot(weights, x, input_precision=PRECISION)
        low_sums = low_sums * shrink[:, None] + tl.dot(weights, low_value, input_precision=PRECISION)
    share = shares + ((batch * heads + head) * tl.num_programs(1) + split) * learners * (HEAD + RANK + 2)
    place = m * (HEAD + RANK + 2)
    inside = m < learners
    tl.store(share + place[:, None] + f[None, :], sums, mask=inside[:, None] & (f < HEAD)[None, :])
    tl.store(share + place[:, None] + HEAD + r[None, :], low_sums, mask=inside[:, None] & (r < RANK)[None, :])
    tl.store(share + place + HEAD + RANK, top, mask=inside)
    tl.store(share + place + HEAD + RANK + 1, total, mask=inside)


@jit
def _rotated_scores(
    query_place, x, low_key, key_up, owner, cos_, sin_, row, in_rows, f, r, learners, width,
    HEAD: constexpr, PADDED_HEAD: constexpr, RANK: constexpr, ROTATED: constexpr, INTERLEAVED: constexpr,
    PRECISION: constexpr, BLOCK_T: constexpr,
):  # fmt: skip
    """Score of each key with its owner's query, (BLOCK_T,): the key as it is, the query turned back."""
    half = ROTATED // 2
    partner = f + 1 - 2 * (f % 2) if INTERLEAVED else tl.where(f < half, f + half, f - half)
    rotated = f < ROTATED
    table = row[:, None] * ROTATED + f[None, :]
    inside = in_rows[:, None] & rotated[None, :]
    cos = tl.load(cos_ + table, mask=inside, other=1.0)
    sin = tl.load(sin_ + table, mask=inside, other=0.0)
    key = x.to(tl.float32)
    query = tl.zeros([BLOCK_T, PADDED_HEAD], tl.float32)
    for learner in range(learners):
        own = owner == learner
        one = tl.load(query_place + learner * width + f, mask=f < HEAD, other=0.0).to(tl.float32)
        swapped = tl.load(query_place + learner * width + partner, mask=rotated, other=0.0).to(tl.float32)
        query = tl.where(own[:, None], one[None, :] * cos - swapped[None, :] * sin, query)
        if tl.max(own.to(tl.int32)) > 0:
            up = _load_rows(key_up + learner * RANK * width, r, width, RANK, f, HEAD)
            low = tl.where(own[:, None], low_key, tl.zeros_like(low_key))
            key += tl.dot(low, up, input_precision=PRECISION)
    return tl.sum(key * query, 1)


@jit
def _join_kernel(
    shares, value_up, out, splits,
    HEAD: constexpr, PADDED_HEAD: constexpr, RANK: constexpr, PADDED_RANK: constexpr, PADDED_SPLITS: constexpr,
):  # fmt: skip
    """One program: one head of one learner; joins the splits and applies the map of the values."""
    head, learner, batch = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    heads, learners = tl.num_programs(0), tl.num_programs(1)
    i = tl.arange(0, PADDED_SPLITS)
    f = tl.arange(0, PADDED_HEAD)
    r = tl.arange(0, PADDED_RANK)
    share = shares + ((batch * heads + head) * splits * learners + learner) * (HEAD + RANK + 2)
    stride = learners * (HEAD + RANK + 2)
    top = tl.load(share + i * stride + HEAD + RANK, mask=i < splits, other=float("-inf"))
    highest = tl.max(top)
    shrink = tl.exp2(top - tl.where(highest == float("-inf"), 0.0, highest))
    total = tl.sum(shrink * tl.load(share + i * stride + HEAD + RANK + 1, mask=i < splits, other=0.0))
    sums = tl.sum(shrink[:, None] * _load_rows(share, i, stride, splits, f, HEAD), 0)
    low_sums = tl.sum(shrink[:, None] * _load_rows(share + HEAD, i, stride, splits, r, RANK), 0)
    width = heads * HEAD
    up = _load_rows(value_up + learner * RANK * width + head * HEAD, r, width, RANK, f, HEAD)
    sums += tl.sum(low_sums[:, None] * up.to(tl.float32), 0)
    result = sums / tl.where(total == 0.0, 1.0, total)
    place = ((batch * learners + learner) * heads + head) * HEAD
    tl.store(out + place + f, result.to(out.dtype.element_ty), mask=f < HEAD)
