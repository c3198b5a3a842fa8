import torch

from data_scripts.two_view import TwoView
from matching.labels import cell_centres, pair_labels


def shifted_view(dx, dy, height=32, width=40):
    """A pair in which image 1 is image 0 moved by (dx, dy) pixels."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack([x, y], -1).float()
    image = torch.zeros(3, height, width)

    def inside(points):
        return ((points >= 0) & (points <= torch.tensor([width - 1.0, height - 1.0]))).all(-1)

    ahead, back = grid + torch.tensor([dx, dy]), grid - torch.tensor([dx, dy])
    return TwoView(image, image, ahead, inside(ahead), back, inside(back))


def test_cell_centres_follow_the_half_pixel_rule():
    assert cell_centres(8, 16, 3.5).tolist() == [[3.5, 3.5], [11.5, 3.5]]
    assert cell_centres(8, 16, 0.0).tolist() == [[0.0, 0.0], [8.0, 0.0]]


def test_a_shift_by_one_cell_pairs_each_cell_with_its_right_neighbour():
    labels = pair_labels(shifted_view(8.0, 0.0), 3.5)
    columns = 5
    want = [n + 1 if n % columns < columns - 1 else -1 for n in range(4 * columns)]
    assert labels.partner.tolist() == want
    assert labels.target[0].tolist() == [11.5, 3.5]


def test_a_shift_below_half_a_cell_keeps_the_cell_and_moves_the_target():
    labels = pair_labels(shifted_view(0.0, 3.0), 3.5)
    assert labels.partner.tolist() == list(range(20))
    assert labels.target[0].tolist() == [3.5, 6.5]


def test_nothing_visible_gives_no_partner():
    view = shifted_view(8.0, 0.0)
    nothing = torch.zeros_like(view.visible_0to1)
    hidden = TwoView(view.image0, view.image1, view.warp_0to1, nothing, view.warp_1to0, nothing)
    labels = pair_labels(hidden, 3.5)
    assert (labels.partner == -1).all()
    assert not labels.known.any()
