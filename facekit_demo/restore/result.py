"""Candidates of the Restore tab: from the pipeline's output to pictures and words on the page."""

from gradio.components.base import Component

from facekit.images.photo import Photo
from facekit.notes import Kind
from facekit.pipelines.restore import FaceRestoreOutput
from facekit.provenance import Provenance
from facekit_demo.common.candidates import Candidate, Captioned, around_faces
from facekit_demo.common.running import STEP_SIDE, preview, save_for_download


def candidates_of(
    output: FaceRestoreOutput,
    photo: Photo,
    stem: str,
    component: Component,
    numbers: list[int],
    provenance: Provenance | None = None,
) -> list[Candidate]:
    """All candidates of one photo; their files go into the cache of `component`.

    `numbers`: what the page calls the restored faces; empty for a picture that is one face.
    """
    before = preview(photo)
    faces = (output.faces or [[]])[0]
    candidates = []
    for index, image in enumerate(output.images):
        suffix = f"-{index + 1}" if len(output.images) > 1 else ""
        after = preview(image)
        candidates.append(
            Candidate(
                save_for_download(image, f"{stem}-restored{suffix}.png", component, provenance),
                before,
                after,
                around_faces(after, faces, after.width / photo.size[0]),
                _steps(output, index, numbers) if output.style_prompts else [],
            )
        )
    return candidates


def _steps(output: FaceRestoreOutput, index: int, numbers: list[int]) -> Captioned:
    """Thesis Fig. 3.7 for every face: aligned and damaged, the style prompt after each step, restored."""
    pictures: Captioned = []
    faces = zip(
        output.aligned_inputs[index], output.style_prompts[index], output.aligned_outputs[index], strict=True
    )
    for place, (damaged, prompts, restored) in enumerate(faces):
        title = f"{numbers[place]}: " if len(numbers) > 1 else ""
        alike = f", likeness {output.similarities[index][place]:.2f}" if output.similarities else ""
        row = [(damaged, f"{title}before")]
        row += [(prompt, f"{title}step {step}") for step, prompt in enumerate(prompts, 1)]
        row.append((restored, f"{title}after{alike}"))
        pictures += [(preview(picture, STEP_SIDE), _capital(text)) for picture, text in row]
    return pictures


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


# Notes and refusals that the page words in its own way.
WORDS: dict[Kind, str] = {"no-face": "No face was found: the photo is unchanged."}
