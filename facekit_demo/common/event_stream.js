// Gradio's page hears of its events on one stream, which the server ends with the last answer. An event that is sent while
// that end is on its way is never answered: the page takes the stream for open, and a moment later lets it go. Who presses a
// button while another answer comes over a slow line would wait for ever. So an end that comes while events are without an
// answer does not reach the page: the stream is asked for again, and what comes on it goes on in the one that the page reads.
(() => {
  "use strict";

  const send = window.fetch.bind(window);
  const encoder = new TextEncoder();
  const unanswered = new Set(); // ids of events
  const early = new Set(); // of answers that came before the page knew their events' ids
  let onTheirWay = 0; // events whose ids are not known yet
  const pageWaits = () => onTheirWay > early.size || unanswered.size > 0;

  // Send an event, and remember it until its answer.
  async function join(address, request) {
    let id;
    onTheirWay += 1;
    try {
      const reply = await send(address, request);
      if (reply.ok) ({event_id: id} = await reply.clone().json().catch(() => ({})));
      return reply;
    } finally {
      onTheirWay -= 1;
      if (id && !early.delete(id)) unanswered.add(id);
      if (!onTheirWay) early.clear();
    }
  }

  // Take note of a message of the stream; whether it is the end.
  function isEnd(message) {
    const data = /^data:(.*)/s.exec(message);
    if (!data) return false;
    const {msg, event_id: id} = JSON.parse(data[1]);
    if (msg === "process_completed" && !unanswered.delete(id) && onTheirWay) early.add(id);
    return msg === "close_stream";
  }

  // Hand the messages of a reply on; whether it ended too early for the page.
  async function passOn(reply, out) {
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ; ) {
      const {value, done} = await reader.read();
      if (done) return false;
      const messages = (rest + value).split("\n\n");
      rest = messages.pop();
      for (const message of messages) {
        if (isEnd(message) && pageWaits()) return true;
        out.enqueue(encoder.encode(`${message}\n\n`));
      }
    }
  }

  // The stream of messages, which goes on for as long as the page waits for answers.
  async function listen(address, request) {
    const ask = () => send(address instanceof Request ? address.clone() : address, request);
    const first = await ask();
    if (!first.ok || !first.body) return first;
    const body = new ReadableStream({
      async start(out) {
        try {
          for (let reply = first; await passOn(reply, out); ) {
            reply = await ask();
            if (!reply.ok) throw new Error(`the stream of events was not given again: ${reply.status}`);
          }
          out.close();
        } catch (error) {
          unanswered.clear();
          if (address.signal?.aborted || request?.signal?.aborted) return out.error(error); // the page let it go itself
          // Events on their way hear that it broke, and the page that it is over, so that the next event asks anew.
          for (const msg of ["broken_connection", "close_stream"])
            out.enqueue(encoder.encode(`data: ${JSON.stringify({msg, message: String(error)})}\n\n`));
          out.close();
        }
      },
    });
    return new Response(body, {status: first.status, headers: first.headers});
  }

  window.fetch = (address, request) => {
    const path = new URL(address.url || address, location.href).pathname;
    if (path.endsWith("/queue/join")) return join(address, request);
    if (path.endsWith("/queue/data")) return listen(address, request);
    return send(address, request);
  };
})();
