"""The restorer's training: networks of one run, and what happens in an iteration."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from skimage.metrics import structural_similarity
from torch import Tensor

from facekit.damage.degrade import degrade_pair
from facekit.losses.logistic import logistic_discriminator_loss, logistic_generator_loss, r1_penalty
from facekit.models.code_diffuser import CodeDiffuser
from facekit.models.layers import channels_at
from facekit.models.restorer import RestoreAutoEncoder
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.models.stylegan2_discriminator import StyleGAN2Discriminator
from facekit.pipelines.restore import FaceRestorePipeline
from train.data.images import ImageSource, fit_square, to_tensor
from train.engine.picture_losses import PictureLosses
from train.engine.scores import imagenet_distance, over_pictures, sharpness
from train.engine.stage import Stage, load_component, load_scheduler
from train.restorer.config import ABLATIONS, RestorerConfig
from train.starts.quiet import quieten_styles, silence_codes


def style_columns(restorer: RestoreAutoEncoder) -> tuple[range, range]:
    """Which numbers of a style vector are the style codes' (none without them), which the random style's."""
    size = restorer.config.style_dim
    first = size if restorer.config.use_style_codes else 0
    return range(first), range(first, first + size)


def with_options(restorer: RestoreAutoEncoder, options: dict[str, Any]) -> RestoreAutoEncoder:
    """The same weights under other options that leave the shapes alone: `dropout`, `residual`.

    One that becomes residual begins as the identity. RuntimeError when shapes differ.
    """
    if all(restorer.config[name] == value for name, value in options.items()):
        return restorer
    changed = RestoreAutoEncoder.from_config({**restorer.config, **options})
    changed.load_state_dict(restorer.state_dict())
    if changed.config.residual and not restorer.config.residual:
        changed.silence_rgb()
    return changed


def no_prompts(restorer: RestoreAutoEncoder, image: Tensor) -> dict[str, Any]:
    """Zeros in the place of codes and features, `image` [B, 3, S, S]."""
    config, batch = restorer.config, image.shape[0]
    features = [image.new_zeros(())] + [
        image.new_zeros(()).expand(
            batch, channels_at(4 * 2**k, config.channel_base, config.max_channels), *side
        )
        for k in range(1, restorer.num_levels + 1)
        for side in [(4 * 2**k, 4 * 2**k)]
    ]
    codes = image.new_zeros(batch, restorer.num_styles, config.style_dim)
    return {"style_codes": codes, "features": features}


def chroma_distance(image: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of colours less their lightness, over cells of 2 x 2 pixels; [B, 3, H, W] each."""
    made, wanted = (F.avg_pool2d(x - x.mean(1, keepdim=True), 2) for x in (image.float(), target.float()))
    return F.l1_loss(made, wanted)


