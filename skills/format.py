"""The SKILL.md format: where its head ends, what stands in it, and what it links to.

Two forms are read. The Agent Skills format (https://agentskills.io/specification) opens with YAML frontmatter. The
older form has no frontmatter, but the sections `## Description` and `## Instructions`; its name is its folder's.

This module sees lines of text. It opens no file.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote

import yaml

from gems.core.ports import SkillCard

MAX_NAME: Final = 64
"""Characters in a name."""
MAX_DESCRIPTION: Final = 1024
"""Characters in a description."""
MAX_COMPATIBILITY: Final = 500
"""Characters in the field `compatibility`."""
FIELDS: Final = ("name", "description", "license", "compatibility", "metadata", "allowed-tools")
"""The fields that the specification knows."""

_FENCE: Final = "---"
_HEADING: Final = re.compile(r"(#{1,2})\s+(.*?)\s*#*\s*")
_INLINE_LINK: Final = re.compile(r"\]\(\s*(?:<([^<>]*)>|([^\s()<>]+))")
_LINK_DEFINITION: Final = re.compile(r" {0,3}\[[^\[\]]+\]:\s*(?:<([^<>]*)>|(\S+))")
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)

NumberedLines = Iterator[tuple[int, str]]
"""Lines without their ends, each with its number, from 1."""


class Problem(NamedTuple):
    """Something wrong with a skill. `line` counts from 1."""

    file: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class Head(NamedTuple):
    """What stands before the instructions.

    Without a usable head `card` is None and `problems` says why. `remarks` are what the specification forbids and this
    program can live with.
    """

    card: SkillCard | None
    problems: tuple[Problem, ...] = ()
    remarks: tuple[Problem, ...] = ()


class Link(NamedTuple):
    """A markdown link to a file: the line it stands on, and the normalised path, relative to the skill's folder."""

    line: int
    path: str


class _Field(NamedTuple):
    """A field of the frontmatter. `text` is None where the value is a list or a map."""

    line: int
    text: str | None


class _Frontmatter(NamedTuple):
    """The frontmatter's fields, and the line that closes it."""

    fields: dict[str, _Field]
    end: int


class _Sections(NamedTuple):
    """The older form's head: the line of `## Description`, and the text below it."""

    line: int
    description: str


class _HeadError(Exception):
    """The head cannot be read at all."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def parse_head(lines: NumberedLines, file: Path, folder_name: str) -> Head:
    """Read the name and description. Consumes the head only: what is left in `lines` are the instructions.

    Args:
        lines: the file, from its first line.
        file: its path, for the problems.
        folder_name: the name of the skill's folder, which the skill's name must equal.
    """
    first = next(lines, None)
    if first is None:
        return Head(None, (Problem(file, 1, "the file is empty"),))
    try:
        if first[1].rstrip() == _FENCE:
            return _head_of_frontmatter(_frontmatter(lines), file, folder_name)
        return _head_of_sections(_sections(chain([first], lines)), file, folder_name)
    except _HeadError as error:
        return Head(None, (Problem(file, error.line, error.message),))


def name_faults(name: str) -> list[str]:
    """What the specification has against a name; empty when it is a good one."""
    if not name:
        return ["name is empty"]
    faults = []
    if len(name) > MAX_NAME:
        faults.append(f"name has {len(name)} characters; at most {MAX_NAME} are allowed")
    if name != name.lower() or not all(character.isalnum() or character == "-" for character in name):
        faults.append(f"name {name!r} may have lower-case letters, digits and hyphens only")
    if name.startswith("-") or name.endswith("-") or "--" in name:
        faults.append(f"name {name!r} may not begin or end with a hyphen, nor have two in a row")
    return faults


def description_faults(description: str) -> list[str]:
    """What the specification has against a description; empty when it is a good one."""
    if not description:
        return ["description is empty"]
    if len(description) > MAX_DESCRIPTION:
        return [f"description has {len(description)} characters; at most {MAX_DESCRIPTION} are allowed"]
    if any(unicodedata.category(each) in ("Cc", "Cs") and not each.isspace() for each in description):
        return ["description has a control character"]
    return []


def linked_files(body: Iterable[tuple[int, str]]) -> list[Link]:
    """The markdown files that the instructions link to, each once, in order; links in code blocks do not count."""
    links: dict[str, Link] = {}
    in_code = False
    for number, line in body:
        if line.lstrip().startswith(("```", "~~~")):
            in_code = not in_code
        elif not in_code:
            for match in (*_INLINE_LINK.finditer(line), *_LINK_DEFINITION.finditer(line)):
                path = _file_path(match[1] or match[2] or "")
                if path:
                    links.setdefault(path, Link(number, path))
    return list(links.values())


def _file_path(target: str) -> str:
    path = unquote(target.partition("#")[0])
    if _URL.match(path) or not path.lower().endswith(".md"):
        return ""
    return posixpath.normpath(path)


def _frontmatter(lines: NumberedLines) -> _Frontmatter:
    inside: list[str] = []
    for number, line in lines:
        if line.rstrip() == _FENCE:
            return _Frontmatter(_fields("\n".join(inside)), number)
        inside.append(line)
    raise _HeadError(1, f"the frontmatter opened here is never closed by a line {_FENCE}")


def _fields(text: str) -> dict[str, _Field]:
    """Composed, never constructed: values stay the text that was written, so `name: on` is no boolean."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise _yaml_fault(error, text) from error
    except RecursionError as error:
        raise _HeadError(2, "bad YAML: nested too deeply") from error
    except (ValueError, OverflowError) as error:
        raise _HeadError(2, "bad YAML: an escape that stands for no character") from error
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise _HeadError(2, "the frontmatter must have lines of the form 'field: value'")
    fields: dict[str, _Field] = {}
    for key, value in node.value:
        line = _file_line(key.start_mark.line)
        if not isinstance(key, yaml.ScalarNode):
            raise _HeadError(line, "the name of a field must be text")
        if key.value in fields:
            raise _HeadError(line, f"field {key.value!r} stands twice")
        fields[key.value] = _Field(line, value.value.strip() if isinstance(value, yaml.ScalarNode) else None)
    return fields


