"""Training pairs with exact motion: synthetic ones from photographs, and readers of labelled sets.

`layered_pair` and `scene_pair` draw a `TwoView` from a `PhotoFolder`; `photometric` then changes
the looks of each image on its own.
"""

from data_scripts.depth_pose import PosedImage, posed_pair, warp_from_depth
from data_scripts.homography_list import homography_pair
from data_scripts.layered import LayeredSettings, layered_pair, unrelated_pair
from data_scripts.photometric import PhotometricSettings, photometric
from data_scripts.photos import PhotoFolder
from data_scripts.scene import SceneSettings, scene_pair
from data_scripts.two_view import TwoView, sample_warp

__all__ = [
    "LayeredSettings",
    "PhotoFolder",
    "PhotometricSettings",
    "PosedImage",
    "SceneSettings",
    "TwoView",
    "homography_pair",
    "layered_pair",
    "photometric",
    "posed_pair",
    "sample_warp",
    "scene_pair",
    "unrelated_pair",
    "warp_from_depth",
]
