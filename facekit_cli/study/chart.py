"""Shares of votes as bars, such as those of first ranks in Fig. 4.10."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from facekit_cli.results import save_picture
from facekit_cli.study.questions import Kind
from facekit_cli.study.summary import Share

TITLES: Mapping[Kind, str] = {"2afc": "preferred", "ranking": "ranked first", "best": "chosen as best"}
MARGIN, LINE, BAR = 24, 44, 22
LENGTH = 480  # of a bar of 100%
INK, GRAY, BLUE = (30, 30, 30), (225, 225, 225), (70, 120, 190)


def draw_shares(shares: Mapping[Kind, Sequence[Share]]) -> Image.Image:
    """A bar for each share, its interval as a line with ends, and the number behind; a title for each kind of study.

    Raises:
        ValueError: there is no share.
    """
    panels = {kind: rows for kind, rows in shares.items() if rows}
    if not panels:
        raise ValueError("there are no answers yet")
    font, large = ImageFont.load_default(16), ImageFont.load_default(20)
    labels = max(font.getlength(row.label) for rows in panels.values() for row in rows)
    left = round(MARGIN + labels + 12)
    width = left + LENGTH + 190
    height = 2 * MARGIN + sum(LINE * (len(rows) + 1) for rows in panels.values())
    chart = Image.new("RGB", (width, height), "white")
    canvas = ImageDraw.Draw(chart)
    top = MARGIN
    for kind, rows in panels.items():
        canvas.text((left, top + LINE / 2), TITLES[kind], fill=INK, font=large, anchor="lm")
        top += LINE
        for row in rows:
            middle = top + LINE / 2
            edge, low, high = (left + LENGTH * x for x in (row.share, row.low, row.high))
            canvas.text((left - 12, middle), row.label, fill=INK, font=font, anchor="rm")
            canvas.rectangle((left, middle - BAR / 2, left + LENGTH, middle + BAR / 2), fill=GRAY)
            if row.wins:
                canvas.rectangle((left, middle - BAR / 2, edge, middle + BAR / 2), fill=BLUE)
            canvas.line((low, middle, high, middle), fill=INK, width=2)
            for end in (low, high):
                canvas.line((end, middle - 6, end, middle + 6), fill=INK, width=2)
            said = f"{100 * row.share:.2f}% of {row.votes}"
            canvas.text((left + LENGTH + 12, middle), said, fill=INK, font=font, anchor="lm")
            top += LINE
    return chart


def save_chart(shares: Mapping[Kind, Sequence[Share]], file: Path) -> None:
    """Write `draw_shares` as .png or .tif. ValueError as there."""
    save_picture(draw_shares(shares), file)
