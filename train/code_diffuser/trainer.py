"""The code diffuser's training (thesis section 3.2.4)."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from facekit.models.code_diffuser import CodeDiffuser
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.models.stylegan2_discriminator import StyleGAN2Discriminator
from train.code_diffuser.config import CodeDiffuserConfig
from train.engine.picture_losses import PictureLosses
from train.engine.stage import Stage, load_component
from train.engine.streams import CodeDiffuser as Stream


class CodeDiffuserTrainer(Stage):
    """Trains the code diffuser on a frozen style encoder and prior."""

    config: CodeDiffuserConfig

    def build(self) -> None:
        config = self.config
        self.prior = self.use(load_component(StyleGAN2Generator, config.prior, "prior"))
        self.style_encoder = self.use(load_component(StyleEncoder, config.style_encoder, "style_encoder"))
        self.scheduler = config.make_scheduler()
        codes = {name: self.style_encoder.config[name] for name in ("num_styles", "style_dim")}
        steps = {"num_train_timesteps": self.scheduler.config.num_train_timesteps}
        diffuser = CodeDiffuser(**(codes | steps | {"form": config.form} | config.diffuser))
        self.diffuser = self.learn(diffuser, config.learning_rate, config.betas)
        self.size = config.size or min(self.prior.config.sample_size, self.style_encoder.config.sample_size)
        critic = None
        if config.pictures.matches_features:
            critic = self.use(load_component(StyleGAN2Discriminator, config.prior, "discriminator"))
            if critic.config.sample_size != self.size:
                raise ValueError(
                    f"the discriminator reads pictures of {critic.config.sample_size}, the run's are {self.size}"
                )
        judge = config.adversarial if config.adversarial.is_projected else None
        self.losses = PictureLosses(config.pictures, critic, self.device, self.run.say, judge)
        self.feature_critic = self.losses.learn_critic(self)

    @torch.no_grad()
    def encode(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Codes [B, N, D] of the damaged faces of a batch, and of the true ones."""
        return self.style_encoder(batch["damaged"]).float(), self.style_encoder(batch["image"]).float()

    def denoise(self, noisy: Tensor, condition: Tensor, generators: list[torch.Generator]) -> Tensor:
        """Take all denoising steps, with gradients.

        Args:
            noisy: codes [B, N, D] to begin with.
            condition: codes [B, N, D] of the damaged faces.
            generators: for the noise of the steps.

        Returns:
            Clean codes [B, N, D].
        """
        for timestep in self.scheduler.timesteps:
            predicted = self.diffuser.network(noisy, timestep, condition).float()
            noisy = self.scheduler.step(predicted, timestep, noisy, generators).prev_sample
        return noisy

    def iterate(self, batches: list[dict[str, Any]]) -> None:
        with self.freeze(*([self.feature_critic.network] if self.feature_critic else [])):
            for batch in batches:
                with self.accelerator.autocast():
                    loss, terms = self._loss(batch)
                self.accelerator.backward(loss / len(batches))
                self.run.curves.record(
                    loss_diffuser=loss, **{f"diffuser_{name}": value for name, value in terms.items()}
                )
        self.update(self.diffuser, clip=self.config.gradient_clip)
        self.losses.update_critic(self, self.feature_critic)

    def _loss(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 3.11: that of the noise (Eq. 3.8) and those of the prior's picture (Eq. 3.9, 3.10), and its terms."""
        config, generators = self.config, self.seed_generators(batch["position"], Stream.CHAIN)
        condition, target = self.encode(batch)
        noise = self.draw_normal(generators, *target.shape[1:])
        total_steps = self.scheduler.config.num_train_timesteps
        clean = None
        if config.objective == "thesis":
            drawn = [
                int(rng.integers(total_steps)) for rng in self.seed_rngs(batch["position"], Stream.TIMESTEP)
            ]
            timesteps = torch.tensor(drawn, device=self.device)
            noisy = self.scheduler.add_noise(target, noise, timesteps)
            codes_loss = F.mse_loss(self.diffuser.network(noisy, timesteps, condition).float(), noise)
            if self.losses.active:
                clean = self.denoise(self.draw_normal(generators, *target.shape[1:]), condition, generators)
        else:
            last = torch.full((len(target),), total_steps - 1, device=self.device)
            clean = self.denoise(self.scheduler.add_noise(condition, noise, last), condition, generators)
            codes_loss = F.l1_loss(clean, target)
        terms = {"codes": codes_loss}
        total = config.code_weight * codes_loss
        if clean is not None and self.losses.active:
            more, pictures = self.losses(self.paint(clean, generators), batch["image"])
            total, terms = total + more, terms | pictures
        return total, terms

    def paint(self, codes: Tensor, generators: list[torch.Generator] | None = None) -> Tensor:
        """The prior's pictures of codes [B, N, D], averaged down to the training size, [B, 3, S, S].

        Args:
            generators: for the prior's noise; None uses the noise stored in it.
        """
        noise = "fixed" if generators is None else "random"
        image = self.prior(w_plus=codes, noise=noise, generator=generators).image.float()
        return F.adaptive_avg_pool2d(image, self.size) if image.shape[-1] > self.size else image

    def sample_rows(self, batch: dict[str, Any]) -> list[Tensor]:
        """Damaged; pictures of its codes, of the denoised codes and of the true face's codes; truth."""
        few = {name: value[:8] for name, value in batch.items()}
        generators = self.seed_generators(few["position"], Stream.SAMPLE_GRID)
        condition, target = self.encode(few)
        clean = self.denoise(self.draw_normal(generators, *target.shape[1:]), condition, generators)
        pictures = [self.paint(codes) for codes in (condition, clean, target)]
        return [few["damaged"], *pictures, few["image"]]

    def write_networks(self, folder: Path) -> None:
        self.copy_average(self.diffuser).cpu().save_pretrained(folder / "code_diffuser")
        self.scheduler.save_pretrained(folder / "scheduler")
