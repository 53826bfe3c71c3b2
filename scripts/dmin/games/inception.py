"""Features of the network that published Fréchet distances are taken on: Inception v3 as TensorFlow's FID has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from dmin.data.pixels import pixels_to_tensor
from dmin.runtime.errors import UserError

SIDE = 299
WIDTH = 2048


@torch.inference_mode()
def inception_features(pixels: np.ndarray, network: Inception, batch: int) -> np.ndarray:
    """Return the pooled features ``[n, 2048]`` fp32 of uint8 images ``[n, size, size, 3]``, resized to 299 px."""
    parts, device = [], network.Mixed_5b.branch1x1.conv.weight.device
    for start in range(0, len(pixels), batch):
        images = pixels_to_tensor(pixels[start : start + batch]).to(device)
        resized = F.interpolate(images, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        parts.append(network(resized).cpu())
    return torch.cat(parts).numpy()


def load_inception(weights: Path) -> Inception:
    """Return the network with the weights that pytorch-fid distributes, as safetensors.

    Raises:
        UserError: they cannot be read, or are of another network.
    """
    network = Inception()
    try:
        state = load_file(weights)
        network.load_state_dict({name: value for name, value in state.items() if not name.startswith("fc.")})
    except Exception as error:
        raise UserError(
            f"Weights '{weights}' are not those of FID's Inception ({str(error).splitlines()[0]}); set encoder.path to "
            "the file that pytorch-fid distributes, as safetensors, or encoder.kind to efficientnet."
        ) from error
    return network.eval()


class _Conv(nn.Module):
    """A convolution without bias, normalised and rectified."""

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


def _average(x: torch.Tensor) -> torch.Tensor:
    # TensorFlow's averages leave the padding out.
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class _BlockA(nn.Module):
    def __init__(self, before: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = _Conv(before, 64, 1)
        self.branch5x5_1 = _Conv(before, 48, 1)
        self.branch5x5_2 = _Conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = _Conv(before, 64, 1)
        self.branch3x3dbl_2 = _Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, padding=1)
        self.branch_pool = _Conv(before, pooled, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        branches = [self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double, self.branch_pool(_average(x))]
        return torch.cat(branches, 1)


class _BlockB(nn.Module):
    def __init__(self, before: int) -> None:
        super().__init__()
        self.branch3x3 = _Conv(before, 384, 3, stride=2)
        self.branch3x3dbl_1 = _Conv(before, 64, 1)
        self.branch3x3dbl_2 = _Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, stride=2)], 1)


class _BlockC(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        across, down = ((1, 7), (0, 3)), ((7, 1), (3, 0))
        self.branch1x1 = _Conv(768, 192, 1)
        self.branch7x7_1 = _Conv(768, width, 1)
        self.branch7x7_2 = _Conv(width, width, across[0], padding=across[1])
        self.branch7x7_3 = _Conv(width, 192, down[0], padding=down[1])
        self.branch7x7dbl_1 = _Conv(768, width, 1)
        self.branch7x7dbl_2 = _Conv(width, width, down[0], padding=down[1])
        self.branch7x7dbl_3 = _Conv(width, width, across[0], padding=across[1])
        self.branch7x7dbl_4 = _Conv(width, width, down[0], padding=down[1])
        self.branch7x7dbl_5 = _Conv(width, 192, across[0], padding=across[1])
        self.branch_pool = _Conv(768, 192, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), single, double, self.branch_pool(_average(x))], 1)


class _BlockD(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = _Conv(768, 192, 1)
        self.branch3x3_2 = _Conv(192, 320, 3, stride=2)
        self.branch7x7x3_1 = _Conv(768, 192, 1)
        self.branch7x7x3_2 = _Conv(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = _Conv(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = _Conv(192, 192, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, F.max_pool2d(x, 3, stride=2)], 1)


class _BlockE(nn.Module):
    """The last two blocks; TensorFlow's graph pools the first by the mean and the second by the largest value."""

    def __init__(self, before: int, largest: bool) -> None:
        super().__init__()
        self.largest = largest
        self.branch1x1 = _Conv(before, 320, 1)
        self.branch3x3_1 = _Conv(before, 384, 1)
        self.branch3x3_2a = _Conv(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = _Conv(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = _Conv(before, 448, 1)
        self.branch3x3dbl_2 = _Conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = _Conv(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = _Conv(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = _Conv(before, 192, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        single, double = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, stride=1, padding=1) if self.largest else _average(x)
        branches = [self.branch1x1(x), self.branch3x3_2a(single), self.branch3x3_2b(single)]
        branches += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.branch_pool(pooled)]
        return torch.cat(branches, 1)


class Inception(nn.Module):
    """The network up to its pooled features, with the names of pytorch-fid's weights.

    Source: Szegedy et al. 2015; the differences to it are those of the graph that Heusel et al. 2017 took.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = _Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = _Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _BlockA(192, 32), _BlockA(256, 64), _BlockA(288, 64)
        self.Mixed_6a = _BlockB(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = map(_BlockC, (128, 160, 160, 192))
        self.Mixed_7a = _BlockD()
        self.Mixed_7b, self.Mixed_7c = _BlockE(1280, False), _BlockE(2048, True)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return features ``[batch, 2048]`` of ``pixels [batch, 3, 299, 299]`` in [-1, 1]."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(pixels)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, stride=2)))
        x = F.max_pool2d(x, 3, stride=2)
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        features: torch.Tensor = x.mean((2, 3))
        return features
