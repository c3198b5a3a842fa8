"""A stereo network with plain tensors for an answer: what goes into ONNX and torch.export."""

from torch import Tensor, nn

from stereo.output import StereoOutput


class ThreeMaps(nn.Module):
    """Disparity, occlusion and confidence of a network's `StereoOutput`, one after the other."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Left and right (B, 3, H, W) RGB in [0, 1] -> three maps (B, H, W), as `StereoOutput` has them."""
        output: StereoOutput = self.network(left, right)
        return output.disparity, output.occlusion, output.confidence
