"""Answers of the server reach the page, however slow the way between them is."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facekit_demo.page import EVENT_STREAM
from tests.app.edit_page import EditPage

# What the server sends of its events is held while there is a `gate`, until `openGate()`; what the page sends is not.
# `unanswered` are the events whose answers have not arrived yet.
HELD_ANSWERS = """
const ask = window.fetch.bind(window);
window.unanswered = 0;
window.gate = null;
window.closeGate = () => { gate = new Promise(open => { window.openGate = () => { gate = null; open(); }; }); };
window.fetch = async (address, request) => {
  const answer = await ask(address, request), path = String(address.url || address);
  if (path.includes("/queue/join") && answer.ok) unanswered += 1;
  if (!path.includes("/queue/data")) return answer;
  const end = '"process_completed"', decoder = new TextDecoder();
  let text = "";
  const held = new TransformStream({
    async transform(piece, out) {
      await gate;
      const parts = (text + decoder.decode(piece, {stream: true})).split(end);
      unanswered -= parts.length - 1;
      text = parts.pop().slice(1 - end.length); // a piece may end within the word
      out.enqueue(piece);
    },
    flush: () => gate,
  });
  return new Response(answer.body.pipeThrough(held), answer);
};
"""


# A server of which each stream is written piece by piece, and each event's id is told when the test says so.
SERVER = """
window.streams = []; window.joined = {};
window.fetch = (address, request) => {
  if (String(address).endsWith("/queue/join"))
    return new Promise(reply => { joined[request.body] = (text, status) => reply(new Response(text, {status})); });
  if (window.isGone) return Promise.reject(new TypeError("Failed to fetch"));
  const stream = new TransformStream();
  streams.push(stream.writable.getWriter());
  return Promise.resolve(new Response(stream.readable));
};
"""
# The page: what it reads of the stream, as a list of messages' names.
PAGE = """
window.heard = [];
window.listen = async () => {
  const reply = await fetch("http://server/queue/data");
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ; ) {
    const {value, done} = await reader.read();
    if (done) { heard.push("over"); return; }
    text += value;
    const messages = text.split("\\n\\n");
    text = messages.pop();
    for (const message of messages) heard.push(JSON.parse(message.slice(5)).msg);
  }
};
window.join = id => fetch("http://server/queue/join", {body: id}).then(reply => reply.text());
window.write = (stream, text) => streams[stream].write(new TextEncoder().encode(text));
window.tell = (stream, msg, event_id) => write(stream, `data: ${JSON.stringify({msg, event_id})}\\n\\n`);
window.accept = id => joined[id](JSON.stringify({event_id: id}), 200);
"""


@pytest.fixture
def line(browser: Any) -> Iterator[Any]:
    """A page that has the script between itself and a server of the test's own; `await` works in `evaluate`."""
    page = browser.new_page()
    for script in (SERVER, EVENT_STREAM.read_text(encoding="utf-8"), PAGE):
        page.add_script_tag(content=script)
    yield page
    page.close()


def heard_after(line: Any, script: str) -> list[str]:
    """What the page heard once the script has run."""
    line.evaluate(f"async () => {{ {script} }}")
    line.wait_for_timeout(100)
    return line.evaluate("heard")


def test_a_stream_ends_when_all_is_answered(line: Any) -> None:
    script = "listen(); const id = join('a'); accept('a'); await id; tell(0, 'process_completed', 'a');"
    assert heard_after(line, script + "tell(0, 'close_stream');") == ["process_completed", "close_stream"]
    assert line.evaluate("streams.length") == 1


@pytest.mark.parametrize("known", [True, False], ids=["joined", "joining"])
def test_a_stream_goes_on_for_an_event_that_the_server_ended_it_before(line: Any, known: bool) -> None:
    """The server's end comes when the page knows the other event's id already, or before."""
    joins = "const other = join('b'); accept('b'); await other;" if known else "join('b');"
    first = (
        f"listen(); const id = join('a'); accept('a'); await id; {joins} tell(0, 'process_completed', 'a');"
    )
    assert heard_after(line, first + "tell(0, 'close_stream'); streams[0].close();") == ["process_completed"]
    assert line.evaluate("streams.length") == 2
    then = "" if known else "accept('b');"
    # In pieces, as a network cuts them.
    pieces = 'write(1, \'data: {"msg": "process_comp\'); write(1, \'leted", "event_id": "b"}\\n\\n\');'
    heard = heard_after(line, f"{then} {pieces} tell(1, 'close_stream');")
    assert heard == ["process_completed", "process_completed", "close_stream"]
    assert line.evaluate("streams.length") == 2


def test_an_answer_may_come_before_the_event_is_known(line: Any) -> None:
    script = "listen(); join('a'); tell(0, 'process_completed', 'a');"
    assert heard_after(line, script) == ["process_completed"]
    assert heard_after(line, "accept('a');") == ["process_completed"]
    assert heard_after(line, "tell(0, 'close_stream');") == ["process_completed", "close_stream"]


def test_an_event_that_the_server_refuses_is_not_waited_for(line: Any) -> None:
    script = "listen(); const id = join('a'); joined.a('full', 503); await id; tell(0, 'close_stream');"
    assert heard_after(line, script) == ["close_stream"]


def test_a_stream_that_is_not_given_again_is_told_as_broken(line: Any) -> None:
    script = "listen(); join('a'); isGone = true; tell(0, 'close_stream'); streams[0].close();"
    assert heard_after(line, script) == ["broken_connection", "close_stream", "over"]


class FarPage(EditPage):
    """The page of a visitor to whom answers come late."""

    script = HELD_ANSWERS

    def wait_for_answers(self) -> None:
        """Wait until all is answered and the page asks for nothing more in a second."""
        self.page.evaluate("window.quiet = 0")
        self.page.wait_for_function("() => (quiet = unanswered ? 0 : quiet + 1) > 2", polling=500)


@pytest.mark.slow
def test_a_button_is_answered_that_was_pressed_while_another_answer_was_on_its_way(visit, tmp_path) -> None:
    visitor = visit(FarPage)
    visitor.choose_example_photo()
    visitor.wait_for_answers()  # to the photo: they empty the panel of the object
    cut_out = np.zeros((60, 100, 4), np.uint8)
    cut_out[10:50, 10:90] = (20, 60, 160, 255)
    Image.fromarray(cut_out).save(tmp_path / "a-hat.png")
    # The server looks at the file and ends the stream, of which the page hears a second after it has sent the button's
    # event: by then it has taken the stream for open.
    visitor.page.evaluate("closeGate()")
    visitor.choose_object(tmp_path / "a-hat.png")
    assert visitor.page.evaluate("unanswered") == 1
    visitor.page.evaluate(
        """() => { const watch = setInterval(() => {
             if (unanswered === 2) { clearInterval(watch); setTimeout(openGate, 1000); } }, 50); }"""
    )
    visitor.act("paste")
