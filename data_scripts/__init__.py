"""Training pairs with exact motion: synthetic ones from photographs, and readers of labelled sets.

`layered_pair` and `scene_pair` draw a `TwoView` from a `PhotoFolder`; `photometric` then changes
the looks of each image on its own. `stereo_layered_pair`, `stereo_scene_pair` and
`stereo_photometric` do the same for rectified pairs.
"""

from data_scripts.depth_pose import PosedImage, posed_pair, warp_from_depth
from data_scripts.homography_list import homography_pair
from data_scripts.layered import LayeredSettings, layered_pair, unrelated_pair
from data_scripts.photometric import PhotometricSettings, photometric
from data_scripts.photos import PhotoFolder
from data_scripts.rectified import RectifiedPair
from data_scripts.scene import SceneSettings, scene_pair
from data_scripts.stereo_layered import StereoLayeredSettings, stereo_layered_pair
from data_scripts.stereo_photometric import StereoPhotometricSettings, stereo_photometric
from data_scripts.stereo_scene import StereoSceneSettings, stereo_scene_pair
from data_scripts.two_view import TwoView, sample_warp

__all__ = [
    "LayeredSettings",
    "PhotoFolder",
    "PhotometricSettings",
    "PosedImage",
    "RectifiedPair",
    "SceneSettings",
    "StereoLayeredSettings",
    "StereoPhotometricSettings",
    "StereoSceneSettings",
    "TwoView",
    "homography_pair",
    "layered_pair",
    "photometric",
    "posed_pair",
    "sample_warp",
    "scene_pair",
    "stereo_layered_pair",
    "stereo_photometric",
    "stereo_scene_pair",
    "unrelated_pair",
    "warp_from_depth",
]
