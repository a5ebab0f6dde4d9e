"""The latent warper's training (thesis section 6.2.6, Algorithm 4)."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from facekit.conditions.guidance import encoder_input
from facekit.models.latent_warper import LatentWarper
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from train.checks import check_form
from train.data.modalities import ENCODER_CHANNELS
from train.engine.optimizers import OPTIMIZERS
from train.engine.picture_losses import PictureLosses
from train.engine.scores import code_distance
from train.engine.stage import Stage, load_component
from train.engine.streams import SCALE_STEP
from train.engine.streams import LatentWarper as Stream
from train.latent_warper.augment import SCALE, augment
from train.latent_warper.config import LatentWarperConfig
from train.latent_warper.validation import WarperValidation


class LatentWarperTrainer(Stage):
    """Trains the latent warper on a frozen style encoder and prior."""

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
            check_form(warper, config.form)
        else:
            codes = {"num_styles": given.num_styles, "style_dim": given.style_dim}
            warper = LatentWarper(**(codes | {"form": config.form} | config.warper))
        kind = OPTIMIZERS[config.optimizer]
        self.warper = self.learn(warper, config.learning_rate, config.betas, config.average, kind)
        self.losses = PictureLosses(config.pictures, None, self.device, self.run.say)

    # Codes and pictures

    def encode(self, *images: Tensor) -> tuple[Tensor, ...]:
        """Codes [B, t, D] of each of several batches of pictures [B, 3, S, S], in one pass."""
        together = torch.cat(images)
        if self.encoder.config.in_channels == ENCODER_CHANNELS:
            together = encoder_input(together)
        with torch.no_grad(), self.accelerator.autocast():
            return self.encoder(together).float().chunk(len(images))

    def draw_task(self, image: Tensor, positions: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
        """Draw a task (Algorithm 4, lines 3 to 9): codes of faces, of targets and of sources (Eq. 6.9), [B, t, D] each.

        Args:
            image: the faces, [B, 3, S, S] in [-1, 1].
            positions: [B], the numbers of the samples.
            scale: by which the targets' pictures are resized.
        """
        rngs = self.seed_rngs(positions, Stream.TASK)
        beta = torch.tensor([float(rng.random()) for rng in rngs], device=self.device)[:, None, None]
        own, target, mirrored = self.encode(image, augment(image, rngs, scale), image.flip(3))
        return own, target, torch.lerp(mirrored, own, beta)

    def paint(self, codes: Tensor, positions: Tensor) -> Tensor:
        """The prior's pictures of codes [B, t, D], averaged down to the pictures' size, [B, 3, S, S]."""
        image = self.prior(
            w_plus=codes, generator=self.seed_generators(positions, Stream.PICTURE)
        ).image.float()
        return F.adaptive_avg_pool2d(image, self.size) if image.shape[-1] > self.size else image

    def compare_codes(self, codes: Tensor, wanted: Tensor) -> Tensor:
        """The attribute loss between codes [B, t, D], [] (Eq. 6.13)."""
        return code_distance(codes, wanted, self.config.attribute.distance).mean()

    # One step of Algorithm 4 on Eq. 6.10

    def iterate(self, batches: list[dict[str, Any]]) -> None:
        for batch in batches:
            image, positions = batch["image"], batch["position"]
            scale = float(self.seed_step_rng(SCALE_STEP).uniform(1 - SCALE, 1 + SCALE))
            own, target, source = self.draw_task(image, positions, scale)
            warped = self.warper.network(target, source)
            attribute = self.compare_codes(warped, own)
            loss, terms = self.config.attribute.weight * attribute, {"attribute": attribute}
            if self.losses.active:
                with self.accelerator.autocast():
                    extra, named = self.losses(self.paint(warped, positions), image)
                loss, terms = loss + extra, terms | named
            self.accelerator.backward(loss / len(batches))
            # For comparison: the distances of the target's and of the source's codes, left as they are.
            terms |= {"target": self.compare_codes(target, own), "source": self.compare_codes(source, own)}
            self.run.curves.record(
                loss_warper=loss, **{f"warper_{name}": value for name, value in terms.items()}
            )
        self.update(self.warper, clip=self.config.gradient_clip)

    # Results

    @torch.no_grad()
    def sample_rows(self, batch: dict[str, Any]) -> list[Tensor]:
        """Source face; the next face, whose pose it gets; the prior's pictures of the source's and the warped codes."""
        image, positions = batch["image"][:8], batch["position"][:8]
        (source,) = self.encode(image)
        warped = self.copy_average(self.warper)(source.roll(-1, 0), source)
        made = [self.paint(codes, positions) for codes in (source, warped)]
        rows = [image, image.roll(-1, 0), *made]
        side = min(row.shape[-1] for row in rows)
        return [F.adaptive_avg_pool2d(row, side) for row in rows]

    def build_validation(self) -> WarperValidation | None:
        return None if self.config.validation.data is None else WarperValidation(self)

    def write_networks(self, folder: Path) -> None:
        self.copy_average(self.warper).cpu().save_pretrained(folder / "latent_warper")
