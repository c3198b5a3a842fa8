"""Training pairs with exact motion, readers of labelled sets, and data sets converted to HDF5.

`layered_pair` and `scene_pair` draw a `TwoView` from a `PhotoFolder`; `photometric.photometric` then
changes the looks of each image on its own. `stereo_layered_pair`, `stereo_scene_pair` and
`stereo_photometric.stereo_photometric` do the same for rectified pairs. `open_dataset` reads what
`python -m data_scripts` has converted, `labelled_view` makes a `TwoView` of a pair of it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_scripts.dataset import Dataset, ImageRecord, PairRecord, open_dataset
    from data_scripts.dataset_views import labelled_view
    from data_scripts.depth_pose import PosedImage, posed_pair, warp_from_depth
    from data_scripts.homography_list import homography_pair
    from data_scripts.layered import LayeredSettings, layered_pair, unrelated_pair
    from data_scripts.photometric import PhotometricSettings
    from data_scripts.photos import PhotoFolder
    from data_scripts.rectified import RectifiedPair
    from data_scripts.scene import SceneSettings, scene_pair
    from data_scripts.stereo_layered import StereoLayeredSettings, stereo_layered_pair
    from data_scripts.stereo_photometric import StereoPhotometricSettings
    from data_scripts.stereo_scene import StereoSceneSettings, stereo_scene_pair
    from data_scripts.two_view import TwoView, sample_warp

__all__ = [
    "Dataset",
    "ImageRecord",
    "LayeredSettings",
    "PairRecord",
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
    "labelled_view",
    "layered_pair",
    "open_dataset",
    "posed_pair",
    "sample_warp",
    "scene_pair",
    "stereo_layered_pair",
    "stereo_scene_pair",
    "unrelated_pair",
    "warp_from_depth",
]

# Imported at first use: `python -m data_scripts --help` must not wait for torch.
HOMES = {
    "data_scripts.dataset": ("Dataset", "ImageRecord", "PairRecord", "open_dataset"),
    "data_scripts.dataset_views": ("labelled_view",),
    "data_scripts.depth_pose": ("PosedImage", "posed_pair", "warp_from_depth"),
    "data_scripts.homography_list": ("homography_pair",),
    "data_scripts.layered": ("LayeredSettings", "layered_pair", "unrelated_pair"),
    "data_scripts.photometric": ("PhotometricSettings",),
    "data_scripts.photos": ("PhotoFolder",),
    "data_scripts.rectified": ("RectifiedPair",),
    "data_scripts.scene": ("SceneSettings", "scene_pair"),
    "data_scripts.stereo_layered": ("StereoLayeredSettings", "stereo_layered_pair"),
    "data_scripts.stereo_photometric": ("StereoPhotometricSettings",),
    "data_scripts.stereo_scene": ("StereoSceneSettings", "stereo_scene_pair"),
    "data_scripts.two_view": ("TwoView", "sample_warp"),
}


def __getattr__(name: str) -> Any:
    for home, names in HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'data_scripts' has no attribute {name!r}")
