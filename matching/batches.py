"""Many pairs: which of them can run together."""

from collections.abc import Iterator, Sequence

from matching.resize import PreparedImage, turned_size


def equal_groups(
    pairs: Sequence[tuple[PreparedImage, PreparedImage]], multiple: int, batch_size: int
) -> Iterator[list[int]]:
    """Numbers of the pairs, in groups of at most `batch_size` that the network can take as one batch.

    In a group all first images have the same padded size, and all have a mask or none; the same for the
    second images. A mask of True alone would be no mask, but might round differently.
    """
    groups: dict[object, list[int]] = {}
    for number, pair in enumerate(pairs):
        key = tuple(turned_size(image, 0, multiple) for image in pair)
        groups.setdefault(key, []).append(number)
    for numbers in groups.values():
        for start in range(0, len(numbers), batch_size):
            yield numbers[start : start + batch_size]
