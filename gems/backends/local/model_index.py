"""`model_index.json`: the class of a pipeline, and the library and class of each of its components."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from gems.core.errors import GemsConfigError

INDEX: Final = "model_index.json"
LIBRARIES: Final = ("diffusers", "transformers")
UNNEEDED: Final = ("safety_checker",)
"""Components that a pipeline draws without."""
_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_CUSTOM: Final = "custom_pipeline"

Kind = Literal["model", "scheduler", "tokenizer", "processor"]


class Component(NamedTuple):
    """One component of a pipeline."""

    library: str
    class_name: str

    @property
    def kind(self) -> Kind:
        """What it is, by its class's name: only models have weights."""
        name = self.class_name.removesuffix("Fast")
        if name.endswith("Scheduler"):
            return "scheduler"
        if name.endswith("Tokenizer"):
            return "tokenizer"
        return "processor" if name.endswith(("Processor", "FeatureExtractor")) else "model"


class ModelIndex(NamedTuple):
    """A pipeline's class and the components that it has."""

    pipeline_class: str
    components: Mapping[str, Component]

    @property
    def needed(self) -> dict[str, Component]:
        """The components that must be there."""
        return {name: it for name, it in self.components.items() if name not in UNNEEDED}

    @property
    def denoiser(self) -> str | None:
        """The name of the component that takes the noise away, where it has one of the usual names."""
        return next((name for name in ("transformer", "unet") if name in self.components), None)


def parse_index(content: Mapping[str, Any], where: str) -> ModelIndex:
    """Read the object of a `model_index.json`.

    Args:
        content: The object.
        where: What it is the index of, for messages.

    Raises:
        GemsConfigError: it is no index of a pipeline, or asks for code that is neither diffusers' nor transformers'.
    """
    name = content.get("_class_name")
    if isinstance(name, list) or _CUSTOM in content:
        raise _remote(where, "its pipeline's class is one of its own")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise GemsConfigError(
            f"the {INDEX} of {where} names no pipeline class (_class_name): choose a diffusers pipeline"
        )
    components: dict[str, Component] = {}
    for key, value in content.items():
        match value:
            # What is null is left out on purpose; other lists are settings.
            case [str(library), str(class_name)] if key != "_class_name":
                if not _NAME.fullmatch(key) or not _NAME.fullmatch(class_name):
                    raise GemsConfigError(
                        f"the {INDEX} of {where} has a component {key!r} that cannot be: choose another"
                    )
                if library not in LIBRARIES and not _is_of_diffusers(library):
                    raise _remote(where, f"{key!r} is of the library {library!r}")
                components[key] = Component(library, class_name)
    if not components:
        raise GemsConfigError(f"the {INDEX} of {where} names no components: choose a diffusers pipeline")
    return ModelIndex(name, components)


def refuse_code_of(where: str, component: str) -> GemsConfigError:
    """The refusal of a component that would run code from the model's folder."""
    return _remote(where, f"{component!r} has Python files")


def _remote(where: str, why: str) -> GemsConfigError:
    return GemsConfigError(
        f"{where} needs code that comes with it ({why}), and no such code is ever run here: "
        "choose a model whose classes are diffusers' and transformers' own"
    )


@cache
def _is_of_diffusers(library: str) -> bool:
    """Whether the name is that of a folder of pipelines in diffusers, which some have a class of their own in."""
    # Looked up, not imported: that takes seconds.
    spec = importlib.util.find_spec("diffusers")
    if spec is None or spec.origin is None or not _NAME.fullmatch(library):
        return False
    return (Path(spec.origin).parent / "pipelines" / library / "__init__.py").is_file()
