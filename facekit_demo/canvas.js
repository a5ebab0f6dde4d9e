// The canvases of the page (Gradio's ImageEditor, drawn by Pixi): wheel and fingers, the size of the brush, keys.
//
// Gradio 6 has no way to ask for any of this from outside, but its front end puts each editor that it makes into
// `window.editor`. Every one is caught there, and found again by the element in which it draws.
(() => {
  "use strict";

  const editors = new WeakMap(); // the element around a canvas -> its editor
  const LARGEST_ZOOM = 10; // as in Gradio
  // Diameters of the brush as shares of the photo's shorter side; the slider goes from one to the other in equal ratios.
  const THIN = 0.003, THICK = 0.4, PLACES = 100;
  const KEY_STEP = 4; // places of the slider

  let latest;
  Object.defineProperty(window, "editor", {
    configurable: true,
    get: () => latest,
    set(editor) {
      latest = editor;
      window.facekitCanvas.watch(editor);
      editor.ready.then(() => takeOver(editor));
    },
  });

  function takeOver(editor) {
    const brush = editor.tools.get("brush"), zoom = editor.tools.get("zoom");
    if (!brush || !zoom) return; // the editor beside it, which crops
    const {layer_manager: layers, command_manager: history} = editor;
    editors.set(editor.target_element, {
      editor, brush, zoom,
      setSize: size => ["set_brush_size", "set_eraser_size"].forEach(name => brush.constructor.prototype[name].call(brush, size)),
    });
    // The slider above the canvas has the size, so what Gradio remembers of it must not come back.
    brush.set_brush_size = brush.set_eraser_size = () => {};
    // Gradio measures the photo together with the texture of its last stroke. That is as large as the photo before, and
    // a ready mask would land in the middle of the larger one.
    const reset = layers.reset_layers;
    layers.reset_layers = (...sizes) => {
      brush.brush_textures?.cleanup_textures();
      return reset.apply(layers, sizes);
    };
    // Strokes are taken back one by one, the photo below them is not.
    const undo = history.undo;
    history.undo = () => history.history.command?.name === "AddImage" || undo.call(history);
    editor.dimensions.subscribe(() => sizeBrush(editor.target_element.closest(".brush")));
  }

  const canvasAt = target => (target?.tagName === "CANVAS" ? editors.get(target.parentElement) : undefined);
  const canvasIn = block => editors.get(block?.querySelector(".pixi-target"));

  // --- What is seen: zoom and place ---

  const wholeScale = ({editor, zoom}) => Math.min(zoom.calculate_min_zoom(editor.width, editor.height), LARGEST_ZOOM);
  const isWhole = canvas => canvas.editor.scale_value <= wholeScale(canvas) * 1.001;

  // Zoom by a factor so that what was seen at one point of the window is seen at another.
  function look(canvas, factor, from, to) {
    const {editor, zoom} = canvas, {scale_value: before, position_value: place} = editor;
    const scale = Math.min(before * factor, LARGEST_ZOOM);
    if (scale <= wholeScale(canvas) * 1.001) return zoom.set_zoom("fit");
    const box = editor.app.canvas.getBoundingClientRect(), {width, height} = editor.app.screen;
    const along = (edge, start, end, at, room, length) => {
      const moved = end - edge - ((start - edge - at) * scale) / before;
      // The middle of the canvas stays on the photo.
      return Math.min(Math.max(moved, room / 2 - length * scale), room / 2);
    };
    editor.set_image_properties({
      scale,
      position: {
        x: along(box.left, from.x, to.x, place.x, width, editor.width),
        y: along(box.top, from.y, to.y, place.y, height, editor.height),
      },
      animate: false,
    });
    zoom.min_zoom.set(false);
  }

  // The wheel scrolls the page, as everywhere else. With Ctrl or Cmd it zooms; a pinch on a trackpad arrives as that.
  window.addEventListener("wheel", event => {
    const canvas = canvasAt(event.target);
    if (!canvas) return;
    event.stopImmediatePropagation();
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1);
    const at = {x: event.clientX, y: event.clientY};
    // A notch of a wheel is about 100 pixels, a step of a trackpad a few.
    look(canvas, Math.exp(-Math.sign(pixels) * Math.min(Math.abs(pixels) * 0.01, 0.22)), at, at);
  }, {capture: true, passive: false});

  // --- Fingers: one paints, two zoom and move; with the tool for moving one moves too ---

  const fingers = new Map(); // pointer id -> {canvas, x, y}
  const moving = new Set(); // canvases whose fingers do not paint until all are lifted

  const fingersOn = canvas => [...fingers.values()].filter(finger => finger.canvas === canvas);
  const middleOf = points => ({
    x: points.reduce((sum, point) => sum + point.x, 0) / points.length,
    y: points.reduce((sum, point) => sum + point.y, 0) / points.length,
  });
  const spread = points => (points.length < 2 ? 0 : Math.hypot(points[0].x - points[1].x, points[0].y - points[1].y));

  // Take the stroke back that the first finger began; it is on no layer yet.
  function forgetStroke({editor, brush}) {
    if (!brush.is_drawing) return;
    brush.is_drawing = false;
    Object.assign(brush.brush_textures, {is_new_stroke: true, current_stroke_segments: []});
    brush.brush_textures.preview_sprite.visible = false;
    editor.wake_render_loop();
  }

  window.addEventListener("pointerdown", event => {
    const canvas = event.pointerType === "touch" ? canvasAt(event.target) : undefined;
    if (!canvas) return;
    fingers.set(event.pointerId, {canvas, x: event.clientX, y: event.clientY});
    if (fingersOn(canvas).length > 1 || canvas.editor.current_tool === "pan") moving.add(canvas);
    if (!moving.has(canvas)) return;
    event.stopImmediatePropagation();
    forgetStroke(canvas);
  }, true);

  window.addEventListener("pointermove", event => {
    const finger = fingers.get(event.pointerId);
    if (!finger || !moving.has(finger.canvas)) return;
    event.stopImmediatePropagation();
    const {canvas} = finger, all = fingersOn(canvas);
    const from = middleOf(all), before = spread(all);
    Object.assign(finger, {x: event.clientX, y: event.clientY});
    const to = middleOf(all), factor = before > 0 ? spread(all) / before : 1;
    if (all.length < 2 && canvas.editor.current_tool !== "pan") return; // the one that was lifted last
    // A photo that is seen whole cannot be moved: the page is, or a canvas as wide as a phone could not be passed.
    if (isWhole(canvas) && factor <= 1) window.scrollBy(0, from.y - to.y);
    else look(canvas, factor, from, to);
  }, true);

  for (const end of ["pointerup", "pointercancel"])
    window.addEventListener(end, event => {
      const canvas = fingers.get(event.pointerId)?.canvas;
      fingers.delete(event.pointerId);
      if (canvas && !fingersOn(canvas).length) moving.delete(canvas);
    }, true);

  // --- The size of the brush ---

  const moved = new Map(); // id of a canvas -> where the visitor left its slider

  const sliderOf = block => block && document.querySelector(`.brush-size input[data-canvas="${block.id}"]`);
  const placeOf = share => Math.round((PLACES * Math.log(share / THIN)) / Math.log(THICK / THIN));
  const shareAt = place => THIN * (THICK / THIN) ** (place / PLACES);

  // A slider stands at what suits the photo, unless the visitor has moved it.
  function setUp(slider) {
    const {canvas, share} = slider.dataset;
    if (slider.dataset.standsFor === share) return;
    slider.dataset.standsFor = share;
    slider.max = PLACES;
    slider.value = moved.get(canvas) ?? placeOf(Number(share));
    sizeBrush(document.getElementById(canvas));
  }

  // Give the brush and the eraser the size that the slider says; the diameter in pixels of the screen comes back.
  function sizeBrush(block) {
    const slider = sliderOf(block), canvas = canvasIn(block);
    if (!slider?.dataset.standsFor) return 0;
    const share = shareAt(Number(slider.value)), percent = `${(100 * share).toPrecision(2)} %`;
    slider.setAttribute("aria-valuetext", `${percent} of the photo`);
    slider.parentElement.querySelector("output").textContent = percent;
    if (!canvas) return 0;
    const diameter = share * Math.min(canvas.editor.width, canvas.editor.height);
    canvas.setSize(diameter / 2);
    canvas.editor.wake_render_loop();
    return diameter * canvas.editor.scale_value;
  }

  // A ring in the middle of the canvas shows for a moment how large the brush is.
  let ring;
  function showSize(block, diameter) {
    ring?.remove();
    const box = canvasIn(block)?.editor.app.canvas.getBoundingClientRect();
    if (!box || !diameter) return;
    const made = (ring = document.createElement("div"));
    made.className = "brush-ring";
    Object.assign(made.style, {
      width: `${diameter}px`,
      left: `${box.left + box.width / 2}px`,
      top: `${box.top + box.height / 2}px`,
    });
    document.body.append(made);
    setTimeout(() => made.remove(), 800);
  }

  function resize(slider) {
    const block = document.getElementById(slider.dataset.canvas);
    moved.set(block.id, slider.value);
    showSize(block, sizeBrush(block));
  }

  document.addEventListener("input", event => {
    if (event.target.matches(".brush-size input")) resize(event.target);
  });

  new MutationObserver(() => {
    document.querySelectorAll(".brush-size input").forEach(setUp);
  }).observe(document, {subtree: true, childList: true, attributes: true, attributeFilter: ["data-share"]});

  // --- Keys, for the canvas under the pointer or the one that has the focus ---

  function blockInUse() {
    const focused = document.activeElement;
    const slider = focused?.closest(".brush-size")?.querySelector("input");
    return (
      document.querySelector(".brush:has(canvas):hover") ??
      (slider ? document.getElementById(slider.dataset.canvas) : focused?.closest(".brush:has(canvas)"))
    );
  }

  const takesText = element =>
    element.isContentEditable || element.matches("textarea, select, input:not([type=range], [type=checkbox], [type=radio])");

  window.addEventListener("keydown", event => {
    if (takesText(event.target)) return;
    const bracket = {"[": -1, "]": 1}[event.key];
    const letter = event.ctrlKey || event.metaKey ? event.key.toLowerCase() : "";
    if (!bracket && letter !== "z" && letter !== "y") return;
    const block = blockInUse(), canvas = canvasIn(block);
    if (!canvas) return;
    event.preventDefault();
    if (bracket) {
      const slider = sliderOf(block);
      slider.value = Number(slider.value) + bracket * KEY_STEP;
      resize(slider);
    } else if (letter === "y" || event.shiftKey) canvas.editor.redo();
    else canvas.editor.undo();
  });
})();
