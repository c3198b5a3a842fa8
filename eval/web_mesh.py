"""A disparity as a coloured surface in one glTF 2.0 binary file (.glb), which 3-D viewers open.

Neighbouring pixels are joined unless their disparities jump or one of them is occluded.
"""

import json
import struct

import numpy as np

from data_scripts.shrink import fitted_size
from stereo.disparity import Disparity, disparity_to_depth
from stereo.point_cloud import FARTHEST, SHOWN_BELOW, Calibration

MESH_SIDE = 480  # vertices along the longer side at most
JUMP = 0.03  # of the disparity, per pixel of the mesh; steeper neighbours are not joined
FLOAT, UNSIGNED, BYTE = 5126, 5125, 5121  # component types of glTF
TRIANGLES = 4


def surface_glb(left: np.ndarray, disparity: Disparity, calibration: Calibration) -> bytes:
    """The surface that the left image (H, W, 3) uint8 shows, in metres: x right, y up, z to the viewer.

    Raises:
        ValueError: nothing visible has a depth.
    """
    rows, columns = (_taken(side, disparity.size) for side in disparity.size)
    taken = np.ix_(rows, columns)
    disp = disparity.disparity[taken] + calibration.doffs_px
    depth = disparity_to_depth(disp, calibration.focal_px, calibration.baseline_m)
    there = np.isfinite(depth) & (disparity.occlusion[taken] < SHOWN_BELOW)
    if not there.any():
        raise ValueError("wanted pixels with a depth for the 3-D view, got none; check the pair")
    there &= depth <= FARTHEST * np.median(depth[there])
    points = _points(rows, columns, np.where(there, depth, 1), disparity.size, calibration)
    faces = _faces(disp, there)
    colours = np.pad(_linear(left[taken]).reshape(-1, 3), ((0, 0), (0, 1)), constant_values=255)
    used = np.unique(faces)
    if not len(used):
        raise ValueError("wanted a surface for the 3-D view, got single points; check the pair")
    renumbered = np.zeros(points.shape[0], np.uint32)
    renumbered[used] = np.arange(len(used))
    return _glb(points[used], colours[used], renumbered[faces])


def _taken(side: int, size: tuple[int, int]) -> np.ndarray:
    """Which of `side` rows or columns the mesh takes."""
    longest = max(size)
    count, _ = fitted_size(side, longest, min(longest, MESH_SIDE))
    return np.linspace(0, side - 1, max(count, 1)).round().astype(int)


def _points(
    rows: np.ndarray,
    columns: np.ndarray,
    depth: np.ndarray,
    size: tuple[int, int],
    calibration: Calibration,
) -> np.ndarray:
    H, W = size
    cx, cy = calibration.centre_px or ((W - 1) / 2, (H - 1) / 2)
    x = (columns[None] - cx) / calibration.focal_px * depth
    y = (rows[:, None] - cy) / calibration.focal_px * depth
    return np.stack([x, -y, -depth], -1).reshape(-1, 3).astype(np.float32)


def _faces(disp: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Triangles (N, 3) of vertex numbers, two for each square whose corners belong together."""
    corners = [np.s_[:-1, :-1], np.s_[1:, :-1], np.s_[:-1, 1:], np.s_[1:, 1:]]
    values = np.stack([disp[corner] for corner in corners])
    whole = np.logical_and.reduce([there[corner] for corner in corners])
    whole &= np.ptp(values, 0) <= np.maximum(JUMP * values.max(0), 0.5)
    number = np.arange(disp.size).reshape(disp.shape)
    a, b, c, d = (number[corner][whole] for corner in corners)
    return np.concatenate([np.stack([a, b, c], 1), np.stack([c, b, d], 1)])


def _linear(rgb: np.ndarray) -> np.ndarray:
    """Values of sRGB to linear ones, as glTF has vertex colours, uint8."""
    value = np.arange(256) / 255
    table = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return (table * 255).round().astype(np.uint8)[rgb]


def _glb(points: np.ndarray, colours: np.ndarray, faces: np.ndarray) -> bytes:
    """The file of a mesh (glTF 2.0, sec. 3.7 and 4)."""
    blocks = [
        points.astype("<f4").tobytes(),
        colours.astype(np.uint8).tobytes(),
        faces.astype("<u4").tobytes(),
    ]
    starts = np.cumsum([0, *map(len, blocks)]).tolist()
    views = [
        {"buffer": 0, "byteOffset": start, "byteLength": len(block)}
        for start, block in zip(starts, blocks, strict=False)
    ]
    low, high = points.min(0).tolist(), points.max(0).tolist()
    vertices = {"count": len(points)}
    accessors = [
        {**vertices, "bufferView": 0, "componentType": FLOAT, "type": "VEC3"}
        | {"min": low, "max": high},
        {**vertices, "bufferView": 1, "componentType": BYTE, "type": "VEC4", "normalized": True},
        {"bufferView": 2, "componentType": UNSIGNED, "type": "SCALAR", "count": faces.size},
    ]
    primitive = {"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2}
    document = {
        "asset": {"version": "2.0", "generator": "quadview"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive | {"material": 0, "mode": TRIANGLES}]}],
        "materials": [{"doubleSided": True, "extensions": {"KHR_materials_unlit": {}}}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": starts[-1]}],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    body = b"".join(blocks)  # its parts are multiples of four bytes
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", len(body), b"BIN\0") + body
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
