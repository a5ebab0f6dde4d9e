"""Code diffusion schedule: the thesis' Eq. 3.3, fewer steps, noise, saving, refusals."""

from pathlib import Path

import pytest
import torch

from facekit.schedulers import CodeDiffusionScheduler


def test_thesis_schedule_is_linear() -> None:
    scheduler = CodeDiffusionScheduler()
    torch.testing.assert_close(scheduler.betas, torch.linspace(0.1, 0.99, 4))
    assert scheduler.timesteps.tolist() == [3, 2, 1, 0]
    assert scheduler.order == 1 and scheduler.init_noise_sigma == 1.0


@pytest.mark.parametrize("t", [0, 1, 2, 3])
def test_a_step_is_equation_3_3(t: int) -> None:
    scheduler = CodeDiffusionScheduler()
    beta, total = scheduler.betas, scheduler.alphas_cumprod
    codes, noise = torch.randn(2, 1, 18, 8).unbind(0)
    result = scheduler.step(noise, t, codes, generator=torch.Generator().manual_seed(0)).prev_sample
    fresh = torch.randn(codes.shape, generator=torch.Generator().manual_seed(0))
    previous = total[t - 1] if t else torch.tensor(1.0)
    sigma = ((1 - previous) / (1 - total[t]) * beta[t]).sqrt()
    mean = (codes - beta[t] / (1 - total[t]).sqrt() * noise) / (1 - beta[t]).sqrt()
    torch.testing.assert_close(result, mean + sigma * fresh, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear"])
def test_both_predictions_describe_the_same_step(schedule: str) -> None:
    """With the true noise or the true clean codes the posterior mean is the same."""
    options = {"beta_schedule": schedule, "variance_type": "zero"}
    by_noise = CodeDiffusionScheduler(prediction_type="epsilon", **options)
    by_codes = CodeDiffusionScheduler(prediction_type="sample", **options)
    clean, noise = torch.randn(2, 3, 6, 8).unbind(0)
    for t in by_noise.timesteps:
        noisy = by_noise.add_noise(clean, noise, t.expand(3))
        first, second = by_noise.step(noise, t, noisy), by_codes.step(clean, t, noisy)
        torch.testing.assert_close(first.prev_sample, second.prev_sample, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(first.pred_original_sample, clean, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
def test_a_perfect_network_gives_the_clean_codes(steps: int, prediction: str) -> None:
    scheduler = CodeDiffusionScheduler(prediction_type=prediction)
    scheduler.set_timesteps(steps)
    assert len(scheduler.timesteps) == steps and scheduler.timesteps[0] == 3
    clean, codes = torch.randn(2, 1, 6, 8).unbind(0)
    generator = torch.Generator().manual_seed(0)
    for t in scheduler.timesteps:
        total = scheduler.alphas_cumprod[t]
        output = clean if prediction == "sample" else (codes - total.sqrt() * clean) / (1 - total).sqrt()
        codes = scheduler.step(output, t, codes, generator=generator).prev_sample
    torch.testing.assert_close(codes, clean, rtol=1e-3, atol=1e-3)


def test_noise_comes_from_the_generator() -> None:
    scheduler = CodeDiffusionScheduler()
    codes = torch.randn(1, 6, 8)
    runs = [
        scheduler.step(codes, 3, codes, generator=torch.Generator().manual_seed(seed), return_dict=False)[0]
        for seed in (1, 1, 2)
    ]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    still = CodeDiffusionScheduler.published()
    assert torch.equal(still.step(codes, 3, codes).prev_sample, still.step(codes, 3, codes).prev_sample)


def test_saved_and_loaded_again(tmp_path: Path) -> None:
    CodeDiffusionScheduler.published().save_pretrained(tmp_path)
    again = CodeDiffusionScheduler.from_pretrained(tmp_path)
    assert again.config.prediction_type == "sample"
    torch.testing.assert_close(again.betas, CodeDiffusionScheduler.published().betas)


@pytest.mark.parametrize("steps", [0, 5])
def test_impossible_numbers_of_steps_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match=f"between 1 and 4.*got {steps}"):
        CodeDiffusionScheduler().set_timesteps(steps)


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"beta_schedule": "cosine"}, {"prediction_type": "v"}, {"variance_type": "learned"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            CodeDiffusionScheduler(**wrong)
    scheduler = CodeDiffusionScheduler()
    scheduler.set_timesteps(2)
    with pytest.raises(ValueError, match="not one of"):
        scheduler.step(torch.zeros(1, 2, 2), 2, torch.zeros(1, 2, 2))
