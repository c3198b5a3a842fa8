"""Launch settings: paddings, warps and tile sizes by size and dtype, from what the compiler says.

A fine program has one parent and so few numbers that one warp is best until registers run out
(`python -m attention_ops.triton_kernels.aot` prints registers and spills for every setting).
"""

from dataclasses import dataclass

FAN_OUTS = (2, 4)
DOT_SIDE = 16  # the shortest side that a matrix product may sum over
MAX_CHANNELS = 128
MAX_TOPK = 128
MAX_CANDIDATES = 256  # of a fine level: F * K, padded
MAX_TILE = 1 << 14  # candidates times channels, both padded, that a fine program holds
MAX_PROGRAMS = (1 << 31) - 1
MAX_SLAB = 1 << 31  # elements of one head of one image: offsets inside it are int32

OPTIONS = {"num_stages": 1, "enable_fp_fusion": True}  # no loop gains from loads ahead of their use
FINE_BYTES = 1 << 12  # of keys that a warp of a fine program holds: more would spill registers
COARSE_KEYS = 64  # columns of the tile of the coarse forward, or more for a longer selection
WIDE_COARSE_KEYS = 32  # the same for float32 rows of more channels than these
WIDE_CHANNELS = 64  # float32 rows from which a block has few queries, however many there are
COARSE_TILE = {4: 1 << 12, 2: 1 << 14}  # by bytes: numbers of keys from which 4 warps would spill
MANY_QUERIES = 1 << 14  # a GPU of 132 processors has 4 blocks of 32 queries on each
BACKWARD_SIDE = 32


@dataclass(frozen=True)
class Blocks:
    """Tile of the coarse kernels."""

    queries: int
    keys: int
    warps: int


def padded(count: int, least: int = 1) -> int:
    """The smallest power of two that is no less than `count` and `least`."""
    return max(1 << max(count - 1, 0).bit_length(), least)


def padded_channels(D: int) -> int:
    """Channels as a kernel holds them."""
    return padded(D, DOT_SIDE)


def padded_parents(K: int, F: int) -> int:
    """Parents as a fine kernel holds them: enough candidates for a matrix product."""
    return padded(K, DOT_SIDE // F)


def fine_warps(candidates: int, channels: int, element_size: int) -> int:
    """Warps of a fine program that holds this tile of keys, and as many values."""
    return min(max(candidates * channels * element_size // FINE_BYTES, 1), 8)


def coarse_blocks(L: int, channels: int, topk: int, slabs: int, element_size: int) -> Blocks:
    """Tile of a coarse program: small blocks of queries where there are few of them in all.

    A tile has at least as many columns as are selected: see `coarse_forward`, step 1.
    """
    width = channels if element_size == 4 else 0
    queries = 32 if slabs * L >= MANY_QUERIES and width < WIDE_CHANNELS else 16
    keys = padded(topk, WIDE_COARSE_KEYS if width > WIDE_CHANNELS else COARSE_KEYS)
    return Blocks(queries, keys, 8 if keys * channels >= COARSE_TILE[element_size] else 4)


def coarse_backward_blocks(channels: int, element_size: int) -> Blocks:
    """Tile of the coarse backward: the side that a program owns, and the side it walks."""
    return Blocks(BACKWARD_SIDE, BACKWARD_SIDE, 8 if element_size == 4 or channels > 32 else 4)
