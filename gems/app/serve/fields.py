"""The fields of a request: their names, forms and limits, and what is said of those that cannot be honoured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gems.app.serve.refusals import Refusal

MOST_STEPS: Final = 500
MOST_SEED: Final = 2**63 - 1

_SHOWN: Final = 60
"""Characters of a wrong value that are repeated."""
_CANNOT: Final[Mapping[str, str]] = {
    "mask": "edits follow the whole picture here: leave the mask out, and say what is to change and what is not",
    "mask_image": "edits follow the whole picture here: leave the mask out, and say what is to change and what is not",
    "background": "pictures are opaque here: leave it out, or write 'auto' or 'opaque'",
    "response_format": "no picture is kept here to have an address: write 'b64_json'",
    "partial_images": "no unfinished picture is shown here: write 0, and read the progress events",
    "input_fidelity": "it cannot be chosen here: leave it out, or set `strength`",
    "style": "it cannot be chosen here: leave it out, and say it in words",
    "stream": "write true or false",
}
"""What to do instead, by field."""

P = TypeVar("P", bound="PictureFields")


class PictureFields(BaseModel):
    """What decides a picture. None is left to the model's defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    prompt: str = Field(min_length=1)
    model: str | None = None
    size: str | None = None
    width: int | None = Field(default=None, ge=1)
    height: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=0, le=MOST_SEED)
    steps: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    num_inference_steps: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    guidance_scale: float | None = Field(default=None, ge=0, le=100)
    true_cfg_scale: float | None = Field(default=None, ge=0, le=100)
    negative_prompt: str | None = None
    strength: float | None = Field(default=None, gt=0, le=1)


class ImagesFields(PictureFields):
    """Those of OpenAI's Images API, and the picture's."""

    n: int = Field(default=1, ge=1, le=10)
    response_format: Literal["b64_json"] = "b64_json"
    output_format: Literal["png", "jpeg", "webp"] = "png"
    output_compression: int = Field(default=90, ge=0, le=100)
    stream: bool = False
    partial_images: Literal[0] = 0
    background: Literal["auto", "opaque"] = "auto"
    # Steps decide the quality here, and nobody moderates; users are not told apart.
    quality: str | None = None
    moderation: str | None = None
    user: str | None = None
    safety_identifier: str | None = None


def read_fields(kind: type[P], given: Mapping[str, Any], *, strict: bool = False) -> P:
    """The fields, checked. One that is null counts as left out.

    Args:
        kind: Which fields there are.
        given: Their values.
        strict: Whether a number must be one: forms and addresses have texts alone.

    Raises:
        Refusal: names the first that is wrong, and what to do.
    """
    present = {name: value for name, value in given.items() if value is not None}
    try:
        return kind.model_validate(_with_numbers(present), strict=strict)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
    name = str(problem["loc"][0]) if problem["loc"] else None
    if name is None:
        raise Refusal(400, f"the request cannot be read: {problem['msg']}", code="invalid_value")
    if problem["type"] == "missing":
        where = "" if issubclass(kind, ImagesFields) else ": it stands in the address, as in /generate?prompt=a+red+dog"
        raise Refusal(400, f"{name} is missing{where}", param=name, code="missing_required_parameter")
    if problem["type"] == "extra_forbidden" and name not in _CANNOT:
        raise Refusal(400, f"Unknown parameter: {name[:_SHOWN]!r}", param=name[:_SHOWN], code="unknown_parameter")
    value = repr(problem["input"])
    shown = value if len(value) <= _SHOWN else f"{value[: _SHOWN - 3]}..."
    raise Refusal(400, f"{name} {shown}: {_CANNOT.get(name) or problem['msg']}", param=name, code="invalid_value")


def _with_numbers(given: Mapping[str, Any]) -> dict[str, Any]:
    """A form holds texts alone, also where one of some numbers is meant."""
    number = given.get("partial_images")
    return {**given, "partial_images": 0} if number == "0" else dict(given)
