"""The JSON schema of a reply model, in the form that every server takes."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

_KEPT: Final = ("type", "enum", "const", "description", "minItems")
"""Other bounds are left out: some servers refuse a schema that has them, and replies are validated here anyway. Without
`minItems`, a small model that is constrained by the schema likes to answer with an empty list."""


def plain_schema(reply_model: type[BaseModel]) -> dict[str, Any]:
    """The schema with every field required, no field besides, and no references.

    This is what OpenAI's strict mode demands; servers that constrain decoding by the schema take it as well, and a model
    that only reads it has everything in one place. Reply models are not recursive.
    """
    schema = reply_model.model_json_schema()
    return _plain(schema, schema.get("$defs", {}))


def _plain(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return _plain(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    plain: dict[str, Any] = {name: schema[name] for name in _KEPT if name in schema}
    if "items" in schema:
        plain["items"] = _plain(schema["items"], definitions)
    if "anyOf" in schema:
        plain["anyOf"] = [_plain(option, definitions) for option in schema["anyOf"]]
    if "properties" in schema:
        plain["properties"] = {name: _plain(field, definitions) for name, field in schema["properties"].items()}
        plain["required"] = list(schema["properties"])
        plain["additionalProperties"] = False
    return plain