class RestorerTrainer(Stage):
    """Networks of one run, and what happens in an iteration."""

    config: RestorerConfig

    def build(self) -> None:
        config = self.config
        self.prior = self.style_encoder = self.code_diffuser = None
        if config.prompts:
            self.prior = self.use(load_component(StyleGAN2Generator, config.prior, "prior"))
            self.style_encoder = self.use(load_component(StyleEncoder, config.style_encoder, "style_encoder"))
        if config.code_diffuser is not None:
            self.code_diffuser = self.use(load_component(CodeDiffuser, config.code_diffuser, "code_diffuser"))
            self.scheduler = load_scheduler(config.code_diffuser)
        restorer, critic = self._build_trained()
        self.size = restorer.config.sample_size
        average = (config.ema_decay, config.ema_min_decay)
        self.restorer = self.learn(restorer, config.learning_rate, config.betas, average)
        self.critic = None
        if config.needs_critic:
            self.critic = self.learn(
                critic,
                config.discriminator_learning_rate or config.learning_rate,
                config.discriminator_betas or config.betas,
            )
        self.losses = PictureLosses(config, self.critic and critic, self.device, self.run.say)
        self.feature_critic = self.learn_feature_critic(self.losses)

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
        if config.init_from is not None:
            restorer = load_component(RestoreAutoEncoder, config.init_from, "restorer")
            restorer = with_options(restorer, config.restorer)
        else:
            restorer = RestoreAutoEncoder(**(same | config.restorer | ABLATIONS[config.ablation]))
            if not config.prompts:
                silence_codes(restorer, style_columns(restorer)[0])
        if config.quiet_styles:
            quieten_styles(restorer, style_columns(restorer)[1])
        options = {name: restorer.config[name] for name in names if name != "style_dim"}
        return restorer, self._build_critic(options)

    # The frozen part

    @torch.no_grad()
    def prompts(self, batch: dict[str, Any], stream: int = 0) -> dict[str, Any]:
        """Clean codes and prior features of a batch, as `style_codes` and `features`; zeros without prompts."""
        if not self.config.prompts:
            return no_prompts(self.restorer.network, batch["damaged"])
        generators = self.generators(batch["position"], stream)
        with self.accelerator.autocast():
            codes = self.style_encoder(batch["damaged"]).float()
            if self.code_diffuser is not None:
                noisy = self.normal(generators, *codes.shape[1:])
                for timestep in self.scheduler.timesteps:
                    predicted = self.code_diffuser(noisy, timestep, codes).float()
                    noisy = self.scheduler.step(predicted, timestep, noisy, generators).prev_sample
                codes = noisy
            features = None
            if self.restorer.network.config.use_prior_features:
                features = self.prior(
                    w_plus=codes, stop_at=self.restorer.network.num_levels, generator=generators
                ).features
        return {"style_codes": codes, "features": features}

    def restore(self, batch: dict[str, Any], prompts: dict[str, Any], stream: int) -> Tensor:
        """Restored pictures [B, 3, S, S] under fresh random styles."""
        generators = self.generators(batch["position"], stream)
        dim, count = self.restorer.network.config.style_dim, self.restorer.network.num_styles
        z, crossover = list(self.normal(generators, 2, dim).unbind(1)), None
        # A choice for all samples of the update, in all processes.
        choice = self.step_rng(stream)
        if choice.random() < self.config.style_mixing:
            crossover = int(choice.integers(1, count))
        else:
            z = z[:1]
        return self.restorer.network(
            batch["damaged"], **prompts, z=z, crossover=crossover, generator=generators
        ).image.float()

    # One iteration: D, R1, G

    def iteration(self, batches: list[dict[str, Any]]) -> None:
        prompts = [self.prompts(batch) for batch in batches]
        if self.critic is not None:
            self._update_critic(batches, prompts)
        judges = [learner.network for learner in (self.critic, self.feature_critic) if learner is not None]
        with self.frozen(*judges):
            for batch, prompt in zip(batches, prompts, strict=True):
                with self.accelerator.autocast():
                    loss, terms = self._restorer_loss(self.restore(batch, prompt, 2), batch["image"])
                self.accelerator.backward(loss / len(batches))
                self.run.curves.record(
                    loss_restorer=loss, **{f"restorer_{name}": value for name, value in terms.items()}
                )
        self.update(self.restorer, clip=self.config.gradient_clip)
        self.update_feature_critic(self.feature_critic, self.losses)

    def _update_critic(self, batches: list[dict[str, Any]], prompts: list[dict[str, Any]]) -> None:
        config, critic = self.config, self.critic.network
        for batch, prompt in zip(batches, prompts, strict=True):
            with self.accelerator.autocast():
                with torch.no_grad():
                    fake = self.restore(batch, prompt, 1)
                on_real, on_fake = critic(batch["image"]).float(), critic(fake).float()
                loss = logistic_discriminator_loss(on_real, on_fake)
            self.accelerator.backward(loss / len(batches))
            self.run.curves.record(loss_discriminator=loss)
        self.update(self.critic)
        if config.r1_weight > 0 and self.is_due(config.r1_every):
            for batch in batches:
                image = batch["image"].detach().requires_grad_(True)
                penalty = r1_penalty(critic(image), image)
                self.accelerator.backward(config.r1_weight / 2 * config.r1_every * penalty / len(batches))
                self.run.curves.record(r1=penalty)
            self.update(self.critic)

    def _restorer_loss(self, image: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        adversarial = self.config.adversarial_weight > 0 and self.config.critic == "stylegan2"
        features = self.critic.network.features(image) if adversarial else None
        total, terms = self.losses(image, target, features)
        if adversarial:
            terms["adversarial"] = logistic_generator_loss(self.critic.network.decide(features[-1]).float())
            total = total + self.config.adversarial_weight * terms["adversarial"]
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
        prompts = self.prompts(few)
        rows = [few["damaged"], self.restored(few, prompts), few["image"]]
        if self.prior is not None:
            guess = self.prior(w_plus=prompts["style_codes"], noise="fixed").image
            rows.insert(1, F.adaptive_avg_pool2d(guess, self.size))
        return rows

    def restored(self, batch: dict[str, Any], prompts: dict[str, Any]) -> Tensor:
        """What the averaged restorer makes of them."""
        generators = self.generators(batch["position"], 3)
        return self.averaged(self.restorer)(batch["damaged"], **prompts, generator=generators).image.clamp(
            -1, 1
        )

    def validation_pictures(self) -> list[dict[str, Any]]:
        """Held-out pictures, each damaged by a draw of its own that never changes."""
        config = self.config
        if config.validation_data is None:
            return []
        source = ImageSource(
            config.validation_data, config.validation_split, image_column=config.image_column
        )
        samples = []
        for i, picture in enumerate(source.first_pictures(config.validation_images)):
            pixels = fit_square(picture, self.size, None)
            damaged, target = degrade_pair(pixels, config.damage, np.random.default_rng([7, i]))
            pictures = {"image": to_tensor(target)[None], "damaged": to_tensor(damaged)[None]}
            samples.append(pictures | {"position": torch.tensor([i])})
        return samples

    def train(self) -> None:
        self.validation = self.validation_pictures()
        needed = self.config.best_metric == "imagenet"
        self.distance = imagenet_distance(self.device, needed) if self.validation else None
        super().train()

    def after_step(self) -> None:
        config, run = self.config, self.run
        if not self.validation or not run.is_time(config.validate_every):
            return
        metrics, rows = self.score(self.validation)
        run.write_curves({f"validation_{name}": value for name, value in metrics.items()})
        run.write_images("validation", rows)
        run.keep_best(metrics, config.best_metric, self.write_networks)

    @torch.no_grad()
    def score(self, batches: list[dict[str, Any]]) -> tuple[dict[str, float], list[Tensor]]:
        """Scores over all pictures, shared by all processes, and rows of this one's first ones.

        Means of `psnr` (dB), `ssim` and, where its weights are installed, `imagenet`; `sharpness` is the median share
        of the truth's energy of fine detail.
        """
        network, table, rows = self.averaged(self.restorer), torch.zeros(len(batches), 4), []
        for i in range(self.accelerator.process_index, len(batches), self.accelerator.num_processes):
            batch = self.to_device(batches[i])
            prompts = self.prompts(batch, 5)
            generators = self.generators(batch["position"], 6)
            image = network(batch["damaged"], **prompts, generator=generators).image.float().clamp(-1, 1)
            a, b = (x[0].permute(1, 2, 0).add(1).div(2).cpu().numpy() for x in (image, batch["image"]))
            psnr = -10 * np.log10(max(float(np.square(a - b).mean()), 1e-10))
            ssim = structural_similarity(a, b, channel_axis=2, data_range=1.0)
            fine = sharpness(image, batch["image"]).item()
            distance = self.distance(image, batch["image"]).item() if self.distance else 0.0
            table[i] = torch.tensor([psnr, ssim, fine, distance])
            rows.append((batch["damaged"], image, batch["image"]))
        names = ("psnr", "ssim", "sharpness", *(["imagenet"] if self.distance else []))
        metrics = over_pictures(self.accelerator, table, names)
        return metrics, [torch.cat(row) for row in zip(*rows[:8], strict=True)]

    def write_networks(self, folder: Path) -> None:
        parts = {
            "style_encoder": self.style_encoder,
            "prior": self.prior,
            "restorer": self.averaged(self.restorer),
        }
        if self.code_diffuser is None:
            for name, part in parts.items():
                if part is not None:
                    part.save_pretrained(folder / name)
        else:
            FaceRestorePipeline(
                **parts, code_diffuser=self.code_diffuser, scheduler=self.scheduler
            ).save_pretrained(folder)