def _file_line(frontmatter_line: int) -> int:
    """From YAML's count, which begins with 0 below the opening fence."""
    return frontmatter_line + 2


def _yaml_fault(error: yaml.YAMLError, text: str) -> _HeadError:
    if isinstance(error, yaml.reader.ReaderError):
        line = text[: error.position].count("\n")
        return _HeadError(_file_line(line), "bad YAML: a character that may not stand in it")
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return _HeadError(2, f"bad YAML: {error}")
    reason = ", ".join(part for part in (error.context, error.problem) if part)
    if "mapping values are not allowed" in reason:
        reason += " (a value that contains ': ' needs quotes round it)"
    return _HeadError(_file_line(error.problem_mark.line), f"bad YAML: {reason}")


def _head_of_frontmatter(frontmatter: _Frontmatter, file: Path, folder_name: str) -> Head:
    name = _required(frontmatter, "name", file)
    description = _required(frontmatter, "description", file)
    problems = [part for part in (name, description) if isinstance(part, Problem)]
    if isinstance(name, _Field) and name.text is not None:
        faults = name_faults(_normal(name.text))
        if not faults and _normal(name.text) != _normal(folder_name):
            faults = [f"name is {name.text!r}, but the folder is {folder_name!r}; they must be equal"]
        problems += [Problem(file, name.line, fault) for fault in faults]
    if isinstance(description, _Field) and description.text is not None:
        problems += [Problem(file, description.line, fault) for fault in description_faults(description.text)]
    remarks = tuple(_remarks(frontmatter, file))
    if problems:
        return Head(None, tuple(problems), remarks)
    fields = frontmatter.fields
    card = SkillCard(_normal(fields["name"].text or ""), _one_line(fields["description"].text or ""))
    return Head(card, (), remarks)


def _required(frontmatter: _Frontmatter, field: str, file: Path) -> _Field | Problem:
    found = frontmatter.fields.get(field)
    if found is None:
        return Problem(file, frontmatter.end, f"{field} is missing")
    if found.text is None:
        return Problem(file, found.line, f"{field} must be text, not a list or a map")
    return found


def _remarks(frontmatter: _Frontmatter, file: Path) -> Iterator[Problem]:
    for field, value in frontmatter.fields.items():
        if field not in FIELDS:
            yield Problem(file, value.line, f"field {field!r} is not one of {', '.join(FIELDS)}")
    compatibility = frontmatter.fields.get("compatibility")
    if compatibility and compatibility.text is None:
        yield Problem(file, compatibility.line, "compatibility must be text, not a list or a map")
    elif compatibility and len(compatibility.text or "") > MAX_COMPATIBILITY:
        yield Problem(file, compatibility.line, f"compatibility has more than {MAX_COMPATIBILITY} characters")


def _sections(lines: NumberedLines) -> _Sections:
    section = ""
    described_at = 0
    description: list[str] = []
    for number, line in lines:
        heading = _HEADING.fullmatch(line)
        if heading is None:
            if section == "description":
                description.append(line)
            continue
        section = heading[2].lower() if heading[1] == "##" else ""
        if section == "description":
            described_at = number
        elif section == "instructions" and described_at:
            return _Sections(described_at, _one_line("\n".join(description)))
        elif section == "instructions":
            raise _HeadError(number, "no section '## Description' stands before '## Instructions'")
    if described_at:
        raise _HeadError(described_at, "no section '## Instructions' follows '## Description'")
    raise _HeadError(
        1,
        f"neither form of a skill: begin with YAML frontmatter between lines {_FENCE} (name, description), "
        "or have the sections '## Description' and '## Instructions'",
    )


def _head_of_sections(sections: _Sections, file: Path, folder_name: str) -> Head:
    card = SkillCard(_normal(folder_name), sections.description)
    faults = [*_folder_faults(card.name), *description_faults(card.description)]
    problems = tuple(Problem(file, sections.line, fault) for fault in faults)
    return Head(None if problems else card, problems)


def _folder_faults(name: str) -> list[str]:
    """The older form has no rule for names; ours keeps them usable as a word on a command line."""
    if len(name) > MAX_NAME or not all(character.isalnum() or character in "-_" for character in name):
        return [f"folder {name!r} may have letters, digits, '-' and '_' only, at most {MAX_NAME}"]
    return []


def _normal(name: str) -> str:
    """File systems store accented letters in one or two characters; names must compare equal either way."""
    return unicodedata.normalize("NFKC", name)


def _one_line(text: str) -> str:
    return " ".join(text.split())
