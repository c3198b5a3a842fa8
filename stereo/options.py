"""What may be asked of a prediction. Imports nothing heavy: the command line reads it before torch."""

from dataclasses import dataclass

DEFAULT_LONG_SIDE: int | None = None  # px; disparities are finest at the size of the images
SMALLEST_TILE = 64  # px; below it a tile is mostly overlap
GIBIBYTE = 2**30


@dataclass(frozen=True)
class StereoOptions:
    """How a pair is brought to the network. Disparities are in pixels as given whatever is chosen.

    Args:
        long_side: Images are shrunk until their longer side has so many pixels, never enlarged;
            None keeps their size.
        tile: Rows and columns, in pixels of the shrunk image, of the pieces that go through the network one
            by one; None: the whole image, unless max_memory asks for less. Half of the columns overlap,
            so only disparities below half of them are found.
        max_memory: Gibibytes that the network may take for one pair; bands of whole rows are cut so
            that it does. An estimate, not a promise. None sets no limit.
        semi_global: Where `small` is not sure of its answer, semi-global matching (OpenCV, on the CPU)
            answers in its place. The official networks go without.
    """

    long_side: int | None = DEFAULT_LONG_SIDE
    tile: tuple[int, int] | None = None
    max_memory: float | None = None
    semi_global: bool = True

    def __post_init__(self) -> None:
        if self.long_side is not None and self.long_side < 1:
            raise ValueError(f"long_side must be 1 px or more, or None, got {self.long_side}")
        if self.tile is not None and (len(self.tile) != 2 or min(self.tile) < SMALLEST_TILE):
            raise ValueError(
                f"tile must be rows and columns of {SMALLEST_TILE} px or more, got {self.tile}"
            )
        if self.max_memory is not None and not self.max_memory > 0:
            raise ValueError(
                f"max_memory must be more than 0 gibibytes, or None, got {self.max_memory}"
            )
