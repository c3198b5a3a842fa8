"""Random scenes of stage 2: rooms, streets and loose planes, with boxes, boards and reliefs.

World frame: metres, y down, the floor at y = 0, the scene ahead at z > 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from data_scripts import mipmap
from data_scripts.homography import turn
from data_scripts.images import Array, Image
from data_scripts.lights import Lights
from data_scripts.surfaces import Material, Surface, box, random_heights, rectangle

KINDS = {"room": 0.45, "street": 0.25, "boards": 0.3}  # shares of the scenes
PHOTOS_PER_SCENE = 5  # each is used for several surfaces; pyramids cost time
RELIEF_SHARE = 0.3  # of the scenes have one wall or floor in relief
PLAIN_SHARE = 0.3  # of the textures are nearly even, as painted walls and furniture are


@dataclass(frozen=True)
class Scene:
    """Surfaces and light, and the space in which cameras may stand."""

    surfaces: list[Surface]
    lights: Lights
    dimensions: Array  # (3,) width x, height y, depth z of the scene in metres
    sky: Image  # a small picture, spread over what no surface covers


def random_scene(photos: Sequence[Image], rng: np.random.Generator) -> Scene:
    """A room, a street or loose boards, textured with a few of `photos`."""
    numbers = rng.integers(0, len(photos), PHOTOS_PER_SCENE)
    pyramids = [mipmap.pyramid(_plain_at_times(photos[int(n)], rng)) for n in numbers]
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    size = np.array([rng.uniform(3, 7), rng.uniform(2.4, 4), rng.uniform(4, 9)])
    if kind == "street":
        size *= (2.5, 1.8, 2.0)
    surfaces = _walls(kind, size, pyramids, rng)
    if rng.random() < RELIEF_SHARE:
        which = int(rng.integers(2))  # the floor or the wall at the back
        heights = random_heights(rng, min(surfaces[which].extent) * rng.uniform(0.03, 0.12))
        surfaces[which] = replace(surfaces[which], heights=heights)
    boxes, boards = (0, rng.integers(4, 9)) if kind == "boards" else rng.integers((1, 0), (5, 4))
    for _ in range(int(boxes)):
        surfaces += _random_box(size, pyramids, rng)
    surfaces += [_random_board(size, pyramids, rng) for _ in range(int(boards))]
    sky = pyramids[0][-1][:8, :8]
    return Scene(surfaces, random_lights(size, rng), size, sky)


def random_lights(size: Array, rng: np.random.Generator) -> Lights:
    """One or two lamps in the upper half of a scene of `size`, and some even light."""
    count = int(rng.integers(1, 3))
    corner = np.array([-size[0] / 2, -1.2 * size[1], -0.2 * size[2]])
    positions = corner + rng.random((count, 3)) * size * (1, 0.6, 1)
    ambient = rng.uniform(0.4, 0.85)
    strengths = (1.5 - ambient) * rng.dirichlet(np.ones(count))
    return Lights(positions, strengths, 0.6 * float(size[2]), ambient, rng.uniform(8, 30))


def _plain_at_times(photo: Image, rng: np.random.Generator) -> Image:
    """`photo`, or one of its colours with a faint trace of it."""
    if rng.random() >= PLAIN_SHARE:
        return photo
    trace = rng.uniform(0.02, 0.2)
    colour = photo[int(rng.integers(len(photo))), int(rng.integers(photo.shape[1]))]
    return np.asarray(cv2.addWeighted(photo, trace, np.full_like(photo, colour), 1 - trace, 0))


def _material(pyramids: Sequence[list[Image]], span_m: float, rng: np.random.Generator) -> Material:
    """One of the photos with its short side over `span_m`; some are glossy."""
    levels = pyramids[int(rng.integers(len(pyramids)))]
    gloss = 0.5 * rng.random() if rng.random() < 0.3 else 0.0
    return Material(levels, min(levels[0].shape[:2]) / span_m, gloss)


def _walls(
    kind: str, size: Array, pyramids: Sequence[list[Image]], rng: np.random.Generator
) -> list[Surface]:
    """Floor, back and, in rooms, some of the others; fronts inwards, textures upright."""
    w, h, d = size
    x, y, z = np.diag(size)
    far_left, left, right = np.array([[-w / 2, -h, d], [-w / 2, -h, 0], [w / 2, -h, 0]])
    floor = (np.array([-w / 2, 0, 0]), x, z)
    back = (np.array([w / 2, -h, d]), -x, y)
    sides = [(far_left, -z, y), (right, z, y)]
    if kind == "boards":  # a backdrop that fills the view, and nothing else
        chosen = [(np.array([2.5 * w, -4 * h, 1.2 * d]), -5 * x, 8 * y)]
    elif kind == "street":
        chosen = [floor, back, *(side for side in sides if rng.random() < 0.5)]
    else:
        others = [*sides, (left, z, x), (left, x, y)]
        chosen = [floor, back, *(other for other in others if rng.random() < 0.7)]
    walls = []
    for origin, edge_u, edge_v in chosen:
        # a backdrop shows about one picture; walls and floors may repeat theirs
        span = h * (rng.uniform(1.8, 3.5) if kind == "boards" else rng.uniform(0.8, 2.0))
        wall = rectangle(origin, edge_u, edge_v, _material(pyramids, span, rng))
        offset = rng.uniform(0, 400, 2)
        walls.append(replace(wall, texel_offset=(float(offset[0]), float(offset[1]))))
    if kind == "boards":
        walls.append(_random_board(size, pyramids, rng))
    return walls


def _random_box(
    size: Array, pyramids: Sequence[list[Image]], rng: np.random.Generator
) -> list[Surface]:
    """A box on the floor or, at times, tumbling above it."""
    half = size[1] * rng.uniform(0.06, 0.24, 3)
    axes = np.eye(3)
    axes[np.ix_([0, 2], [0, 2])] = turn(rng.uniform(0, 90))
    ground = -half[1]
    if rng.random() < 0.25:
        axes = axes @ np.linalg.qr(rng.standard_normal((3, 3)))[0]
        axes[0] *= np.linalg.det(axes)  # a rotation, not a mirror
        ground = -size[1] * rng.uniform(0.2, 0.7)
    place = np.array(
        [0.42 * size[0] * rng.uniform(-1, 1), ground, size[2] * rng.uniform(0.35, 0.95)]
    )
    spans = 2 * half.max() * rng.uniform(0.8, 1.6, 2)
    return box(place, axes, half, [_material(pyramids, span, rng) for span in spans])


def _random_board(
    size: Array, pyramids: Sequence[list[Image]], rng: np.random.Generator
) -> Surface:
    """A rectangle in the air that more or less faces the cameras."""
    width, height = size[1] * rng.uniform(0.2, 0.7, 2)
    spin, yaw, pitch = np.array([12, 35, 20]) * rng.standard_normal(3)
    axes = np.eye(3)
    axes[:2, :2] = turn(spin).T
    axes[:, [0, 2]] = axes[:, [0, 2]] @ turn(yaw)
    axes[:, [1, 2]] = axes[:, [1, 2]] @ turn(pitch)
    centre = size * (0.5 * rng.uniform(-1, 1), -rng.uniform(0.1, 0.9), rng.uniform(0.35, 0.95))
    edge_u, edge_v = width * axes[0], height * axes[1]
    material = _material(pyramids, min(width, height) * rng.uniform(0.9, 1.5), rng)
    return rectangle(centre - (edge_u + edge_v) / 2, edge_u, edge_v, material)
