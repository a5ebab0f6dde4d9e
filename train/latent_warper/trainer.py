"""The latent warper's training: networks of one run, and an iteration of Algorithm 4."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facekit.conditions.guidance import encoder_input
from facekit.models.latent_warper import LatentWarper
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from train.data.images import ImageSource, fit_square, to_tensor
from train.data.modalities import ENCODER_CHANNELS
from train.engine.picture_losses import PictureLosses
from train.engine.stage import Stage, load_component
from train.latent_warper.config import OPTIMIZERS, LatentWarperConfig

# The thesis names scaling, colours and covering, but gives no numbers.
BRIGHTNESS, LEAST_CONTRAST, MOST_CONTRAST, MOST_SATURATION, SCALE = 0.5, 0.5, 1.5, 2.0, 0.0625


def augmented(images: Tensor, rngs: list[np.random.Generator], scale: float) -> Tensor:
    """Pictures [B, 3, S, S] in [-1, 1] in other colours, resized by `scale`, a square of half their side covered.

    Brightness moves by up to 0.5, saturation is multiplied by 0 to 2 about each pixel's mean, contrast by 0.5 to 1.5
    about each picture's mean. Resized pictures are padded by reflection or cropped to their size again.
    """
    draws = torch.tensor([rng.random(5).tolist() for rng in rngs]).to(images)
    shape = (-1, 1, 1, 1)
    images = images + (draws[:, 0].view(shape) - 0.5) * 2 * BRIGHTNESS
    grey = images.mean(1, keepdim=True)
    images = torch.lerp(grey, images, draws[:, 1].view(shape) * MOST_SATURATION)
    mean = images.mean((1, 2, 3), keepdim=True)
    contrast = LEAST_CONTRAST + draws[:, 2].view(shape) * (MOST_CONTRAST - LEAST_CONTRAST)
    images = rescaled(torch.lerp(mean, images, contrast), scale)
    side = images.shape[-1]
    half = side // 2
    keep = torch.ones_like(images[:, :1])
    for i, (top, left) in enumerate((draws[:, 3:] * (side + 1 - half)).long().tolist()):
        keep[i, :, top : top + half, left : left + half] = 0
    return images * keep


def rescaled(images: Tensor, scale: float) -> Tensor:
    """Pictures [B, 3, S, S] resized bilinearly about their centre, [B, 3, S, S] again."""
    side = images.shape[-1]
    other = round(side * scale)
    images = F.interpolate(images, (other, other), mode="bilinear", align_corners=False)
    before = abs(side - other) // 2
    if other < side:
        after = side - other - before
        return F.pad(images, (before, after, before, after), mode="reflect")
    return images[..., before : before + side, before : before + side]


class LatentWarperTrainer(Stage):
    """Networks of one run, and what happens in an iteration."""

    config: LatentWarperConfig

    def build(self) -> None:
        config = self.config
        self.size = config.size
        self.encoder = self.use(load_component(StyleEncoder, config.style_encoder, "style_encoder"))
        self.prior = self.use(load_component(StyleGAN2Generator, config.prior, "prior"))
        given = self.encoder.config
        if given.style_dim != self.prior.config.style_dim or given.num_styles < self.prior.num_styles:
            raise ValueError(
                f"the style encoder gives {given.num_styles} codes of {given.style_dim} numbers, the prior reads "
                f"{self.prior.num_styles} of {self.prior.config.style_dim}"
            )
        if config.init_from is not None:
            warper = load_component(LatentWarper, config.init_from, "latent_warper")
        else:
            codes = {"num_styles": given.num_styles, "style_dim": given.style_dim}
            warper = LatentWarper(**(codes | config.warper))
        average = (config.ema_decay, config.ema_min_decay)
        kind = OPTIMIZERS[config.optimizer]
        self.warper = self.learn(warper, config.learning_rate, config.betas, average, kind)
        self.losses = PictureLosses(config, None, self.device, self.run.say)
        if config.identity_weight > 0 and config.identity_encoder is None:
            self.run.say("no identity_encoder is named: this run has no identity loss")

    # Codes and pictures

    def codes(self, *images: Tensor) -> tuple[Tensor, ...]:
        """Codes [B, t, D] of each of several batches of pictures."""
        together = torch.cat(images)
        if self.encoder.config.in_channels == ENCODER_CHANNELS:
            together = encoder_input(together)
        with torch.no_grad(), self.accelerator.autocast():
            return self.encoder(together).float().chunk(len(images))

    def task(self, image: Tensor, positions: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
        """Lines 3 to 9: codes of the face, of the target and of the source, [B, t, D]."""
        rngs = self.rngs(positions, 0)
        beta = torch.tensor([float(rng.random()) for rng in rngs], device=self.device)[:, None, None]
        own, target, mirrored = self.codes(image, augmented(image, rngs, scale), image.flip(3))
        return own, target, torch.lerp(mirrored, own, beta)

    def picture(self, codes: Tensor, positions: Tensor) -> Tensor:
        """The prior's picture of codes, averaged down to the pictures' size."""
        image = self.prior(w_plus=codes, generator=self.generators(positions, 1)).image.float()
        return F.adaptive_avg_pool2d(image, self.size) if image.shape[-1] > self.size else image

    # One iteration of Algorithm 4

    def iteration(self, batches: list[dict[str, Any]]) -> None:
        for batch in batches:
            image, positions = batch["image"], batch["position"]
            scale = float(self.step_rng(0).uniform(1 - SCALE, 1 + SCALE))
            own, target, source = self.task(image, positions, scale)
            warped = self.warper.network(target, source)
            attribute = F.mse_loss(warped, own)
            loss, terms = self.config.attribute_weight * attribute, {"attribute": attribute}
            if self.losses.active:
                with self.accelerator.autocast():
                    extra, named = self.losses(self.picture(warped, positions), image)
                loss, terms = loss + extra, terms | named
            self.accelerator.backward(loss / len(batches))
            # What leaving the codes as they are would be worth.
            terms |= {"target": F.mse_loss(target, own), "source": F.mse_loss(source, own)}
            self.run.curves.record(
                loss_warper=loss, **{f"warper_{name}": value for name, value in terms.items()}
            )
        if self.config.clip_gradients > 0:
            parameters = self.warper.network.parameters()
            self.run.curves.record(
                gradients=self.accelerator.clip_grad_norm_(parameters, self.config.clip_gradients)
            )
        self.update(self.warper)

    # Results

    @torch.no_grad()
    def sample_rows(self, batch: dict[str, Any]) -> list[Tensor]:
        """Source face, pose reference (the next face), the prior's pictures of the source's codes and of the warped."""
        image, positions = batch["image"][:8], batch["position"][:8]
        (source,) = self.codes(image)
        warped = self.averaged(self.warper)(source.roll(-1, 0), source)
        made = [self.picture(codes, positions) for codes in (source, warped)]
        rows = [image, image.roll(-1, 0), *made]
        side = min(row.shape[-1] for row in rows)
        return [F.adaptive_avg_pool2d(row, side) for row in rows]

    def train(self) -> None:
        config = self.config
        self.held_out: list[Tensor] = []
        if config.validation_data is not None:
            source = ImageSource(
                config.validation_data, config.validation_split, image_column=config.image_column
            )
            self.held_out = [
                to_tensor(fit_square(picture, self.size, None))
                for picture in source.first_pictures(config.validation_images)
            ]
        super().train()

    def after_step(self) -> None:
        if self.held_out and self.run.is_time(self.config.validate_every):
            metrics = self.score()
            self.run.write_curves({f"validation_{name}": value for name, value in metrics.items()})
            self.run.keep_best(metrics, "attribute", self.write_networks)

    @torch.no_grad()
    def score(self) -> dict[str, float]:
        """Mean squares on held-out faces: of the warped codes' errors, of the target's and of the source's."""
        network, sums = self.averaged(self.warper), torch.zeros(4)
        ours = range(self.accelerator.process_index, len(self.held_out), self.accelerator.num_processes)
        for i in ours:
            image = self.held_out[i][None].to(self.device)
            own, target, source = self.task(image, torch.tensor([2**40 + i]), 1.0)
            errors = [F.mse_loss(codes, own).item() for codes in (network(target, source), target, source)]
            sums += torch.tensor([*errors, 1.0])
        totals = self.accelerator.reduce(sums.to(self.device), "sum").tolist()
        return {name: totals[k] / totals[3] for k, name in enumerate(("attribute", "target", "source"))}

    def write_networks(self, folder: Path) -> None:
        self.averaged(self.warper).cpu().save_pretrained(folder / "latent_warper")
