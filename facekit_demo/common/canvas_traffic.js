// What was painted on the canvases of the page, read from them alone; and nothing else of a canvas is sent.
(() => {
  const canvases = new Set();
  let reading = false;

  // Gradio takes an editor's value not only for events, but whenever it tells the editor anything, such as that work
  // goes on: photo, layers, and both together as PNGs, which it uploads. Nobody asks for them, so they are of one pixel,
  const withoutCopies = app => {
    const extract = app.renderer.extract, pixels = extract.pixels.bind(extract);
    extract.pixels = asked =>
      reading || !asked.frame ? pixels(asked) : {pixels: new Uint8ClampedArray(4), width: 1, height: 1};
  };
  // and stay here. Files that people choose have an upload_id, by which their progress is shown.
  const send = window.fetch.bind(window);
  window.fetch = (address, request) => {
    const form = request && request.body, path = String(address.url || address);
    if (/\/upload$/.test(path) && form instanceof FormData) {
      const names = form.getAll("files").map(file => file.name);
      if (names.length && names.every(name => /^(background|composite|layer_\d+)\.png$/.test(name)))
        return Promise.resolve(Response.json(names));
    }
    return send(address, request);
  };

  // PixiJS, with which the editor draws, tells this function of every application that it starts.
  const told = window.__PIXI_APP_INIT__;
  window.__PIXI_APP_INIT__ = (app, version) => {
    canvases.add(app);
    withoutCopies(app);
    if (told) told(app, version);
  };

  // The application that draws in the editor with this id; null where there is none (yet).
  const canvasOf = id => {
    const editor = document.getElementById(id);
    for (const app of canvases) {
      if (!app.renderer) canvases.delete(app);  // it was destroyed
      // Beside it lies the canvas of the editor that crops.
      else if (editor && app.canvas.parentElement === editor.querySelector(".pixi-target")) return app;
    }
    return null;
  };

  // Of the premultiplied RGBA pixels that a canvas gives, the colours as they were painted.
  const divideByAlpha = pixels => {
    for (let at = 0; at < pixels.length; at += 4) {
      const alpha = pixels[at + 3];
      if (alpha && alpha < 255) for (let band = 0; band < 3; band++) pixels[at + band] *= 255 / alpha;
    }
  };

  // All strokes on the canvas of the editor with this id, as a PNG in a data address; an empty one where there are none.
  const strokesOn = id => {
    const app = canvasOf(id), isPhoto = layer => layer.zIndex === -1;
    const painting = app && app.stage.children.find(part => part.children.some(isPhoto));
    if (!painting) return {strokes: ""};
    const photos = painting.children.filter(isPhoto);
    const frame = photos[0].getLocalBounds().rectangle.clone();
    photos.forEach(photo => { photo.visible = false; });
    reading = true;
    let taken;
    try {
      taken = app.renderer.extract.pixels({target: painting, resolution: 1, frame});
    } finally {
      reading = false;
      photos.forEach(photo => { photo.visible = true; });
    }
    if (!new Uint32Array(taken.pixels.slice().buffer).some(pixel => pixel)) return {strokes: ""};
    divideByAlpha(taken.pixels);
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [taken.width, taken.height];
    copy.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(taken.pixels), taken.width), 0, 0);
    return {strokes: copy.toDataURL()};
  };

  // Whether the photo lies on the canvas, so that strokes stay.
  const isReady = id => {
    const app = canvasOf(id);
    return !!app && app.stage.children.some(
      part => part.children.some(layer => layer.zIndex === -1 && layer.children.length > 1));
  };

  // What was painted can be read only while the canvas shows what it should. A photo takes a while to come from the
  // server and another to be drawn, and a ready mask comes after it: who presses the button before would send nothing, or
  // what was painted on the photo before.
  const LONGEST = 20000, PAUSE = 50; // milliseconds
  const awaited = new Map(); // id of a canvas to which the server is about to send a photo -> number of the request
  const drawn = new Map(); // id of a canvas -> how many photos and masks are being drawn on it
  let requests = 0;

  const awaitPhoto = id => awaited.set(id, ++requests);
  // The server has answered. If it sent no photo, none is awaited for long; after an error none at all.
  const stopAwaiting = (id, failed) => {
    const asked = awaited.get(id);
    setTimeout(() => { if (awaited.get(id) === asked) awaited.delete(id); }, failed ? 0 : 3000);
  };

  // Count what an editor draws.
  const watch = editor => {
    for (const name of ["add_image_from_url", "add_layers_from_url"]) {
      const draw = editor[name].bind(editor);
      editor[name] = async (...sources) => {
        const id = editor.target_element.closest(".brush")?.id;
        const count = change => drawn.set(id, (drawn.get(id) || 0) + change);
        awaited.delete(id);
        count(1);
        try {
          return await draw(...sources);
        } finally {
          count(-1);
        }
      };
    }
  };

  // Wait until what is on its way to these canvases is there.
  const settle = async ids => {
    const last = performance.now() + LONGEST;
    // Twice, as a mask begins to be drawn a moment after its photo.
    for (let quiet = 0; quiet < 2 && performance.now() < last; ) {
      quiet = ids.some(id => drawn.get(id) || awaited.has(id)) ? 0 : quiet + 1;
      await new Promise(resume => setTimeout(resume, PAUSE));
    }
    ids.forEach(id => awaited.delete(id));
  };

  // As `strokesOn`, once the canvas shows what it should.
  const readStrokes = async id => {
    await settle([id]);
    return strokesOn(id);
  };

  window.facekitCanvas = {canvasOf, strokesOn, readStrokes, settle, isReady, watch, awaitPhoto, stopAwaiting};
})();
