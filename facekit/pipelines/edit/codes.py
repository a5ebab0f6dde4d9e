"""From the codes of photo, exemplar and pose reference to the codes of an edit (thesis 6.2.1 to 6.2.3)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from facekit.pipelines.edit.settings import EditSettings


@dataclass
class CodeSources:
    """Codes of all samples, each [B, n, D] float32; None where an edit does without.

    Attributes:
        projected: w^p, of the masked photo and what is drawn on it.
        random: w^z.
        exemplar: w^e.
        own: of the photo's face with nothing hidden; where it is turned, and no exemplar.
        pose: of the pose reference.
        mirrored_exemplar, mirrored_own: of the mirrored faces, where one is turned to the front.
    """

    projected: Tensor
    random: Tensor | None = None
    exemplar: Tensor | None = None
    own: Tensor | None = None
    pose: Tensor | None = None
    mirrored_exemplar: Tensor | None = None
    mirrored_own: Tensor | None = None


def compose_codes(
    warp: Callable[[Tensor, Tensor], Tensor],
    sources: CodeSources,
    settings: EditSettings,
    varieties: list[float],
    shift: Tensor | None,
) -> tuple[Tensor | None, Tensor]:
    """w_hat, None where nothing was turned, and w* as it is before a text changes it; [B, n, D] float32 each.

    Without a pose reference: w_bar is the exemplar's code, random codes, or a mix (Eq. 6.20); w_hat =
    H(w^p - w_bar, w_bar) + w_bar turns it to the photo's pose (Eq. 6.2). Where w_bar is w^p itself there is
    nothing to turn. With one, the exemplar (else the photo's own face) is turned to the reference's pose, or to
    the mean of a face and its mirror image, which looks straight ahead. Then w* = w_hat + epsilon w^d (Eq. 6.3).

    Args:
        warp: target and source codes -> the source's face in the target's pose.
        sources: the codes to make it of.
        settings: strengths, and whether to turn codes to the photo's pose.
        varieties: share of random codes of each sample, 0 to 1.
        shift: epsilon w^d summed over the attributes, [n, D]; None without attributes.
    """
    alpha = settings.strengths["exemplar"]
    share = torch.tensor(varieties).to(sources.projected)[:, None, None]

    def style(base: Tensor, exemplar: Tensor | None) -> Tensor:
        codes = base if exemplar is None else torch.lerp(base, exemplar, alpha)
        return codes if sources.random is None else torch.lerp(codes, sources.random, share)

    codes, w_hat = style(sources.projected, sources.exemplar), None
    if settings.align_pose and (sources.exemplar is not None or sources.random is not None):
        turned = warp(sources.projected, codes).to(codes)
        # A sample without exemplar and random codes is w^p already.
        own = (share == 0) if sources.exemplar is None else torch.zeros_like(share, dtype=torch.bool)
        codes = w_hat = torch.where(own, codes, turned)

    if sources.pose is not None or sources.mirrored_own is not None or sources.mirrored_exemplar is not None:
        source = style(sources.projected if sources.own is None else sources.own, sources.exemplar)
        target = sources.pose
        if target is None:
            base = sources.projected if sources.mirrored_own is None else sources.mirrored_own
            mirrored = style(base, sources.mirrored_exemplar)
            target = 0.5 * source + 0.5 * mirrored
        codes = w_hat = torch.lerp(codes, warp(target, source).to(codes), settings.strengths["pose"])

    if shift is not None:
        codes = codes + settings.strengths["attributes"] * shift.to(codes)
    return w_hat, codes
