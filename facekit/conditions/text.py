"""Text guides an edit: CLIP pulls style codes towards a description (thesis 6.2.3, Eq. 6.4 and 6.5)."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from facekit.notes import Refusal

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPTokenizer

DEFAULT_CLIP = "openai/clip-vit-base-patch32"
SOURCE_PROMPT = "face"
IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)

# Of the squared norm of a difference of unit vectors: at w = w_hat it is zero and has no direction.
EPSILON = 1e-6
RAMP_UP, RAMP_DOWN = 0.05, 0.25
# A smaller gain than this counts as none for the early stop.
LEAST_GAIN = 1e-4

# How codes are searched for, see `TextGuide.optimize`; steps without a gain after which each ends (0: after all steps).
Search = Literal["adam", "thesis"]
PATIENCE: dict[Search, int] = {"adam": 60, "thesis": 0}

# Arguments of `TextGuide.optimize` that an edit decides itself.
DECIDED = ("steps", "on_step", "should_stop")


@dataclass
class TextStep:
    """What the callback of `TextGuide.optimize` receives.

    Attributes:
        step: number of the step that was taken, from 1.
        steps: how many there are at most.
        loss: Eq. 6.4, mean over the batch.
        similarity: cosine of the picture's and the prompt's embeddings, mean over the batch.
    """

    step: int
    steps: int
    loss: float
    similarity: float


@dataclass
class TextEdit:
    """The outcome of `TextGuide.optimize`.

    Attributes:
        codes: w* [B, n, D], the best that were found, in the dtype of those given.
        similarity_before, similarity: cosine of picture and prompt at w_hat and at `codes`, [B].
        direction: cosine of Eq. 6.5 at `codes`, [B].
        steps: how many were taken.
        stopped: why it ended: "finished" (all steps), "early" (no more gain, or the target was reached) or "cancelled".
    """

    codes: Tensor
    similarity_before: Tensor
    similarity: Tensor
    direction: Tensor
    steps: int
    stopped: str


class TextGuide:
    """A frozen CLIP that measures how well a picture fits a text, with gradients.

    Args:
        model: `transformers.CLIPModel`.
        tokenizer: its tokenizer.
        image_mean, image_std: normalisation of the pictures that CLIP was trained on.
    """

    def __init__(
        self,
        model: "CLIPModel",
        tokenizer: "CLIPTokenizer",
        image_mean: Sequence[float] = IMAGE_MEAN,
        image_std: Sequence[float] = IMAGE_STD,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.image_mean, self.image_std = tuple(image_mean), tuple(image_std)

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path = DEFAULT_CLIP, **kwargs: Any) -> "TextGuide":
        """Load a CLIP and its tokenizer.

        Args:
            name_or_folder: a folder or Hub id that `transformers` reads.
            kwargs: for both `from_pretrained` of transformers, such as `revision`, `cache_dir`, `local_files_only`.

        Raises:
            ImportError: `transformers` is not installed.
            OSError: the weights or the tokenizer are not on this computer and cannot be downloaded; the message says
                what to do.
        """
        try:
            from transformers import CLIPModel, CLIPTokenizer
        except ImportError as error:
            raise ImportError(
                "editing by text needs transformers: pip install 'transformers>=5.0'"
            ) from error
        from facekit.hub.errors import explain_unreachable, why_unreachable

        name, silence = str(name_or_folder), None
        if not Path(name).is_dir() and not kwargs.get("local_files_only"):
            silence = why_unreachable() if "/" in name else f"There is no folder {name}."
            kwargs["local_files_only"] = silence is not None
        try:
            model = CLIPModel.from_pretrained(name, **kwargs)
            tokenizer = CLIPTokenizer.from_pretrained(name, **kwargs)
        except (OSError, ValueError) as error:
            raise OSError(
                " ".join(filter(None, (_how_to_get(name), silence or explain_unreachable(error))))
            ) from error
        # Without its files the tokenizer comes up with nothing but its special tokens, and reads every text alike.
        if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
            raise OSError(_how_to_get(name))
        return cls(model, tokenizer)

    def to(self, *args: Any, **kwargs: Any) -> "TextGuide":
        """Move the model, as `torch.nn.Module.to` does."""
        self.model.to(*args, **kwargs)
        return self

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.device

    @property
    def max_tokens(self) -> int:
        """The greatest length of a text in tokens, with its marks of start and end."""
        return self.model.config.text_config.max_position_embeddings

    def check_prompt(self, prompt: str) -> None:
        """Raise ValueError for a text that CLIP cannot read: no text, an empty one, or one of too many tokens."""
        if not isinstance(prompt, str) or not prompt.strip():
            problem = f"must be a text such as 'a smiling face', not {prompt!r}"
            raise Refusal("prompt", "the prompt {problem}", problem=problem)
        count = len(self.tokenizer(prompt)["input_ids"])
        if count > self.max_tokens:
            problem = f"has {count} tokens with its marks of start and end; this CLIP reads at most {self.max_tokens}"
            raise Refusal("prompt", "the prompt {problem}", "Say it in fewer words", problem=problem)

    @torch.no_grad()
    def embed_text(self, prompt: str) -> Tensor:
        """The embedding of a text, a unit vector float32 [E]. ValueError as in `check_prompt`."""
        self.check_prompt(prompt)
        tokens = self.tokenizer(prompt, return_tensors="pt").to(self.device)
        return F.normalize(_pick_projection(self.model.get_text_features(**tokens)).float(), dim=-1)[0]

    def embed_images(self, images: Tensor) -> Tensor:
        """Embeddings of pictures [B, 3, S, S] in [-1, 1], unit vectors float32 [B, E]; gradients pass.

        ValueError for other shapes.
        """
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
            raise ValueError(f"pictures must have the shape [B, 3, S, S], not {list(images.shape)}")
        # The image processor of transformers leaves the graph, so its steps are done here.
        size = self.model.config.vision_config.image_size
        pixels = images.float().clamp(-1, 1).add(1).div(2)
        if pixels.shape[-1] != size:
            pixels = F.interpolate(
                pixels, (size, size), mode="bicubic", align_corners=False, antialias=pixels.shape[-1] > size
            )
        mean, std = (pixels.new_tensor(v).view(1, 3, 1, 1) for v in (self.image_mean, self.image_std))
        pixels = ((pixels - mean) / std).to(self.device, self.model.dtype)
        return F.normalize(
            _pick_projection(self.model.get_image_features(pixel_values=pixels)).float(), dim=-1
        )

    def similarity(self, images: Tensor, prompt: str) -> Tensor:
        """Cosine [B], -1 to 1, of pictures [B, 3, S, S] in [-1, 1] and a text; errors are those of both embeddings."""
        return self.embed_images(images) @ self.embed_text(prompt)

    def optimize(
        self,
        render: Callable[[Tensor], Tensor],
        w_start: Tensor,
        prompt: str,
        *,
        source_prompt: str = SOURCE_PROMPT,
        search: Search = "adam",
        steps: int = 200,
        learning_rate: float = 0.1,
        clip_weight: float = 0.05,
        reg_weight: float = 0.08,
        start_noise: float = 0.01,
        patience: int | None = None,
        target_similarity: float | None = None,
        generator: torch.Generator | None = None,
        on_step: Callable[[TextStep], Any] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> TextEdit:
        """w_hat -> w* of Eq. 6.4, or of the same with a gentler regulariser.

        Args:
            render: I_out(w) of Eq. 6.1, [B, n, D] -> [B, 3, S, S] in about [-1, 1]; gradients must pass through it,
                and what it uses must not stem from `torch.inference_mode`. It should use the same noise every time.
            w_start: w_hat [B, n, D].
            prompt: the description, t_tar.
            source_prompt: t_src; what the picture shows without the edit.
            search: "adam": the regulariser is the mean square of w - w_hat, and the steps are Adam's, with a warm-up
                and a cosine end. "thesis": Eq. 6.4 to the letter, with the L2 norm of w - w_hat over all n D numbers,
                and plain gradient descent at one learning rate. Its edits are faint: the cosine of Eq. 6.5 says nothing
                of how far a picture moves, and the norm's pull does not weaken near w_hat, as that of a square does. On
                the edit starter, 100 steps towards two texts under a CLIP of random weights brought that cosine to 0.58
                and 0.81 by Adam, to 0.49 and 0.34 by the letter; but w moved by 4 and 9, and by 0.1, pixels by 7 and
                24, and by 0.3 of 255.
            steps: greatest number of steps; the thesis takes 100 to 300.
            learning_rate: of Adam after the warm-up, or of the descent.
            clip_weight, reg_weight: lambda_clip and lambda_reg. Where edits are too weak, raise clip_weight, up to 1.
            start_noise: standard deviation of the noise that is added to w_hat, where Eq. 6.5 has no gradient.
            patience: stop after this number of steps that lower the loss of no picture; 0 never stops early. None: 60,
                and 0 in the thesis's search.
            target_similarity: stop early when every picture's cosine with the prompt is this high.
            generator: source of that noise; without one it is the same each time.
            on_step: called after each step.
            should_stop: asked before each step; True cancels, and the best codes so far are returned.

        Raises:
            ValueError: codes or options out of range; a prompt that is empty, too long, or means the same to CLIP as
                `source_prompt`; or a `render` that lets no gradient pass.
        """
        if w_start.ndim != 3 or not w_start.isfinite().all():
            raise ValueError(f"w_start must be finite codes [B, n, D], not {list(w_start.shape)}")
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ValueError(
                f"steps is {steps!r}; it must be a whole number, 1 or more (the thesis: 100 to 300)"
            )
        _check_options(search, learning_rate, clip_weight, reg_weight, start_noise, patience)
        patience = PATIENCE[search] if patience is None else patience
        thesis = search == "thesis"
        # A pipeline's call runs without gradients; inside, this needs them.
        with torch.inference_mode(False), torch.enable_grad():
            anchor = w_start.detach().float().clone()
            target = self.embed_text(prompt)
            text = target - self.embed_text(source_prompt)
            if text.square().sum() < EPSILON:
                problem = f"{prompt!r} says to CLIP what {source_prompt!r} says: no direction"
                raise Refusal("prompt", "the prompt {problem}", problem=problem)
            with torch.no_grad():
                before = self.embed_images(render(anchor))
            text, target = text.to(before.device), target.to(before.device)
            generator = generator or torch.Generator().manual_seed(0)
            noise = torch.randn(anchor.shape, generator=generator, device=generator.device)
            codes = (anchor + start_noise * noise.to(anchor)).requires_grad_(True)
            optimizer = (torch.optim.SGD if thesis else torch.optim.Adam)([codes], lr=learning_rate)

            start = before @ target
            best = TextEdit(anchor, start, start, torch.zeros_like(start), 0, "finished")
            lowest = torch.full_like(start, math.inf)
            waited = 0
            for step in range(steps + 1):
                if should_stop is not None and should_stop():
                    best.stopped = "cancelled"
                    break
                seen = self.embed_images(render(codes))
                cosine = direction_cosine(text, seen - before)
                offset = codes - anchor
                strayed = (
                    torch.linalg.vector_norm(offset, dim=(1, 2)) if thesis else offset.square().mean((1, 2))
                )
                loss = clip_weight * (1 - cosine) + reg_weight * strayed
                if not seen.requires_grad:
                    raise ValueError("render lets no gradient pass from the codes to the picture")

                # Each row of the batch is an edit of its own, and keeps its own best.
                now, alike = loss.detach(), (seen @ target).detach()
                waited = 0 if bool((now < lowest - LEAST_GAIN * clip_weight).any()) else waited + 1
                better = now < lowest
                lowest = torch.where(better, now, lowest)
                best.codes = torch.where(better[:, None, None].to(codes.device), codes.detach(), best.codes)
                best.similarity = torch.where(better, alike, best.similarity)
                best.direction = torch.where(better, cosine.detach(), best.direction)
                best.steps = step
                if step and on_step is not None:
                    on_step(TextStep(step, steps, float(now.mean()), float(alike.mean())))
                if step == steps:
                    break
                reached = target_similarity is not None and bool((best.similarity >= target_similarity).all())
                if reached or (patience and waited >= patience):
                    best.stopped = "early"
                    break
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate * (1 if thesis else ramp((step + 0.5) / steps))
                optimizer.zero_grad(set_to_none=True)
                loss.sum().backward()
                optimizer.step()
        best.codes = best.codes.to(w_start.dtype)
        return best


def direction_cosine(text: Tensor, image: Tensor) -> Tensor:
    """cos(dT, dI) of Eq. 6.5: [E] and [B, E] -> [B]; 0, with a finite gradient, where dI is 0."""
    length = (image.square().sum(-1) + EPSILON).sqrt() * (text.square().sum() + EPSILON).sqrt()
    return (image @ text) / length


def ramp(share: float) -> float:
    """Factor (0 to 1) of the learning rate after a share (0 to 1) of the steps: it rises over the first 5%, falls over
    the last 25%."""
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - share) / RAMP_DOWN))
    return down * min(1.0, share / RAMP_UP)


def _pick_projection(output: Any) -> Tensor:
    # transformers 5 returns an output object whose pooled entry is the projected embedding, 4 returned the tensor.
    return output if isinstance(output, Tensor) else output.pooler_output


def _how_to_get(name: str) -> str:
    if Path(name).is_dir():
        return (
            f"{name} is no complete CLIP folder: it needs config.json, model.safetensors and the tokenizer's files "
            f"(as `hf download {DEFAULT_CLIP}` brings them)."
        )
    return (
        f"Editing by text needs the CLIP model {name}, which is not on this computer and could not be downloaded. "
        f"With a network: `hf download {name}` (about 600 MB for {DEFAULT_CLIP}), then try again; without one, "
        "copy such a folder here and pass its path."
    )


def check_text_options(options: Mapping[str, Any]) -> None:
    """Refuse further arguments of `TextGuide.optimize` for an edit that it would not take.

    Raises:
        ValueError: an unknown name (the message lists the known), or a value out of range.
    """
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(TextGuide.optimize).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in DECIDED
    }
    for name in options:
        if name not in defaults:
            raise ValueError(f"text_options has {name!r}; known are {', '.join(sorted(defaults))}.")
    values = defaults | dict(options)
    _check_options(**{name: values[name] for name in inspect.signature(_check_options).parameters})


def _check_options(
    search: str,
    learning_rate: float,
    clip_weight: float,
    reg_weight: float,
    start_noise: float,
    patience: int | None,
) -> None:
    if search not in get_args(Search):
        raise ValueError(f"search must be 'adam' or 'thesis' (Eq. 6.4 to the letter), not {search!r}")
    if not learning_rate > 0 or not clip_weight > 0:
        raise ValueError(f"learning_rate ({learning_rate}) and clip_weight ({clip_weight}) must be above 0")
    if not reg_weight >= 0 or not start_noise > 0 or (patience is not None and patience < 0):
        raise ValueError(
            f"reg_weight ({reg_weight}) and patience ({patience}) must be 0 or more, start_noise ({start_noise}) "
            "above 0: at w_hat itself Eq. 6.5 has no gradient"
        )
