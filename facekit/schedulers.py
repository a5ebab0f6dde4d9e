"""Sampling schedule of the code diffusion (thesis section 3.2.2)."""

import math
from dataclasses import dataclass
from typing import Any, Literal, overload

import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor

from facekit.notes import Argument, Refusal


@dataclass
class CodeDiffusionSchedulerOutput(BaseOutput):
    """`prev_sample`: the less noisy codes; `pred_original_sample`: the clean codes as predicted now."""

    prev_sample: torch.Tensor
    pred_original_sample: torch.Tensor


class CodeDiffusionScheduler(SchedulerMixin, ConfigMixin):
    """Few-step ancestral sampling of style codes.

    Defaults follow the thesis: the network predicts the noise (`prediction_type="epsilon"`), betas are
    "linear", and Eq. 3.3 adds noise of the posterior variance (`variance_type="posterior"`).
    The published networks need `published()`: prediction of the clean codes ("sample"), betas linear in the
    square root ("scaled_linear"), and the posterior mean without noise ("zero").
    """

    config: Any  # of diffusers' FrozenDict, whose values are attributes, too
    order = 1
    init_noise_sigma = 1.0

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 4,
        beta_start: float = 0.1,
        beta_end: float = 0.99,
        beta_schedule: str = "linear",
        prediction_type: str = "epsilon",
        variance_type: str = "posterior",
    ) -> None:
        for name, value, allowed in (
            ("beta_schedule", beta_schedule, ("linear", "scaled_linear")),
            ("prediction_type", prediction_type, ("epsilon", "sample")),
            ("variance_type", variance_type, ("posterior", "zero")),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {value!r}")
        root = beta_schedule == "scaled_linear"
        low, high = (math.sqrt(beta_start), math.sqrt(beta_end)) if root else (beta_start, beta_end)
        step = (high - low) / max(num_train_timesteps - 1, 1)
        values = [low + step * t for t in range(num_train_timesteps)]
        betas = [value * value for value in values] if root else values
        products, product = [], 1.0
        for beta in betas:
            product *= 1.0 - beta
            products.append(product)
        # Python floats: exact on every device, those without double precision included.
        self._alphas_cumprod = products
        self.betas = torch.tensor(betas)
        self.alphas_cumprod = torch.tensor(products)
        self.set_timesteps(num_train_timesteps)

    @classmethod
    def published(cls) -> "CodeDiffusionScheduler":
        """The published code's schedule: x0 prediction, betas linear in the square root, posterior mean."""
        return cls(beta_schedule="scaled_linear", prediction_type="sample", variance_type="zero")

    def set_timesteps(
        self, num_inference_steps: int | None = None, device: torch.device | str | None = None
    ) -> None:
        """Choose the steps, evenly spaced from T-1 down to 0. Raises ValueError outside 1..T."""
        total = self.config.num_train_timesteps
        steps = total if num_inference_steps is None else num_inference_steps
        if not 1 <= steps <= total:
            raise Refusal(
                "setting",
                "{argument} must be between 1 and {total}, the number this model was trained with, got {value}",
                argument=Argument("num_inference_steps"),
                total=total,
                value=steps,
            )
        spacing = (total - 1) / max(steps - 1, 1)
        chosen = [round(total - 1 - spacing * index) for index in range(steps)]
        self.num_inference_steps = steps
        self.timesteps = torch.tensor(chosen, dtype=torch.int64, device=device)
        self._previous = dict(zip(chosen, [*chosen[1:], -1], strict=True))

    def scale_model_input(self, sample: torch.Tensor, timestep: int | None = None) -> torch.Tensor:
        """The sample as it is; here for interchangeability with other schedulers."""
        return sample

    def coefficients(self, timestep: int) -> tuple[float, float, float, float, float]:
        """(alpha_bar, alpha, factor of x0, factor of x_t, posterior variance) of one chosen step."""
        if timestep not in self._previous:
            raise ValueError(
                f"time step {timestep} is not one of {sorted(self._previous)}; call set_timesteps"
            )
        previous = self._previous[timestep]
        alpha_bar = self._alphas_cumprod[timestep]
        alpha_bar_prev = self._alphas_cumprod[previous] if previous >= 0 else 1.0
        alpha = alpha_bar / alpha_bar_prev
        beta = 1.0 - alpha
        coef_clean = beta * math.sqrt(alpha_bar_prev) / (1.0 - alpha_bar)
        coef_noisy = (1.0 - alpha_bar_prev) * math.sqrt(alpha) / (1.0 - alpha_bar)
        return alpha_bar, alpha, coef_clean, coef_noisy, beta * (1.0 - alpha_bar_prev) / (1.0 - alpha_bar)

    def adds_noise(self, timestep: int) -> bool:
        """Whether the step at this one of the chosen times draws noise."""
        return self.config.variance_type == "posterior" and self.coefficients(timestep)[-1] > 0

    @overload
    def step(
        self,
        model_output: torch.Tensor,
        timestep: torch.Tensor | int,
        sample: torch.Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: Literal[True] = True,
        variance_noise: torch.Tensor | None = None,
    ) -> CodeDiffusionSchedulerOutput: ...
    @overload
    def step(
        self,
        model_output: torch.Tensor,
        timestep: torch.Tensor | int,
        sample: torch.Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        *,
        return_dict: Literal[False],
        variance_noise: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]: ...
    def step(
        self,
        model_output: torch.Tensor,
        timestep: torch.Tensor | int,
        sample: torch.Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
        variance_noise: torch.Tensor | None = None,
    ) -> CodeDiffusionSchedulerOutput | tuple[torch.Tensor, torch.Tensor]:
        """One step of Eq. 3.3, a draw from Eq. 3.2 (or the posterior mean of the predicted clean codes).

        All tensors are [B, N, D]. `variance_noise` stands for noise drawn from `generator`, where the step adds some.
        """
        alpha_bar, alpha, coef_clean, coef_noisy, variance = self.coefficients(int(timestep))
        if self.config.prediction_type == "sample":
            clean = model_output
            previous = coef_clean * clean + coef_noisy * sample
        else:
            noise_share = math.sqrt(1.0 - alpha_bar)
            clean = (sample - noise_share * model_output) / math.sqrt(alpha_bar)
            previous = (sample - (1.0 - alpha) / noise_share * model_output) / math.sqrt(alpha)
        if self.adds_noise(int(timestep)):
            if variance_noise is None:
                shape, device, dtype = sample.shape, sample.device, sample.dtype
                variance_noise = randn_tensor(shape, generator=generator, device=device, dtype=dtype)
            previous = previous + math.sqrt(variance) * variance_noise
        if not return_dict:
            return previous, clean
        return CodeDiffusionSchedulerOutput(prev_sample=previous, pred_original_sample=clean)

    def add_noise(
        self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """Forward process, Eq. 3.1 in closed form: codes and noise [B, N, D], time steps [B] -> [B, N, D]."""
        share = self.alphas_cumprod.to(original_samples.device, original_samples.dtype)[timesteps]
        share = share.reshape(-1, 1, 1)
        return share.sqrt() * original_samples + (1 - share).sqrt() * noise
