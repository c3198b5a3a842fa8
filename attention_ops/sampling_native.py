"""The compiled sampling op for float32 on the CPU. See `sampling`."""


def is_ready() -> bool:
    """Whether the library is there and has the op."""
    return False
