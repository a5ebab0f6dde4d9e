"""Answers of the server reach the page, however slow the way between them is."""

import numpy as np
import pytest
from PIL import Image

from tests.app.edit_page import EditPage

# What the server sends of its events arrives later; what the page sends does not.
SLOW_ANSWERS = """
const ask = window.fetch.bind(window);
window.fetch = async (address, request) => {
  const answer = await ask(address, request);
  if (!String(address.url || address).includes("/queue/data")) return answer;
  const later = new TransformStream({
    async transform(piece, out) { await new Promise(go => setTimeout(go, 1500)); out.enqueue(piece); },
  });
  return new Response(answer.body.pipeThrough(later), answer);
};
"""


class FarPage(EditPage):
    """The page of a visitor with a slow line."""

    script = SLOW_ANSWERS


@pytest.mark.slow
def test_a_button_is_answered_that_was_pressed_while_another_answer_was_on_its_way(visit, tmp_path) -> None:
    visitor = visit(FarPage)
    visitor.choose_example_photo()
    visitor.page.wait_for_timeout(6000)  # all answers to the photo are there
    cut_out = np.zeros((60, 100, 4), np.uint8)
    cut_out[10:50, 10:90] = (20, 60, 160, 255)
    Image.fromarray(cut_out).save(tmp_path / "a-hat.png")
    # The server has looked at the file and ended the stream long before the page hears of it.
    visitor.choose_object(tmp_path / "a-hat.png")
    visitor.act("paste")
