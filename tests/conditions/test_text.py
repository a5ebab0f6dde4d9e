"""Text guidance with a tiny CLIP of the real classes, its weights random."""

import json

import pytest
import torch
import torch.nn.functional as F

from facekit.conditions.text import DEFAULT_CLIP, TextGuide, check_text_options, direction_cosine, ramp

transformers = pytest.importorskip("transformers")

WORDS = ["a", "face", "smiling", "old", "man", "with", "glasses"]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A CLIP folder as `save_pretrained` writes it: 32 px pictures, texts of up to 12 tokens."""
    folder = tmp_path_factory.mktemp("clip")
    letters = [chr(code) for code in range(97, 123)]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = []
    for word in WORDS:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts = [parts[0] + parts[1], *parts[2:]]
            pieces.append(parts[0])
    pieces = [*dict.fromkeys(pieces), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = transformers.CLIPTokenizer(vocabulary, list(dict.fromkeys(merges)), model_max_length=12)
    tokenizer.save_pretrained(folder)
    width = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    marks = {
        "bos_token_id": len(pieces) - 2,
        "eos_token_id": len(pieces) - 1,
        "pad_token_id": len(pieces) - 1,
    }
    text = {**width, **marks, "vocab_size": len(pieces), "max_position_embeddings": 12}
    vision = {**width, "image_size": 32, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    transformers.CLIPModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def guide(clip_folder):
    return TextGuide.from_pretrained(clip_folder)


@pytest.fixture(scope="module")
def render():
    """A fixed smooth map from codes [B, 4, 8] to pictures [B, 3, 48, 48]."""
    generator = torch.Generator().manual_seed(1)
    basis = torch.randn(32, 3, 12, 12, generator=generator)

    def picture(codes):
        small = torch.einsum("bk,kchw->bchw", codes.flatten(1), basis) / 8
        return torch.tanh(F.interpolate(small, (48, 48), mode="bilinear"))

    return picture


@pytest.fixture
def start():
    return torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(2))


def test_tokenizer_is_a_real_one(guide):
    ids = guide.tokenizer("a smiling face")["input_ids"]
    assert len(ids) == 5 and guide.tokenizer.decode(ids[1:-1]).strip() == "a smiling face"


def test_picture_goes_towards_the_text(guide, render, start):
    steps = []
    edit = guide.optimize(render, start, "smiling old man", steps=60, on_step=steps.append)
    assert (edit.similarity > edit.similarity_before).all()
    assert (edit.direction > 0.2).all()
    # What it reports is what CLIP says of the codes that come back.
    torch.testing.assert_close(guide.similarity(render(edit.codes), "smiling old man"), edit.similarity)
    torch.testing.assert_close(guide.similarity(render(start), "smiling old man"), edit.similarity_before)
    assert [s.step for s in steps] == list(range(1, len(steps) + 1)) and steps[0].steps == 60
    assert steps[-1].loss < steps[0].loss
    assert edit.codes.shape == start.shape and not edit.codes.requires_grad


def test_loss_is_equations_6_4_and_6_5(guide, render, start):
    seen = []

    def spying(codes):
        seen.append(codes.detach().clone())
        return render(codes)

    told = []
    guide.optimize(spying, start[:1], "old man", steps=1, reg_weight=0.5, on_step=told.append)
    after = seen[-1][0]
    embed = lambda w: guide.embed_images(render(w[None]))[0]  # noqa: E731
    with torch.no_grad():
        moved = embed(after) - embed(start[0])
        wanted = guide.embed_text("old man") - guide.embed_text("face")
    cosine = sum(a * b for a, b in zip(moved.tolist(), wanted.tolist(), strict=True))
    cosine /= moved.norm().item() * wanted.norm().item()
    expected = 0.05 * (1 - cosine) + 0.5 * ((after - start[0]) ** 2).sum().item() / 32
    assert told[0].loss == pytest.approx(expected, abs=1e-4)


def test_the_thesis_search_is_equation_6_4_by_plain_gradient_descent(guide, render, start):
    """w <- w - 0.1 grad(0.05 (1 - cos(dT, dI)) + 0.08 |w - w_hat|_2), step by step; the best of them comes back."""
    anchor = start[:1]
    noise = torch.randn(anchor.shape, generator=torch.Generator().manual_seed(0))
    codes = anchor + 0.01 * noise
    with torch.no_grad():
        before = guide.embed_images(render(anchor))[0]
        wanted = guide.embed_text("old man") - guide.embed_text("face")
    losses, places = [], []
    for _ in range(13):
        codes = codes.detach().requires_grad_(True)
        moved = guide.embed_images(render(codes))[0] - before
        # At w_hat the cosine has no direction: both squared lengths have 1e-6 more.
        length = ((moved**2).sum() + 1e-6).sqrt() * ((wanted**2).sum() + 1e-6).sqrt()
        loss = 0.05 * (1 - (moved * wanted).sum() / length) + 0.08 * ((codes - anchor) ** 2).sum().sqrt()
        losses.append(loss.item())
        places.append(codes.detach())
        (gradient,) = torch.autograd.grad(loss, codes)
        codes = codes - 0.1 * gradient
    told = []
    edit = guide.optimize(render, anchor, "old man", search="thesis", steps=12, on_step=told.append)
    assert [step.loss for step in told] == pytest.approx(losses[1:], abs=1e-5)
    assert edit.stopped == "finished" and edit.steps == losses.index(min(losses))
    torch.testing.assert_close(edit.codes, places[edit.steps], rtol=1e-3, atol=1e-4)


def test_the_thesis_search_takes_all_steps_and_stays_near(guide, render, start):
    """Its norm pulls back with the same force however near the codes are, so that edits are faint."""
    told = []
    literal = guide.optimize(render, start, "old man", search="thesis", steps=100, on_step=told.append)
    assert len(told) == 100 and told[-1].loss < told[0].loss
    adam = guide.optimize(render, start, "old man", steps=100)
    assert (literal.codes - start).norm() < 0.5 * (adam.codes - start).norm()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search": "sgd"}, "search must be 'adam' or 'thesis'"),
        ({"serach": "thesis"}, "text_options has 'serach'; known are clip_weight, generator, learning_rate"),
        ({"steps": 5}, "text_options has 'steps'"),
        ({"learning_rate": -1}, "learning_rate"),
        ({"patience": -1}, "patience"),
    ],
)
def test_options_of_an_edit_are_checked(options, message):
    check_text_options({"search": "thesis", "reg_weight": 0.0, "patience": None})
    with pytest.raises(ValueError, match=message):
        check_text_options(options)


def test_rows_of_a_batch_are_edits_of_their_own(guide, render, start):
    noise = {"start_noise": 1e-9}  # so that the noise of the larger batch does not matter
    both = guide.optimize(render, start, "old man", steps=3, patience=0, **noise).codes
    # Adam divides by the size of the gradient, so tiny starts differ a little; the rows must not mix.
    alone = guide.optimize(render, start[:1], "old man", steps=3, patience=0, **noise).codes
    assert (both[:1] - alone).abs().mean() < 0.2 * (alone - start[:1]).abs().mean()


def test_cancel_returns_the_best_so_far(guide, render, start):
    steps = []
    edit = guide.optimize(
        render, start, "old man", on_step=steps.append, should_stop=lambda: len(steps) >= 10, patience=0
    )
    assert edit.stopped == "cancelled" and len(steps) == 10
    assert (edit.similarity > edit.similarity_before).any()
    at_once = guide.optimize(render, start, "old man", should_stop=lambda: True)
    assert at_once.stopped == "cancelled" and at_once.steps == 0
    torch.testing.assert_close(at_once.codes, start)


def test_early_stop(guide, render, start):
    edit = guide.optimize(render, start, "old man", steps=300, target_similarity=-1.0)
    assert edit.stopped == "early" and edit.steps == 0
    edit = guide.optimize(render, start, "old man", steps=200, patience=3, learning_rate=1e-7)
    assert edit.stopped == "early" and edit.steps < 20


def test_runs_where_a_pipeline_switched_gradients_off(guide, render, start):
    with torch.no_grad():
        assert guide.optimize(render, start, "old man", steps=3).codes.ne(start).any()
    with torch.inference_mode():
        codes = start.clone()
        assert guide.optimize(render, codes, "old man", steps=3).codes.ne(start).any()


def test_same_each_time_and_weights_untouched(guide, render, start):
    before = {name: value.clone() for name, value in guide.model.state_dict().items()}
    first, second = (guide.optimize(render, start, "old man", steps=3).codes for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert all(torch.equal(value, before[name]) for name, value in guide.model.state_dict().items())


def test_half_precision_codes_come_back_as_they_were(guide, render, start):
    edit = guide.optimize(lambda codes: render(codes.float()), start.half(), "old man", steps=2)
    assert edit.codes.dtype == torch.half


def test_pictures_as_the_image_processor_prepares_them(guide):
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    mean, std = torch.tensor(guide.image_mean), torch.tensor(guide.image_std)
    prepared = (pixels - mean[:, None, None]) / std[:, None, None]
    output = guide.model.get_image_features(pixel_values=prepared)
    expected = output if isinstance(output, torch.Tensor) else output.pooler_output
    expected = expected / expected.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(guide.embed_images(pixels * 2 - 1), expected, rtol=1e-4, atol=1e-5)


def test_no_direction_has_a_finite_gradient():
    image = torch.zeros(1, 4, requires_grad=True)
    cosine = direction_cosine(torch.tensor([1.0, 0, 0, 0]), image)
    cosine.sum().backward()
    assert cosine.item() == 0 and image.grad.isfinite().all()


def test_learning_rate_rises_and_falls():
    shares = [ramp(step / 100) for step in range(1, 101)]
    assert shares[0] < shares[4] == 1 == shares[50] and shares[-1] == 0 and shares[-2] < 0.1


def test_what_clip_cannot_read_is_refused(guide, render, start):
    with pytest.raises(ValueError, match=r"14 tokens.*at most 12.*fewer words"):
        guide.optimize(render, start, " ".join(["face"] * 12))
    for prompt in ("", "  ", None):
        with pytest.raises(ValueError, match="must be a text"):
            guide.optimize(render, start, prompt)
    with pytest.raises(ValueError, match="no direction"):
        guide.optimize(render, start, "face")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"clip_weight": -1}, "clip_weight"),
        ({"start_noise": 0}, "no gradient"),
        ({"search": "sgd"}, "search must be 'adam' or 'thesis'"),
    ],
)
def test_options_out_of_range(guide, render, start, options, message):
    with pytest.raises(ValueError, match=message):
        guide.optimize(render, start, "old man", **options)


def test_render_without_gradient_or_of_a_wrong_shape(guide, render, start):
    with pytest.raises(ValueError, match="lets no gradient pass"):
        guide.optimize(lambda codes: render(codes.detach()), start, "old man")
    with pytest.raises(ValueError, match="must have the shape"):
        guide.optimize(lambda codes: render(codes)[:, :1], start, "old man")
    with pytest.raises(ValueError, match=r"\[B, n, D\]"):
        guide.optimize(render, start[0], "old man")


def test_missing_weights_say_what_to_download(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match=f"hf download {DEFAULT_CLIP}.*pass its path"):
        TextGuide.from_pretrained(local_files_only=True, cache_dir=tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(OSError, match="no complete CLIP folder"):
        TextGuide.from_pretrained(tmp_path)


def test_folder_without_its_tokenizer_is_refused(clip_folder, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((clip_folder / name).read_bytes())
    with pytest.raises(OSError, match="tokenizer"):
        TextGuide.from_pretrained(tmp_path)
