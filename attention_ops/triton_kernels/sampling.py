"""Weighted bilinear samples of several maps on a GPU, forward and backward. See `sampling`.

A program owns BLOCK_R rows, a row being one head of one query, with all D channels of each: a corner
is one coalesced read of D numbers. Sums are in float32. The sizes of the maps are a tuple of floats,
H0, W0, H1, W1, ...: Triton compiles anew for integers that are 1 or become multiples of 16, and never
for floats, so images of other sizes compile nothing again.
"""

import triton
import triton.language as tl


@triton.jit
def _axis(fraction, side):
    """Left cell and share of the right one for positions (R,) along an axis of `side` cells.

    Past the border by more than a cell every corner is off the map; NaN is sent there.
    """
    place = fraction * side - 0.5
    place = tl.where(place == place, place, -2.0)
    place = tl.minimum(tl.maximum(place, -2.0), side + 1.0)
    left = tl.floor(place)
    return left.to(tl.int32), place - left


@triton.jit
def _place(location, weight, point, live, height, width):
    """What a point of every row needs: left, top, shares of the right and lower cell, weight."""
    x = tl.load(location + 2 * point, mask=live, other=-2.0)
    y = tl.load(location + 2 * point + 1, mask=live, other=-2.0)
    left, right_share = _axis(x, width)
    top, low_share = _axis(y, height)
    return left, top, right_share, low_share, tl.load(weight + point, mask=live, other=0.0)


@triton.jit
def _is_on_map(column, row, height, width):
    return (column >= 0) & (column < width) & (row >= 0) & (row < height)


@triton.jit(do_not_specialize=["rows", "S", "Q"])
def sample_forward(
    value, location, weight, message, sizes, rows, S, Q,
    M: tl.constexpr, K: tl.constexpr, D: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Message (rows, D) of value (B, S, M, D), location (rows, L, K, 2) and weight (rows, L, K)."""
    r = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    d = tl.arange(0, BLOCK_D)
    live = r < rows
    channels = d[None, :] < D
    head = r % M
    image = r // (M * Q)
    total = tl.zeros([BLOCK_R, BLOCK_D], tl.float32)
    first = 0
    for level in tl.static_range(len(sizes) // 2):
        height = sizes[2 * level]
        width = sizes[2 * level + 1]
        for k in range(K):
            point = (r * (len(sizes) // 2) + level) * K + k
            left, top, right_share, low_share, share = _place(
                location, weight, point, live, height, width
            )
            for corner in tl.static_range(4):
                column = left + corner % 2
                row = top + corner // 2
                along = right_share if corner % 2 == 1 else 1.0 - right_share
                down = low_share if corner // 2 == 1 else 1.0 - low_share
                on_map = live & _is_on_map(column, row, height, width)
                token = (image * S + first + row * width.to(tl.int32) + column) * M + head
                part = tl.load(
                    value + token[:, None] * D + d[None, :],
                    mask=on_map[:, None] & channels,
                    other=0.0,
                )
                total += (along * down * share)[:, None] * part.to(tl.float32)
        first += height.to(tl.int32) * width.to(tl.int32)
    tl.store(
        message + r[:, None] * D + d[None, :],
        total.to(message.dtype.element_ty),
        mask=live[:, None] & channels,
    )


@triton.jit(do_not_specialize=["rows", "S", "Q"])
def sample_backward(
    grad, value, location, weight, grad_value, grad_location, grad_weight, corner_token, sizes,
    rows, S, Q,
    M: tl.constexpr, K: tl.constexpr, D: tl.constexpr, LISTS: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Gradients of location and weight; that of the value by atomic additions, in float32.

    With LISTS the value's gradient is left to `sum_lists`: for every row, level, point and corner,
    `corner_token` (rows, L, K, 4) gets the number of its value (B * S * M where it has none) and
    `grad_value`, then of that shape, the factor of the row's gradient there.
    """
    r = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    d = tl.arange(0, BLOCK_D)
    live = r < rows
    channels = d[None, :] < D
    head = r % M
    image = r // (M * Q)
    none = (rows // Q) * S
    of_message = tl.load(
        grad + r[:, None] * D + d[None, :], mask=live[:, None] & channels, other=0.0
    ).to(tl.float32)
    first = 0
    for level in tl.static_range(len(sizes) // 2):
        height = sizes[2 * level]
        width = sizes[2 * level + 1]
        for k in range(K):
            point = (r * (len(sizes) // 2) + level) * K + k
            left, top, right_share, low_share, share = _place(
                location, weight, point, live, height, width
            )
            of_x = tl.zeros([BLOCK_R], tl.float32)
            of_y = tl.zeros([BLOCK_R], tl.float32)
            of_weight = tl.zeros([BLOCK_R], tl.float32)
            for corner in tl.static_range(4):
                column = left + corner % 2
                row = top + corner // 2
                along = right_share if corner % 2 == 1 else 1.0 - right_share
                down = low_share if corner // 2 == 1 else 1.0 - low_share
                on_map = live & _is_on_map(column, row, height, width)
                token = (image * S + first + row * width.to(tl.int32) + column) * M + head
                here = on_map[:, None] & channels
                at = token[:, None] * D + d[None, :]
                part = tl.load(value + at, mask=here, other=0.0).to(tl.float32)
                inner = tl.sum(part * of_message, axis=1)
                of_weight += along * down * inner
                of_x += (down if corner % 2 == 1 else -down) * inner
                of_y += (along if corner // 2 == 1 else -along) * inner
                factor = along * down * share
                if LISTS:
                    entry = point.to(tl.int64) * 4 + corner
                    tl.store(corner_token + entry, tl.where(on_map, token, none), mask=live)
                    tl.store(grad_value + entry, factor, mask=live)
                else:
                    tl.atomic_add(
                        grad_value + at, factor[:, None] * of_message, mask=here, sem="relaxed"
                    )
            tl.store(grad_weight + point, of_weight, mask=live)
            tl.store(grad_location + 2 * point, of_x * share * width, mask=live)
            tl.store(grad_location + 2 * point + 1, of_y * share * height, mask=live)
        first += height.to(tl.int32) * width.to(tl.int32)


@triton.jit(do_not_specialize=["points"])
def sum_lists(
    grad, order, factor, start, grad_value, points,
    D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """grad_value (tokens, D): for each token the sum over its list, one entry after the other.

    The list of token t is order[start[t]:start[t + 1]], numbers of entries; entry e belongs to row
    e // points of `grad` and counts factor[e] times.
    """
    token = tl.program_id(0)
    d = tl.arange(0, BLOCK_D)
    total = tl.zeros([BLOCK_D], tl.float32)
    for i in range(tl.load(start + token), tl.load(start + token + 1)):
        entry = tl.load(order + i)
        part = tl.load(grad + (entry // points) * D + d, mask=d < D, other=0.0)
        total += tl.load(factor + entry) * part.to(tl.float32)
    tl.store(grad_value + token * D + d, total, mask=d < D)
