"""The models of a family, the prior and one for each method: which stages make them, and what their cards say.

Name and pipeline of a method are those of its entry in `facekit.methods`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from facekit.methods import method_named, methods


@dataclass(frozen=True)
class Kind:
    """One of the family's models.

    Attributes:
        method: the method that it is the model of, by its name in `facekit.methods`; "" for the prior, a network alone.
        finals: stages whose networks it is made of, without those that they went on from; the last one has all of its
            networks.
        tags: of its card, beside "facekit" and "face".
        pipeline_tag: the Hub's name of the task.
        what: what it is; `{size}` is the side of its pictures, `{codes}` says whether a prior has codes of faces.
        use: Python that runs it; `{name}` is its folder.
        shown: what its contact sheet shows; `{faces}` says whose faces stand beside the photo.
        limits: what it cannot do.
        options: of its pipeline, stored with it.
        trained: options that are stored as its last stage's own pipeline has them: they belong to how it was trained.
    """

    method: str
    finals: tuple[str, ...]
    tags: tuple[str, ...]
    pipeline_tag: str
    what: str
    use: str
    shown: str
    limits: str
    options: Mapping[str, Any] = field(default_factory=dict)
    trained: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        """What `facekit.starter` knows it by, and its name begins with: `face-prior` of `face-prior-starter-256`."""
        return method_named(self.method).model if self.method else "face-prior"

    @property
    def pipeline_class(self) -> Any:
        """The class of its method's pipeline; None for the prior."""
        return method_named(self.method).import_pipeline() if self.method else None

    def name(self, size: int) -> str:
        """Of the model and its folder, for pictures of `size` pixels."""
        return f"{self.task}-starter-{size}"

    @property
    def completing(self) -> tuple[str, ...]:
        """The stages with any of which it is complete, the better one first."""
        return ("inpaint-sharp", "inpaint") if self.method == "inpaint" else self.finals[-1:]


PRIOR = Kind(
    method="",
    finals=("autoencoder",),
    tags=("StyleGAN2",),
    pipeline_tag="unconditional-image-generation",
    what=(
        "A small StyleGAN2 generator of faces at {size}x{size}, the prior behind the other models of its "
        "family. **It was not trained as a GAN from random codes** but as an auto-encoder in W+ together with "
        "a style encoder; its mapping network is untrained. One samples it by mixing and interpolating the "
        "codes of training faces, which {codes} beside the weights (`style_codes.safetensors`)."
    ),
    use=(
        "import torch\nfrom facekit import sample_faces\n\n"
        'faces = sample_faces(6, "{name}", truncation_psi=0.8, generator=torch.Generator().manual_seed(0))'
    ),
    shown="Samples, truncation 0.8, seed 1, not selected.",
    limits=(
        "It gives style prompts and features to the other networks. Its samples are mixtures of the faces "
        "that it was trained on and can resemble them."
    ),
)

RESTORE = Kind(
    method="restore",
    finals=("code-diffuser", "restorer"),
    tags=("face-restoration", "VSPBFR"),
    pipeline_tag="image-to-image",
    what=(
        "A small model of blind face restoration with visual style prompts (VSPBFR, Lu et al., Pattern "
        "Recognition 161, 2025) for faces of {size}x{size} pixels."
    ),
    use=(
        'import facekit\n\npipeline = facekit.FaceRestorePipeline.from_pretrained("{name}")\n'
        'pipeline("photo.jpg").images[0].save("restored.png")'
    ),
    shown=(
        "Damaged by the `thesis` preset, restored at `fidelity` 0, 0.5 (the default) and 1, original. The "
        "photo is a public-domain portrait by NASA."
    ),
    limits="Faces that lost nearly everything come back as a plausible face, which need not be the right one.",
    options={"fidelity": 0.5, "self_ensemble": True},
)

INPAINT = Kind(
    method="inpaint",
    finals=("inpaint-sharp",),
    tags=("inpainting", "GRIG"),
    pipeline_tag="image-to-image",
    what=(
        "A small GRIG generator (few-shot generative residual inpainting, Lu et al., Computational Visual "
        "Media 2025) that fills holes in aligned {size}x{size} faces."
    ),
    use=(
        'from facekit import FaceInpaintPipeline\n\npipe = FaceInpaintPipeline.from_pretrained("{name}")\n'
        'filled = pipe("photo.jpg", "mask.png").images[0]'
    ),
    shown="Holes, fills, original. The photo is a public-domain portrait by NASA.",
    limits=(
        "`match_tones` is on: a step in tone along the rim is taken away after the network. Holes of much "
        "more than half of the picture were not part of the training."
    ),
    options={"match_tones": True},
    trained=("num_inference_steps",),
)

EXEMPLAR = Kind(
    method="exemplar",
    finals=("exemplar",),
    tags=("inpainting", "exemplar", "EXE-GAN"),
    pipeline_tag="image-to-image",
    what=(
        "A small model of exemplar-guided inpainting (EXE-GAN, Lu et al., Do inpainting yourself, "
        "Neurocomputing 617, 2025) for faces of {size}x{size} pixels: a painted-over part of a face is filled "
        "in the manner of another face, and follows strokes that are drawn into it."
    ),
    use=(
        'import facekit\n\npipeline = facekit.ExemplarInpaintPipeline.from_pretrained("{name}")\n'
        'result = pipeline("photo.jpg", "mask.png", "exemplar.jpg")\nresult.images[0].save("filled.png")'
    ),
    shown=(
        "Parts of the face painted over and filled after {faces}. The photo is a public-domain portrait by "
        "NASA."
    ),
    limits=(
        "`match_tones` is on: a step in tone along the rim is taken away after the network. What glasses or a "
        "face mask hide is not recovered but made up, also from a photo of the same person."
    ),
    options={"match_tones": True},
)

EDIT = Kind(
    method="edit",
    finals=("encoder-multimodal", "latent-warper", "directions", "edit"),
    tags=("face-editing", "sketch", "FACEMUG"),
    pipeline_tag="image-to-image",
    what=(
        "A small model of multimodal local face editing (FACEMUG, Lu et al., IEEE TVCG 2024) for faces of "
        "{size}x{size} pixels: what a mask uncovers is painted anew after strokes, a semantic map, colours, "
        "another face, sliders or a pose, in any mix; all else stays."
    ),
    use=(
        'import facekit\n\npipeline = facekit.FaceEditPipeline.from_pretrained("{name}")\n'
        'session = pipeline.edit_session("photo.jpg")\n'
        'session.edit("mask.png", sketch="lines.png", exemplar="self")\nsession.undo().save("edited.png")'
    ),
    shown=(
        "The face painted over, then painted after the face on the left: nothing given, its strokes, its map, "
        "its colours, its codes, all together. The photo is a public-domain portrait by NASA; the faces on "
        "the left are {faces}."
    ),
    limits=(
        "`match_tones` is on: a step in tone along the mask is taken away after the network, except where colours "
        "are painted. Where its sliders are called component_1 and so on, they are principal components of the "
        "prior's codes: what each moves must be looked at."
    ),
    options={"match_tones": True},
)

KINDS = (PRIOR, RESTORE, INPAINT, EXEMPLAR, EDIT)


# Methods of facekit's own that learn from whole photos, not from the family's faces: `train.damage`.
APART = {"mend"}


def find_untrained() -> list[str]:
    """Names of the methods that facekit knows and no stage trains: those from outside, and own ones without a kind."""
    trained = {kind.method for kind in KINDS} | APART
    return [method.name for method in methods() if method.name not in trained]
