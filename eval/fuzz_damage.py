"""Ways in which a file can be broken, by chance or on purpose: every damage is bytes in, bytes out.

Most damage goes where the structure of a file is: into its first bytes and into its numbers.
"""

import re
from collections.abc import Callable

import numpy as np

NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
ODD_WORDS = (
    *(b"-1", b"0", b"1e999", b"nan", b"-inf", b"99999999999999999999", b"1e-320", b"2147483648"),
    *(b"null", b"true", b"[]", b"{}", b'""', b"\xff\xfe", b"\x00", b"\n", b"../../../etc/passwd"),
    *(b"[" * 2000, b"9" * 5000),
)
LENGTHS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
HEAD = 256  # bytes in which most headers end
MAX_GROWTH = 2**16
Damage = Callable[[bytearray, np.random.Generator], None]


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """A copy of `data` with one to four damages."""
    broken = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        DAMAGES[int(rng.integers(len(DAMAGES)))](broken, rng)
    return bytes(broken)


def _place(data: bytearray, rng: np.random.Generator) -> int:
    """A position, half of the time in the head."""
    last = min(len(data), HEAD) if rng.integers(2) else len(data)
    return int(rng.integers(max(last, 1)))


def _block(data: bytearray, rng: np.random.Generator) -> slice:
    start = _place(data, rng)
    return slice(start, start + int(rng.integers(1, 65)))


def flip_bits(data: bytearray, rng: np.random.Generator) -> None:
    """One to eight bits the other way round."""
    for _ in range(int(rng.integers(1, 9))):
        if data:
            data[_place(data, rng)] ^= 1 << int(rng.integers(8))


def truncate(data: bytearray, rng: np.random.Generator) -> None:
    """Only the beginning."""
    del data[_place(data, rng) :]


def lengthen(data: bytearray, rng: np.random.Generator) -> None:
    """Random bytes at the end."""
    data.extend(rng.bytes(int(rng.integers(1, 4096))))


def set_length(data: bytearray, rng: np.random.Generator) -> None:
    """An extreme integer of 1, 2, 4 or 8 bytes, as length fields hold them."""
    width = int(rng.choice([1, 2, 4, 8]))
    value = LENGTHS[int(rng.integers(len(LENGTHS)))] % 256**width
    order: list[str] = ["little", "big"]
    start = _place(data, rng)
    big = order[int(rng.integers(2))] == "big"
    field = value.to_bytes(width, "big") if big else value.to_bytes(width, "little")
    data[start : start + width] = field


def swap_blocks(data: bytearray, rng: np.random.Generator) -> None:
    """Two blocks in each other's place."""
    first, second = _block(data, rng), _block(data, rng)
    held = data[first]
    data[first] = data[second]
    data[second] = held


def drop_block(data: bytearray, rng: np.random.Generator) -> None:
    """A block less."""
    del data[_block(data, rng)]


def repeat_block(data: bytearray, rng: np.random.Generator) -> None:
    """A block many times."""
    block = _block(data, rng)
    times = int(rng.integers(1, 1 + MAX_GROWTH // 64))
    data[block.start : block.start] = bytes(data[block]) * times


def odd_number(data: bytearray, rng: np.random.Generator) -> None:
    """Another word in the place of a number that is written out."""
    found = list(NUMBER.finditer(data[: 2**15]))
    word = ODD_WORDS[int(rng.integers(len(ODD_WORDS)))]
    if found:
        match = found[int(rng.integers(len(found)))]
        data[match.start() : match.end()] = word
    else:
        start = _place(data, rng)
        data[start : start + len(word)] = word


def blank(data: bytearray, rng: np.random.Generator) -> None:
    """A block of one value."""
    block = _block(data, rng)
    data[block] = bytes([int(rng.choice([0, 255]))]) * len(data[block])


DAMAGES: tuple[Damage, ...] = (
    *(flip_bits, truncate, lengthen, set_length, set_length, swap_blocks),
    *(drop_block, repeat_block, odd_number, odd_number, blank),
)
