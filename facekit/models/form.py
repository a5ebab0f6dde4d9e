"""Which of two forms a network has, where thesis and published code differ."""

from typing import Literal, get_args

# "published": that of the weights that the authors published; "thesis": that of the thesis's equations, to the letter.
Form = Literal["published", "thesis"]
FORMS: tuple[str, ...] = get_args(Form)


def check_form(form: str) -> None:
    """Raise ValueError for a `form` that is neither "published" nor "thesis"."""
    if form not in FORMS:
        raise ValueError(
            f"form must be 'published' (that of the published weights) or 'thesis' (the equations to the letter), "
            f"not {form!r}"
        )
