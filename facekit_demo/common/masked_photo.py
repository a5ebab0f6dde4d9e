"""A photo with a mask, the left side of tabs: chosen, tried, painted on, or its mask read from a file."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from gradio.components.base import Component
from PIL import Image

from facekit.faces import detect_faces
from facekit.images.photo import Photo, as_uint8
from facekit_demo.common.brush_size import fit_to_faces
from facekit_demo.common.canvas_traffic import with_photo
from facekit_demo.common.carrying import carry_photo, carry_result
from facekit_demo.common.gallery import Example
from facekit_demo.common.latest import Latest
from facekit_demo.common.painting import EMPTY_EDITOR, editor_with, open_mask, painted, slider_of
from facekit_demo.common.running import ON_DEVICE, friendly, open_photo, preview
from facekit_demo.common.saved_format import Saved
from facekit_demo.common.widgets import QUIET

# From a photo's path and a mask for it to updates of all that shows them.
Begin = Callable[..., list[Any]]


@dataclass(frozen=True, eq=False)
class MaskedPhoto:
    """The parts with which a visitor chooses a photo and says where its mask is. The tab lays them out.

    Attributes:
        chooser: takes the photo; its value is the path.
        panel: all that is there only while there is a photo.
        found: says `no_face` where the photo has none.
        no_face: what that means on the tab.
        editor: the canvas on which the mask is painted.
        mask_file: takes a mask that was made elsewhere.
        examples, samples: photos to try with their masks, and the row that shows them.
        drawings: what else begins anew with each photo, and how: the arguments of its `gr.update`.
        latest: state with a `Latest`, always the same one of a visitor.
    """

    chooser: gr.File
    panel: gr.Column
    found: gr.Markdown
    no_face: str
    editor: gr.ImageEditor
    mask_file: gr.File
    examples: Sequence[Example]
    samples: gr.Dataset
    drawings: dict[Any, dict[str, Any]] = field(default_factory=dict)
    latest: gr.State = field(default_factory=lambda: gr.State(Latest()))

    @property
    def components(self) -> list[Any]:
        """What `opened` and `closed` update."""
        return [self.editor, self.panel, self.found, self.mask_file, *self.drawings]

    def opened(self, shown: Image.Image, mask: Image.Image | None = None) -> list[Any]:
        """Updates for a photo, given its copy for the screen: it is on the canvas, with the mask if there is one."""
        return [editor_with(shown, mask), gr.update(visible=True), "", None, *self.emptied()]

    def closed(self) -> list[Any]:
        """Updates where there is no photo."""
        return [EMPTY_EDITOR, gr.update(visible=False), "", None, *self.emptied()]

    def emptied(self) -> list[Any]:
        """Updates of `drawings`."""
        # Made anew each time: Gradio takes the value out of an update that it has sent.
        return [gr.update(**update) for update in self.drawings.values()]

    def wire_photo(
        self,
        begin: Begin,
        end: Callable[[], list[Any]],
        shown: Sequence[Any],
        given: Sequence[Component] = (),
        offered: Sequence[Component] = (),
        offer: Callable[..., list[Any]] | None = None,
        kept: Component | None = None,
        is_work: Callable[[Any], bool] = lambda value: value is not None,
        needed: bool = False,
        going_on: tuple[Callable[..., Any], Component] | None = None,
        **options: Any,
    ) -> None:
        """Let a photo be chosen, tried and taken away, come from another tab or be a result. Its faces size the brush;
        where there are none, that is said.

        Args:
            begin: path of a photo, a mask or None -> updates of `shown`.
            end: updates of `shown` where there is no photo.
            shown: all that shows the photo or what was made of it, `components` among them.
            given: inputs of `offer`.
            offered: what a photo changes, but its absence does not.
            offer: whether the photo is an example, its path, values of `given` -> updates of `offered`. It may run
                networks: the canvas is there before.
            kept, is_work: see `carry_photo`; without them the result of `going_on` is kept.
            needed: a photo for which `offer` fails is taken away again.
            going_on: event that puts the result in the photo's place, and the component with the result, a `Saved`.
            options: of the events that open a photo.
        """

        photo = self.chooser
        everything = [photo, *shown]

        def show(latest: Latest, path: str | None, mask: Image.Image | None = None) -> list[Any]:
            latest.choose(path)
            updates = latest.unless_late(lambda: begin(path, mask))
            return [gr.skip()] * len(everything) if updates is None else [path, *updates]

        @friendly
        def show_photo(path: str | None, latest: Latest) -> list[Any]:
            return show(latest, path)[1:]

        @friendly
        def show_example(index: int, latest: Latest) -> list[Any]:
            example = self.examples[index]
            mask = None if example.mask is None else Image.open(example.mask)
            return show(latest, str(example.photo), mask)

        @friendly
        def show_carried(path: str | None, latest: Latest) -> list[Any]:
            return show(latest, path)

        def show_result(saved: Saved | None, latest: Latest) -> list[Any]:
            # It is gone after a second press, or a long time.
            return [gr.skip()] * len(everything) if saved is None else show_carried(saved.path, latest)

        def close(latest: Latest) -> list[Any]:
            latest.choose(None)
            return end()

        def take_away(latest: Latest) -> list[Any]:
            refused = latest.refused == latest.number
            return [None, *end()] if refused else [gr.skip()] * len(everything)

        # "multiple": Gradio would otherwise drop a photo that comes while another is opened.
        options = {"trigger_mode": "multiple"} | options
        opening = with_photo(
            photo.upload, self.editor, show_photo, [photo, self.latest], list(shown), **QUIET, **options
        )
        opening.failure(take_away, self.latest, everything, **QUIET)
        photo.clear(close, self.latest, list(shown), **QUIET)
        trying = with_photo(
            self.samples.click,
            self.editor,
            show_example,
            [self.samples, self.latest],
            everything,
            **QUIET,
            **options,
        )
        openings = [(opening, False), (trying, True)]
        further = []
        if kept is None and going_on is not None:
            kept = going_on[1]
        canvases = [self.editor, *(part for part in self.drawings if isinstance(part, gr.ImageEditor))]
        arrived = carry_photo(photo, kept, is_work, canvases)
        if arrived is not None:
            further.append((arrived.change, show_carried, arrived, "multiple"))
        if going_on is not None:
            event, result = going_on
            further.append((carry_result(event, result, photo), show_result, result, "once"))
        for event, show_further, source, mode in further:
            how = QUIET | options | {"trigger_mode": mode}
            inputs = [source, self.latest]
            coming = with_photo(event, self.editor, show_further, inputs, everything, **how)
            openings.append((coming, False))

        @friendly
        def look(latest: Latest, path: str | None) -> list[Any]:
            updates = latest.only_at(path, lambda: self._look_for_faces(path))
            return [gr.skip()] * 2 if updates is None else updates

        for opened, _ in openings:
            seen = [slider_of(self.editor), self.found]
            hidden = QUIET | {"show_progress": "hidden"}
            opened.success(look, [self.latest, photo], seen, trigger_mode="multiple", **hidden, **ON_DEVICE)
        if offer is None:
            return

        def offer_to_latest(is_example: bool, latest: Latest, path: str | None, *values: Any) -> list[Any]:
            updates = latest.only_at(path, functools.partial(offer, is_example, path, *values))
            return [gr.skip()] * len(offered) if updates is None else updates

        for opened, is_example in openings:
            offering = opened.success(
                functools.partial(offer_to_latest, is_example),
                [self.latest, photo, *given],
                list(offered),
                trigger_mode="multiple",
                **QUIET,
                **ON_DEVICE,
            )
            if needed:
                offering.failure(take_away, self.latest, everything, **QUIET)

    def _look_for_faces(self, path: str | None) -> list[Any]:
        """Updates of the brush's slider and of `found`."""
        photo = open_photo(path)
        slider, seen = fit_to_faces(self.editor.elem_id, photo)
        return [slider, "" if seen or detect_faces(as_uint8(photo.rgb)) else self.no_face]

    def wire_mask_file(
        self, source: Component | None = None, photo_of: Callable[[Any], Photo | None] = open_photo
    ) -> None:
        """Let a mask file take the place of what was painted.

        Args:
            source: component from whose value `photo_of` has the photo; default: its path.
            photo_of: None where there is no photo, and nothing happens then.
        """

        @friendly
        def show_mask(path: str | None, value: Any) -> Any:
            photo = photo_of(value) if path else None
            if photo is None:
                return gr.skip()
            return painted(preview(photo), open_mask(path, photo.size))

        inputs = [self.mask_file, self.chooser if source is None else source]
        reading = with_photo(self.mask_file.upload, self.editor, show_mask, inputs, self.editor, **QUIET)
        reading.failure(lambda: None, None, self.mask_file, **QUIET)
