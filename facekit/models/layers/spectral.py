"""Spectrally normalised convolution (Miyato et al., Spectral normalization for GANs, ICLR 2018)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EPS = 1e-12


class SpectralConv2d(nn.Conv2d):
    """2D convolution whose kernel is divided by an estimate of its largest singular value.

    `weight` is the kernel before normalisation. The estimate is `u^T W v` with `W` the kernel reshaped to
    `[out_channels, in_channels / groups * k * k]`; `u` and `v` are buffers. In training mode every call refreshes them
    by one power iteration; in evaluation mode they are used as they are, so that loaded vectors stay as they were
    stored.
    """

    u: Tensor
    v: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.register_buffer("u", F.normalize(torch.randn(out_channels), dim=0, eps=_EPS))
        self.register_buffer("v", F.normalize(torch.randn(self.weight[0].numel()), dim=0, eps=_EPS))
        self.reset_spectral_vectors()

    @torch.no_grad()
    def reset_spectral_vectors(self, iterations: int = 15) -> None:
        """Fit `u` and `v` to the present kernel, unless it is on the meta device; for kernels written by hand."""
        if self.weight.is_meta:
            return
        matrix = self.weight.flatten(1).float()
        u = F.normalize(torch.randn(matrix.shape[0], device=matrix.device), dim=0, eps=_EPS)
        v = self.v.float()
        for _ in range(iterations):
            u, v = _iterate_power(matrix, u)
        self.u.copy_(u)
        self.v.copy_(v)

    def normalize_weight(self) -> Tensor:
        """Kernel divided by its spectral norm, `[out_channels, in_channels / groups, k, k]` in the kernel's dtype.

        In training mode it also refreshes `u` and `v`.
        """
        # A half-precision norm would scale every output of the layer: the estimate is always float32.
        with torch.autocast(self.weight.device.type, enabled=False):
            matrix = self.weight.flatten(1).float()
            if self.training:
                with torch.no_grad():
                    u, v = _iterate_power(matrix, self.u.float())
                    self.u.copy_(u)
                    self.v.copy_(v)
            else:
                u, v = self.u.float(), self.v.float()
            sigma = torch.dot(u, torch.mv(matrix, v))
            return self.weight / sigma.to(self.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, in_channels, H, W]` -> `[B, out_channels, H', W']`."""
        return self._conv_forward(x, self.normalize_weight(), self.bias)


def _iterate_power(matrix: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """One round of the power method: matrix `[out, n]`, u `[out]` -> better u `[out]` and v `[n]`."""
    v = F.normalize(torch.mv(matrix.t(), u), dim=0, eps=_EPS)
    u = F.normalize(torch.mv(matrix, v), dim=0, eps=_EPS)
    return u, v


def initialize_normal(module: nn.Module, std: float = 0.02) -> None:
    """Give a network GRIG's initial weights, in place.

    Kernels and matrices are drawn from N(0, std), gains of batch norms from N(1, std), and the biases of these are
    zero. Other biases stay as they are; spectral vectors are fitted to the new kernels.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, std)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, std)
            nn.init.zeros_(layer.bias)
        if isinstance(layer, SpectralConv2d):
            layer.reset_spectral_vectors()
