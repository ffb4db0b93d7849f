"""Messages to models: instructions, one tagged JSON block with the input, and images.

The wording of a prompt can change without breaking whoever reads the block.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

Task = Literal[
    "choose_skills", "write_prompts", "decompose", "amend", "judge", "compare", "refine", "compress", "distil"
]
_BLOCK: Final = re.compile(r'<gems task="(\w+)">\n(.*)\n</gems>', re.DOTALL)
_ARTIFACTS: Final = "gems_artifacts"
"""Where a message says which stored images it shows: traces name them so. No server is sent this."""


class EncodedImage(NamedTuple):
    """An image as it travels: its bytes, its MIME type, and the words that announce it."""

    content: bytes
    mime: str
    label: str
    artifact: str = ""
    """The stored image that it shows, whole or scaled down."""


class TaskInput(NamedTuple):
    """What a message asks: the task, its JSON input, and the images' bytes in order."""

    task: str
    fields: dict[str, Any]
    images: list[bytes]


def compose(
    task: Task, instructions: str, fields: Mapping[str, Any], images: Sequence[EncodedImage] = ()
) -> list[BaseMessage]:
    """The two messages of one question to a model."""
    # One line a field: quick to write, short to read, and a person can still find a place in it.
    lines = (f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items())
    # A request may contain our own closing tag; escaped, it stays JSON and cannot end the block early.
    block = "{{\n{}\n}}".format(",\n".join(lines)).replace("</", "<\\/")
    content: list[str | dict[Any, Any]] = [{"type": "text", "text": f'<gems task="{task}">\n{block}\n</gems>'}]
    for image in images:
        url = f"data:{image.mime};base64,{base64.b64encode(image.content).decode()}"
        content.append({"type": "text", "text": image.label})
        content.append({"type": "image_url", "image_url": {"url": url}})
    told = {_ARTIFACTS: [image.artifact for image in images]} if images else {}
    return [SystemMessage(instructions), HumanMessage(content, additional_kwargs=told)]


def artifacts_of(message: BaseMessage) -> list[str]:
    """The stored images that a composed message shows, in order; empty strings for those that are not stored."""
    return list(message.additional_kwargs.get(_ARTIFACTS, ()))


def read_task(messages: Sequence[BaseMessage]) -> TaskInput:
    """Read back what `compose` wrote, from the first message that carries a block.

    Raises:
        ValueError: no message carries a readable block.
    """
    for message in messages:
        if isinstance(message.content, str):
            parts: list[Any] = [{"type": "text", "text": message.content}]
        else:
            parts = message.content
        texts = [part["text"] for part in parts if isinstance(part, dict) and part.get("type") == "text"]
        for text in texts:
            if match := _BLOCK.search(text):
                return TaskInput(match[1], json.loads(match[2]), _images(parts))
    raise ValueError("no message carries a <gems> block")


def _images(parts: Sequence[Any]) -> list[bytes]:
    urls = [part["image_url"]["url"] for part in parts if isinstance(part, dict) and part.get("type") == "image_url"]
    return [base64.b64decode(url.partition(",")[2]) for url in urls]
