"""The restorer's training (thesis section 3.2.4)."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from facekit.losses.logistic import logistic_generator_loss
from facekit.models.code_diffuser import CodeDiffuser
from facekit.models.restorer import RestoreAutoEncoder
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.models.stylegan2_discriminator import StyleGAN2Discriminator
from facekit.pipelines.restore import FaceRestorePipeline
from train.engine.critic import Critic
from train.engine.options import needs_discriminator
from train.engine.picture_losses import PictureLosses
from train.engine.stage import Stage, load_component, load_scheduler
from train.engine.streams import Restorer as Stream
from train.restorer.config import ABLATIONS, RestorerConfig
from train.restorer.networks import change_options, find_style_columns, make_empty_prompts
from train.restorer.validation import RestorerValidation
from train.starts.quiet import quieten_styles, silence_codes


def chroma_distance(image: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of colours without their lightness, over cells of 2 x 2 pixels; [B, 3, H, W] each."""
    made, wanted = (F.avg_pool2d(x - x.mean(1, keepdim=True), 2) for x in (image.float(), target.float()))
    return F.l1_loss(made, wanted)


class RestorerTrainer(Stage):
    """Trains the restoration auto-encoder and a discriminator on a frozen prior, style encoder and code diffuser."""

    config: RestorerConfig

    def build(self) -> None:
        config = self.config
        self.prior = self.style_encoder = self.code_diffuser = self.scheduler = None
        if config.prompts:
            self.prior = self.use(load_component(StyleGAN2Generator, config.prior, "prior"))
            self.style_encoder = self.use(load_component(StyleEncoder, config.style_encoder, "style_encoder"))
        if config.code_diffuser is not None:
            self.code_diffuser = self.use(load_component(CodeDiffuser, config.code_diffuser, "code_diffuser"))
            self.scheduler = load_scheduler(config.code_diffuser)
        restorer, critic = self._build_trained()
        self.size = restorer.config.sample_size
        self.restorer = self.learn(restorer, config.learning_rate, config.betas, config.average)
        self.critic: Critic | None = None
        if needs_discriminator(config.pictures, config.adversarial):
            self.critic = Critic(self, self.learn(critic, *config.adversarial.choose_rates(config)))
        judge = config.adversarial if config.adversarial.is_projected else None
        reads = critic if self.critic is not None else None
        self.losses = PictureLosses(config.pictures, reads, self.device, self.run.say, judge)
        self.feature_critic = self.losses.learn_critic(self)

    def _build_critic(self, options: dict[str, Any]) -> StyleGAN2Discriminator:
        config = self.config
        if config.discriminator_from is None:
            return StyleGAN2Discriminator(**(options | config.discriminator))
        critic = load_component(StyleGAN2Discriminator, config.discriminator_from, "discriminator")
        if critic.config.sample_size != options["sample_size"]:
            raise ValueError(
                f"the discriminator of {config.discriminator_from} reads pictures of "
                f"{critic.config.sample_size}, the restorer's are {options['sample_size']}"
            )
        return critic

    def _build_trained(self) -> tuple[RestoreAutoEncoder, StyleGAN2Discriminator]:
        config = self.config
        names = ("sample_size", "style_dim", "channel_base", "max_channels")
        same = {name: self.prior.config[name] for name in names} if config.prompts else {}
        options = {"form": config.form} | config.restorer
        if config.init_from is not None:
            restorer = load_component(RestoreAutoEncoder, config.init_from, "restorer")
            restorer = change_options(restorer, options)
        else:
            restorer = RestoreAutoEncoder(**(same | options | ABLATIONS[config.ablation]))
            if not config.prompts:
                silence_codes(restorer, find_style_columns(restorer)[0])
        if config.quiet_styles:
            quieten_styles(restorer, find_style_columns(restorer)[1])
        options = {name: restorer.config[name] for name in names if name != "style_dim"}
        return restorer, self._build_critic(options)

    # The frozen part

    @torch.no_grad()
    def make_prompts(self, batch: dict[str, Any], stream: int = Stream.PROMPTS) -> dict[str, Any]:
        """Clean codes of a batch, `style_codes` [B, n, D], and the prior's `features`; zeros without prompts."""
        if not self.config.prompts:
            return make_empty_prompts(self.restorer.network, batch["damaged"])
        generators = self.seed_generators(batch["position"], stream)
        with self.accelerator.autocast():
            codes = self.style_encoder(batch["damaged"]).float()
            if self.code_diffuser is not None:
                noisy = self.draw_normal(generators, *codes.shape[1:])
                for timestep in self.scheduler.timesteps:
                    predicted = self.code_diffuser(noisy, timestep, codes).float()
                    noisy = self.scheduler.step(predicted, timestep, noisy, generators).prev_sample
                codes = noisy
            features = None
            if self.restorer.network.config.use_prior_features:
                features = self.prior(
                    w_plus=codes,
                    stop_at=self.restorer.network.num_levels,
                    feature_layer=self.restorer.network.feature_layer,
                    generator=generators,
                ).features
        return {"style_codes": codes, "features": features}

    def restore(self, batch: dict[str, Any], prompts: dict[str, Any], stream: int) -> Tensor:
        """Restored pictures [B, 3, S, S] under fresh random styles, in [-1, 1] but not clipped."""
        generators = self.seed_generators(batch["position"], stream)
        dim, count = self.restorer.network.config.style_dim, self.restorer.network.num_styles
        z, crossover = list(self.draw_normal(generators, 2, dim).unbind(1)), None
        # A choice for all samples of the update, in all processes.
        choice = self.seed_step_rng(stream)
        if choice.random() < self.config.style_mixing:
            crossover = int(choice.integers(1, count))
        else:
            z = z[:1]
        return self.restorer.network(
            batch["damaged"], **prompts, z=z, crossover=crossover, generator=generators
        ).image.float()

    # One step of Eq. 3.14: D, R1, G

    def iterate(self, batches: list[dict[str, Any]]) -> None:
        prompts = [self.make_prompts(batch) for batch in batches]
        if self.critic is not None:
            with torch.no_grad(), self.accelerator.autocast():
                fakes = [
                    [self.restore(batch, prompt, Stream.FAKE)]
                    for batch, prompt in zip(batches, prompts, strict=True)
                ]
            self.critic.update(batches, fakes)
        judges = [learner.network for learner in (self.critic, self.feature_critic) if learner is not None]
        with self.freeze(*judges):
            for batch, prompt in zip(batches, prompts, strict=True):
                with self.accelerator.autocast():
                    loss, terms = self._restorer_loss(
                        self.restore(batch, prompt, Stream.JUDGED), batch["image"]
                    )
                self.accelerator.backward(loss / len(batches))
                self.run.curves.record(
                    loss_restorer=loss, **{f"restorer_{name}": value for name, value in terms.items()}
                )
        self.update(self.restorer, clip=self.config.gradient_clip)
        self.losses.update_critic(self, self.feature_critic)

    def _restorer_loss(self, image: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 3.13, and L1 and chroma that only the starter uses: the loss, and its unweighted terms by name."""
        adversarial = self.config.adversarial.is_whole
        features = self.critic.network.features(image) if adversarial else None
        total, terms = self.losses(image, target, features)
        if adversarial:
            terms["adversarial"] = logistic_generator_loss(self.critic.network.decide(features[-1]).float())
            total = total + self.config.adversarial.weight * terms["adversarial"]
        if self.config.l1_weight > 0:
            terms["l1"] = F.l1_loss(image, target)
            total = total + self.config.l1_weight * terms["l1"]
        if self.config.chroma_weight > 0:
            terms["chroma"] = chroma_distance(image, target)
            total = total + self.config.chroma_weight * terms["chroma"]
        return total, terms

    # Results

    def sample_rows(self, batch: dict[str, Any]) -> list[Tensor]:
        """Damaged, the prior's picture of the clean codes, restored, truth."""
        few = {name: value[:8] for name, value in batch.items()}
        prompts = self.make_prompts(few)
        rows = [few["damaged"], self.restore_averaged(few, prompts), few["image"]]
        if self.prior is not None:
            guess = self.prior(w_plus=prompts["style_codes"], noise="fixed").image
            rows.insert(1, F.adaptive_avg_pool2d(guess, self.size))
        return rows

    def restore_averaged(self, batch: dict[str, Any], prompts: dict[str, Any]) -> Tensor:
        """Pictures [B, 3, S, S] in [-1, 1] that the averaged restorer makes of a batch."""
        generators = self.seed_generators(batch["position"], Stream.SAMPLE_GRID)
        return self.copy_average(self.restorer)(
            batch["damaged"], **prompts, generator=generators
        ).image.clamp(-1, 1)

    def build_validation(self) -> RestorerValidation | None:
        return None if self.config.validation.data is None else RestorerValidation(self)

    def write_networks(self, folder: Path) -> None:
        restorer = self.copy_average(self.restorer)
        if not self.config.prompts:  # the rest comes with the next stage
            restorer.save_pretrained(folder / "restorer")
            return
        FaceRestorePipeline(
            style_encoder=self.style_encoder,
            code_diffuser=self.code_diffuser,
            scheduler=self.scheduler,
            prior=self.prior,
            restorer=restorer,
        ).save_pretrained(folder)
