"""The data sets that can be converted: what they are called, whose they are, where they come from.

Nothing is fetched from these places: a user agrees to the terms and unpacks the archives. Sizes are
rounded; they are there to plan a disk.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class SetFacts:
    """One data set."""

    name: str
    licence: str
    place: str  # address
    archives: str  # what to fetch there, with sizes
    cite: str

    @property
    def source(self) -> str:
        """Where it comes from and whom to cite, in one line."""
        return f"{self.place}; cite {self.cite}"

    def missing(self, what: str) -> str:
        """A line that says what is missing and where it comes from."""
        return f"{what}; {self.name} comes from {self.place} ({self.archives}), licence: {self.licence}"


SCANNET = SetFacts(
    name="ScanNet",
    licence="ScanNet Terms of Use, non-commercial research, no redistribution",
    place="http://www.scan-net.org (the terms are signed first)",
    archives=".sens files, about 1.3 TB for all 1613 scans, exported with SensReader/python; or the "
    "1500 test pairs as scannet_test_1500.tar, about 1 GB, with test.npz and intrinsics.npz, from LoFTR",
    cite="Dai et al., ScanNet, CVPR 2017; pairs: Sarlin et al., SuperGlue, CVPR 2020",
)
MEGADEPTH = SetFacts(
    name="MegaDepth",
    licence="CC BY 4.0 for the depth; each photograph has its own licence",
    place="https://www.cs.cornell.edu/projects/megadepth",
    archives="MegaDepth_v1, about 200 GB of depth; MegaDepth_SfM, about 670 GB, undistorted with COLMAP; "
    "scene_info npz from LoFTR",
    cite="Li and Snavely, MegaDepth, CVPR 2018; indices: Sun et al., LoFTR, CVPR 2021",
)
HPATCHES = SetFacts(
    name="HPatches",
    licence="MIT for the collection; images from several sources",
    place="https://github.com/hpatches/hpatches-dataset",
    archives="hpatches-sequences-release.tar.gz, about 1.3 GB, 116 sequences",
    cite="Balntas et al., HPatches, CVPR 2017",
)
SCENEFLOW = SetFacts(
    name="SceneFlow",
    licence="research only, no commercial use",
    place="https://lmb.informatik.uni-freiburg.de/resources/datasets/SceneFlowDatasets.en.html",
    archives="RGB images (clean or final pass) and disparity of FlyingThings3D (about 40 + 87 GB), "
    "Driving (6 + 9 GB) and Monkaa (9 + 28 GB); disparity_occlusions with the FlyingThings3D subset",
    cite="Mayer et al., CVPR 2016",
)
KITTI_2015 = SetFacts(
    name="KITTI 2015",
    licence="CC BY-NC-SA 3.0",
    place="https://www.cvlibs.net/datasets/kitti/eval_scene_flow.php",
    archives="data_scene_flow.zip, about 2 GB; data_scene_flow_calib.zip, 1 MB",
    cite="Menze and Geiger, CVPR 2015",
)
KITTI_2012 = SetFacts(
    name="KITTI 2012",
    licence="CC BY-NC-SA 3.0",
    place="https://www.cvlibs.net/datasets/kitti/eval_stereo_flow.php",
    archives="data_stereo_flow.zip, about 2 GB; data_stereo_flow_calib.zip, 1 MB",
    cite="Geiger et al., CVPR 2012",
)
MIDDLEBURY = SetFacts(
    name="Middlebury",
    licence="free for research, to be cited",
    place="https://vision.middlebury.edu/stereo",
    archives="MiddEval3-data-Q.zip and MiddEval3-GT0-Q.zip, about 0.1 GB (H 0.5 GB, F 2 GB); scenes of "
    "2001 to 2021 by year, about 10 GB at full size",
    cite="Scharstein and Szeliski 2002, 2003; Scharstein and Pal 2007; Hirschmueller and Scharstein 2007; "
    "Scharstein et al. 2014, 2021",
)
ETH3D = SetFacts(
    name="ETH3D two-view",
    licence="CC BY-NC-SA 4.0",
    place="https://www.eth3d.net/datasets",
    archives="two_view_training.7z and two_view_training_gt.7z, below 0.1 GB, into one folder",
    cite="Schoeps et al., CVPR 2017",
)
SCANNET_SAMPLE = SetFacts(
    name="ScanNet sample",
    licence="ScanNet Terms of Use, non-commercial research",
    place="https://github.com/magicleap/SuperGluePretrainedNetwork",
    archives="assets/scannet_sample_images and assets/scannet_sample_pairs_with_gt.txt, about 5 MB",
    cite="Dai et al., CVPR 2017; Sarlin et al., SuperGlue, CVPR 2020",
)
OWN = SetFacts(
    name="RGB-D scans",
    licence="as of the scans given",
    place="your own folder",
    archives="colour images, depth maps and poses",
    cite="the makers of the scans",
)
