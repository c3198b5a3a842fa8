import numpy as np

from matching.batches import equal_groups
from matching.resize import prepare


def image(height, width, masked=False):
    grey = np.zeros((height, width), np.float32)
    return prepare(grey, np.eye(height, width, dtype=bool) if masked else None, None)


def test_only_pairs_of_equal_padded_sizes_and_masks_run_together():
    full, padded, masked = image(16, 32), image(15, 32), image(16, 32, masked=True)
    pairs = [
        (full, full),
        (padded, full),
        (full, full),
        (masked, full),
        (full, padded),
        (full, full),
    ]
    groups = list(equal_groups(pairs, 16, batch_size=2))
    assert sorted(groups) == [[0, 2], [1, 3], [4], [5]]  # a padded image has a mask as well
