"""GANSpace edits: move codes to a coordinate along a principal component of W (Härkönen et al. 2020)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class ComponentEdit:
    """An edit along one principal component.

    Attributes:
        component: which component, counted from 0.
        first, end: the codes `first` to `end - 1` are moved.
        strength: the coordinate to move them to, in standard deviations of the component.
    """

    component: int
    first: int
    end: int
    strength: float


@dataclass(frozen=True)
class PrincipalComponents:
    """Principal components of a prior's W.

    Attributes:
        mean: mean code [D].
        components: orthonormal directions [K, D], in any order.
        deviations: standard deviation along each, [K].

    Raises:
        ValueError: shapes that do not fit each other.
    """

    mean: Tensor
    components: Tensor
    deviations: Tensor

    def __post_init__(self) -> None:
        count, dim = self.components.shape
        if self.mean.shape != (dim,) or self.deviations.shape != (count,):
            raise ValueError(
                f"{count} components of {dim} entries need a mean [{dim}] and deviations [{count}], not "
                f"{list(self.mean.shape)} and {list(self.deviations.shape)}"
            )

    def edit(self, codes: Tensor, edit: ComponentEdit) -> Tensor:
        """Codes [B, n, D] with those of the edit moved until their coordinate is its strength.

        The present coordinate is read from code 0 alone. So codes that differ from code 0 do not end exactly there, and
        an edit that does not move code 0 adds the same again when it is repeated.

        Raises:
            ValueError: a component that does not exist, codes of another width, or too few of them.
        """
        if not 0 <= edit.component < len(self.components):
            raise ValueError(f"component {edit.component} is not there; there are {len(self.components)}")
        if codes.ndim != 3 or codes.shape[2] != len(self.mean) or not 0 <= edit.first < codes.shape[1]:
            raise ValueError(
                f"codes must be [B, {edit.first + 1} or more, {len(self.mean)}], not {list(codes.shape)}"
            )
        component = self.components[edit.component].to(codes)
        deviation = self.deviations[edit.component].to(codes)
        coordinate = (codes[:, 0] - self.mean.to(codes)) @ component / deviation
        moved = (edit.strength - coordinate)[:, None] * deviation * component
        result = codes.clone()
        result[:, edit.first : edit.end] += moved[:, None]
        return result

    def direction(self, edit: ComponentEdit, num_styles: int) -> Tensor:
        """An edit as a direction [num_styles, D] for sliders: moving by 3 times it adds the edit's strength."""
        found = self.components.new_zeros(num_styles, len(self.mean))
        step = edit.strength / 3 * self.deviations[edit.component] * self.components[edit.component]
        found[edit.first : edit.end] = step
        return found

    def find_edit(self, name: str, strength: float | None = None) -> ComponentEdit:
        """The edit of this name in `FFHQ_EDITS`, with another strength if one is given.

        Raises:
            ValueError: an unknown name; the message lists the known ones.
        """
        if name not in FFHQ_EDITS:
            raise ValueError(f"no component edit {name!r} is known; known: {', '.join(FFHQ_EDITS)}")
        return FFHQ_EDITS[name] if strength is None else replace(FFHQ_EDITS[name], strength=strength)


def _table(rows: str) -> Mapping[str, ComponentEdit]:
    found = {}
    for row in rows.split(";"):
        name, component, first, end, strength = row.split()
        found[name] = ComponentEdit(int(component), int(first), int(end), float(strength))
    return found


# GANSpace's edits of the StyleGAN2 for FFHQ at 1024: component, first code, end, strength.
FFHQ_EDITS: Mapping[str, ComponentEdit] = _table(
    "eye_openness 54 7 8 20; smile_ganspace 46 4 5 -20; trimmed_beard 58 7 9 20; white_hair 57 7 10 -24;"
    "lipstick 34 10 11 20; frizzy_hair 31 2 6 20; background_blur 49 6 9 20; bald 21 2 5 20;"
    "big_smile 19 4 5 20; caricature_smile 26 3 8 13; scary_eyes 33 6 8 20; curly_hair 47 3 6 20;"
    "dark_bg_shiny_hair 13 8 9 20; dark_hair_and_light_pos 14 8 9 20; dark_hair 16 8 9 20; disgusted 43 6 8 -30;"
    "displeased 36 4 7 20; eye_wrinkles 28 6 8 20; eyebrow_thickness 37 8 9 20; face_roundness 37 0 5 20;"
    "fearful_eyes 54 4 10 20; hairline 21 4 5 -20; happy_frizzy_hair 30 0 8 20; happy_elderly_lady 27 4 7 20;"
    "head_angle_up 11 1 4 20; huge_grin 28 4 6 20; in_awe 23 3 6 -15; wide_smile 23 3 6 20; large_jaw 22 3 6 20;"
    "light_lr 15 8 9 10; lipstick_and_age 34 6 11 20; mascara_vs_beard 41 6 9 20; nose_length 51 4 5 -20;"
    "elderly_woman 34 6 7 20; overexposed 27 8 18 15; screaming 35 3 7 -15; short_face 32 2 6 -20;"
    "show_front_teeth 59 4 5 40; straight_bowl_cut 20 4 5 -20; sunlight_in_face 10 8 9 10; wrinkles 20 6 7 -18;"
    "boyishness 8 2 5 20"
)


def principal_components(mean: Tensor, components: Tensor, deviations: Tensor) -> PrincipalComponents:
    """The tensors of the published files, of shapes such as [1, D], [K, 1, D] and [K], as `PrincipalComponents`."""
    return PrincipalComponents(
        mean.float().flatten(), components.float().flatten(1), torch.as_tensor(deviations).float().flatten()
    )
