"""What the Restore tab shows of its results, and its words for what the library says."""

from facekit.notes import Kind
from facekit.pipelines.restore import FaceRestoreOutput
from facekit_demo.common.candidates import Captioned
from facekit_demo.common.running import STEP_SIDE, preview


def step_pictures(output: FaceRestoreOutput, index: int, numbers: list[int]) -> Captioned:
    """Thesis Fig. 3.7 for every face of a candidate: aligned and damaged, the style prompt after each step, restored.

    Where the original is known, its own style prompt stands before the restored face, and itself behind it.

    `numbers`: what the page calls the restored faces; empty for a picture that is one face.
    """
    pictures: Captioned = []
    if not output.style_prompts:
        return pictures
    faces = zip(
        output.aligned_inputs[index], output.style_prompts[index], output.aligned_outputs[index], strict=True
    )
    for place, (damaged, prompts, restored) in enumerate(faces):
        title = f"Face {numbers[place]}, " if len(numbers) > 1 else ""
        alike = f", likeness {output.similarities[index][place]:.2f}" if output.similarities else ""
        row = [(damaged, f"{title}before")]
        row += [(prompt, f"{title}step {step}") for step, prompt in enumerate(prompts, 1)]
        if output.truth_prompts is not None:
            row.append((output.truth_prompts[index][place], f"{title}the original's own style"))
        row.append((restored, f"{title}after{alike}"))
        if output.aligned_truths is not None:
            row.append((output.aligned_truths[index][place], f"{title}original"))
        pictures += [(preview(picture, STEP_SIDE), _capital(text)) for picture, text in row]
    return pictures


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


# Notes and refusals that the page words in its own way.
WORDS: dict[Kind, str] = {"no-face": "No face was found: the photo is unchanged."}
