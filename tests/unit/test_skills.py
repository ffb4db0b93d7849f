"""Skills: the format, the library over folders, reading on demand, and the built-in ones."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import skills_ref

from gems.core.errors import GemsConfigError
from gems.core.ports import SkillCard, SkillLibrary
from gems.skills import BUILT_IN, FolderSkills, Problem, new_skill, validate_skill
from gems.skills.reading import MAX_BYTES

BUILT_IN_NAMES = ["aesthetic-drawing", "creative-drawing", "spatial-layout", "text-rendering"]
GOOD = "---\nname: foo\ndescription: Draws foos. Use when a foo is asked for.\n---\n\n# Foo\n\nDraw it round.\n"
needs_links = pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege on Windows")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """Stands in for the built-in skills where they would be in the way."""
    folder = tmp_path / "none"
    folder.mkdir()
    return folder


def add_skill(root: Path, name: str = "foo", text: str | bytes = GOOD, **references: str | bytes) -> Path:
    skill = root / name
    skill.mkdir(parents=True)
    write(skill / "SKILL.md", text)
    for stem, content in references.items():
        write(skill / "references" / f"{stem}.md", content)
    return skill


def write(file: Path, content: str | bytes) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def skill_text(name: str = "foo", description: str = "Draws foos.", extra: str = "", body: str = "Draw it.") -> str:
    return f"---\nname: {name}\ndescription: {description}\n{extra}---\n{body}\n"


# The built-in skills


def test_the_built_in_skills_are_listed_without_a_warning() -> None:
    library: SkillLibrary = FolderSkills()
    assert [card.name for card in library.cards()] == BUILT_IN_NAMES
    assert library.warnings() == []


@pytest.mark.parametrize("name", BUILT_IN_NAMES)
def test_built_in_skills_satisfy_both_validators(name: str) -> None:
    assert validate_skill(BUILT_IN / name) == []
    assert skills_ref.validate(BUILT_IN / name) == []


@pytest.mark.parametrize("name", BUILT_IN_NAMES)
def test_built_in_cards_are_what_the_reference_library_reads_and_say_when_to_use_them(name: str) -> None:
    card = next(card for card in FolderSkills().cards() if card.name == name)
    assert card.description == skills_ref.read_properties(BUILT_IN / name).description
    assert "Use when" in card.description


@pytest.mark.parametrize("name", BUILT_IN_NAMES)
def test_built_in_skills_are_read_whole_with_their_reference(name: str) -> None:
    text = FolderSkills().read(name)
    reference = next((BUILT_IN / name / "references").iterdir())
    assert text.files == ("SKILL.md", f"references/{reference.name}")
    assert reference.read_text(encoding="utf-8").strip() in text.instructions
    assert "name:" not in text.instructions.splitlines()[0]
    assert 40 <= len((BUILT_IN / name / "SKILL.md").read_text(encoding="utf-8").splitlines()) <= 100


@pytest.mark.parametrize("name", BUILT_IN_NAMES)
def test_example_prompts_obey_the_rules_of_the_skills(name: str) -> None:
    body = FolderSkills().read(name).instructions
    request, prompt = re.findall(r"^(?:Request|Prompt): (.*?)(?=\n\n)", body, re.DOTALL | re.MULTILINE)
    assert len(prompt.split()) <= 125
    assert re.findall(r"\b(?:no|not|without|never)\b", prompt, re.IGNORECASE) == []
    for quoted in re.findall(r'"[^"]+"', request):
        assert " ".join(prompt.split()).count(quoted) == 1
    assert re.findall(r'"[^"]+"', " ".join(prompt.split())) == re.findall(r'"[^"]+"', request)


# Reading on demand


def test_a_skill_is_read_with_the_references_its_body_links_to(own: Path, empty: Path) -> None:
    body = (
        "See [one](references/one.md#part), [two](<references/two.md> 'title') and [one again](./references/one.md).\n"
        "[site](https://example.org/a.md)\n\n[three]: references/three.md\n```\n[code](references/code.md)\n```"
    )
    add_skill(own, text=skill_text(body=body), one="First.", two="Second.", three="Third.", code="Code.")
    library = FolderSkills([own], empty)
    text = library.read("foo")
    assert text.files == ("SKILL.md", "references/one.md", "references/two.md", "references/three.md")
    assert text.instructions.startswith("See [one]")
    assert '<file path="references/two.md">\nSecond.\n</file>' in text.instructions
    assert "Code." not in text.instructions
    assert library.warnings() == []


def test_listing_reads_the_head_alone(own: Path, empty: Path) -> None:
    """A body that is no text is found only by reading it."""
    add_skill(own, text=GOOD.encode() + b"\xff\xfe\n")
    library = FolderSkills([own], empty)
    assert [card.name for card in library.cards()] == ["foo"]
    assert library.warnings() == []
    with pytest.raises(GemsConfigError, match=r"'foo' cannot be read: .*SKILL\.md:9: not UTF-8"):
        library.read("foo")


def test_the_digest_follows_every_file_that_is_read_and_nothing_else(own: Path, empty: Path) -> None:
    skill = add_skill(own, text=skill_text(body="[a](references/a.md)"), a="Apple.", b="Not linked.")
    library = FolderSkills([own], empty)
    digests = [library.read("foo").digest]
    for file, content in (("references/b.md", "Changed."), ("references/a.md", "Pear."), ("SKILL.md", GOOD)):
        write(skill / file, content)
        digests.append(library.read("foo").digest)
    assert re.fullmatch(r"[0-9a-f]{12}", digests[0])
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_line_ends_and_a_byte_order_mark_change_nothing(own: Path, empty: Path) -> None:
    skill = add_skill(own)
    library = FolderSkills([own], empty)
    before = library.read("foo")
    write(skill / "SKILL.md", b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert library.read("foo") == before


def test_an_edited_skill_counts_at_once(own: Path, empty: Path) -> None:
    library = FolderSkills([own], empty)
    assert library.cards() == []
    skill = add_skill(own)
    assert library.cards() == [SkillCard("foo", "Draws foos. Use when a foo is asked for.")]
    shutil.rmtree(skill)
    assert library.cards() == []


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (None, r"SKILL\.md:5: references/a\.md: the file is missing"),
        (b"ok\n\x89PNG\n", r"references[/\\]a\.md:2: not UTF-8 text"),
        (b"a\0b", r"references[/\\]a\.md:1: a NUL byte"),
        (b"x" * MAX_BYTES, r"SKILL\.md:5: references/a\.md: too long: it has 40000 bytes, and 39\d\d\d of the 40000"),
    ],
)
def test_a_reference_that_cannot_be_read_is_left_out_and_named(
    own: Path, empty: Path, reference: bytes | None, message: str
) -> None:
    skill = add_skill(own, text=skill_text(body="Draw it. [a](references/a.md) [b](references/b.md)"), b="Pear.")
    if reference is not None:
        write(skill / "references" / "a.md", reference)
    library = FolderSkills([own], empty)
    text = library.read("foo")
    assert text.files == ("SKILL.md", "references/b.md")
    assert text.instructions.startswith("Draw it.")
    (warning,) = library.warnings()
    assert re.search(message, warning)
    (problem,) = validate_skill(skill)
    assert str(problem) == warning


def test_the_limit_holds_for_all_files_together(own: Path, empty: Path) -> None:
    half = "x" * (MAX_BYTES // 2)
    links = "[a](references/a.md) [b](references/b.md) [c](references/c.md)"
    add_skill(own, text=skill_text(body=links), a=half, b=half, c="Short.")
    assert FolderSkills([own], empty).read("foo").files == ("SKILL.md", "references/a.md", "references/c.md")


def test_a_skill_without_instructions_is_named(own: Path, empty: Path) -> None:
    add_skill(own, text=skill_text(body=""))
    library = FolderSkills([own], empty)
    assert library.read("foo").instructions == ""
    assert library.warnings()[0].endswith("no instructions follow the head")


# No path leaves the skill's folder


@pytest.mark.parametrize(
    "target", ["../secret.md", "references/../../secret.md", "references/%2e%2e/%2e%2e/secret.md", "/etc/secret.md"]
)
def test_links_that_lead_out_are_not_followed(own: Path, empty: Path, target: str) -> None:
    write(own / "secret.md", "SECRET")
    add_skill(own, text=skill_text(body=f"Draw it. [s]({target})"), a="x")
    library = FolderSkills([own], empty)
    text = library.read("foo")
    assert text.files == ("SKILL.md",)
    assert "SECRET" not in text.instructions
    assert re.search(r"SKILL\.md:5: .*secret\.md is not read", library.warnings()[0])


@needs_links
def test_symbolic_links_that_lead_out_are_not_followed(own: Path, empty: Path, tmp_path: Path) -> None:
    write(tmp_path / "secret.md", "SECRET")
    skill = add_skill(own, text=skill_text(body="Draw it. [s](references/s.md)"), a="x")
    (skill / "references" / "s.md").symlink_to(tmp_path / "secret.md")
    stolen = own / "stolen"
    stolen.mkdir()
    (stolen / "SKILL.md").symlink_to(skill / "SKILL.md")
    library = FolderSkills([own], empty)
    assert "SECRET" not in library.read("foo").instructions
    assert [card.name for card in library.cards()] == ["foo"]
    assert [re.sub(r".*[/\\]", "", warning) for warning in library.warnings()] == [
        "SKILL.md:1: leads out of the skill's folder",
        "s.md: leads out of the skill's folder",
    ]


@needs_links
def test_a_folder_may_itself_be_a_link(own: Path, empty: Path, tmp_path: Path) -> None:
    add_skill(tmp_path / "elsewhere", "somewhere", GOOD)
    (own / "foo").symlink_to(tmp_path / "elsewhere" / "somewhere")
    assert FolderSkills([own], empty).read("foo").instructions.endswith("Draw it round.")


# Broken skills

BROKEN: dict[str, tuple[str | bytes, int, str]] = {
    "empty file": ("", 1, "the file is empty"),
    "image": (b"\x89PNG\r\n\x1a\n\0\0", 1, "not UTF-8 text"),
    "nul bytes": (b"---\nname: foo\0\n", 2, "a NUL byte"),
    "utf-16": (GOOD.encode("utf-16-le"), 1, "a NUL byte"),
    "latin-1": ("---\nname: foo\ndescription: caf\xe9\n---\n".encode("latin-1"), 3, "not UTF-8 text"),
    "neither form": ("Draw it round.\n", 1, "neither form of a skill"),
    "frontmatter not closed": ("---\nname: foo\ndescription: Draws.\n\n# Foo\n", 1, "never closed"),
    "frontmatter is a list": ("---\n- name\n---\n", 2, "'field: value'"),
    "empty frontmatter": ("---\n---\nDraw.\n", 2, "name is missing"),
    "colon in a value": (skill_text(description="Draws: foos: all"), 3, "needs quotes round it"),
    "open quote": ('---\nname: foo\ndescription: "Draws\n---\n', 3, "bad YAML: while scanning a quoted scalar"),
    "tab": ("---\nname: foo\nmetadata:\n\tversion: 1\ndescription: x\n---\n", 4, "bad YAML"),
    "control character": ("---\nname: foo\ndescription: a\x07b\n---\n", 3, "bad YAML: a character"),
    "no such character": ('---\nname: foo\ndescription: "\\UFFFFFFFF"\n---\n', 2, "stands for no character"),
    "half a character": ('---\nname: foo\ndescription: "\\uD800"\n---\n', 3, "a control character"),
    "nested too deeply": ("---\nname: " + "[" * 700 + "\n---\n", 2, "nested too deeply"),
    "field twice": ("---\nname: foo\nname: foo\ndescription: x\n---\n", 3, "'name' stands twice"),
    "description missing": ("---\nname: foo\n---\nDraw.\n", 3, "description is missing"),
    "description empty": (skill_text(description=""), 3, "description is empty"),
    "description a list": (skill_text(description="[a, b]"), 3, "description must be text"),
    "description too long": (skill_text(description="x" * 1025), 3, "1025 characters; at most 1024"),
    "name missing": ("---\ndescription: x\n---\nDraw.\n", 3, "name is missing"),
    "name of another folder": (skill_text(name="bar"), 2, "name is 'bar', but the folder is 'foo'"),
    "name in capitals": (skill_text(name="Foo"), 2, "lower-case letters, digits and hyphens only"),
    "name with a path": (skill_text(name="../foo"), 2, "lower-case letters, digits and hyphens only"),
    "name with two hyphens": (skill_text(name="fo--o"), 2, "two in a row"),
    "name too long": (skill_text(name="x" * 65), 2, "65 characters; at most 64"),
    "file too long": (skill_text(body="x" * MAX_BYTES), 1, "too long"),
    "older form, no instructions": ("# Foo\n\n## Description\nDraws.\n", 3, "no section '## Instructions'"),
    "older form, no description": ("# Foo\n\n## Instructions\nDraw.\n", 3, "no section '## Description'"),
    "older form, empty description": ("## Description\n\n## Instructions\nDraw.\n", 1, "description is empty"),
    "older form, long description": (f"## Description\n{'x' * 1025}\n## Instructions\nDraw.\n", 1, "at most 1024"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_skill_is_skipped_with_file_and_line(own: Path, empty: Path, case: str) -> None:
    content, line, message = BROKEN[case]
    skill = add_skill(own, text=content)
    add_skill(own, "good", skill_text(name="good"))
    library = FolderSkills([own], empty)
    assert [card.name for card in library.cards()] == ["good"]
    (problem, *_) = validate_skill(skill)
    assert problem[:2] == (skill / "SKILL.md", line)
    assert message in problem.message
    assert library.warnings()[0] == f"{skill / 'SKILL.md'}:{line}: {problem.message}"
    with pytest.raises(GemsConfigError, match=r"'foo' is broken: .*SKILL"):
        library.read("foo")


def test_a_folder_without_a_skill_file_is_named_and_hidden_ones_are_not(own: Path, empty: Path) -> None:
    for name in ("notes", ".git", "__pycache__"):
        (own / name).mkdir()
    write(own / "README.md", "Not a skill.")
    library = FolderSkills([own], empty)
    assert library.cards() == []
    assert library.warnings() == [f"{own / 'notes' / 'SKILL.md'}:1: the file is missing"]


def test_a_skill_file_that_is_no_file(own: Path, empty: Path) -> None:
    (own / "foo" / "SKILL.md").mkdir(parents=True)
    assert FolderSkills([own], empty).warnings()[0].endswith("SKILL.md:1: not a regular file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_not_waited_for(own: Path, empty: Path) -> None:
    (own / "foo").mkdir()
    os.mkfifo(own / "foo" / "SKILL.md")
    assert FolderSkills([own], empty).warnings()[0].endswith("SKILL.md:1: not a regular file")


@needs_links
def test_links_in_a_circle_and_to_nowhere(own: Path, empty: Path) -> None:
    (own / "circle").symlink_to(own / "circle")
    (own / "foo").mkdir()
    (own / "foo" / "SKILL.md").symlink_to(own / "foo" / "SKILL.md")
    (own / "goo").mkdir()
    (own / "goo" / "SKILL.md").symlink_to(own / "nowhere")
    library = FolderSkills([own], empty)
    assert library.cards() == []
    circle, foo, goo = library.warnings()
    assert re.search(r"circle.SKILL\.md:1: cannot be opened", circle)
    assert re.search(r"foo.SKILL\.md:1: cannot be opened", foo)
    assert re.search(r"goo.SKILL\.md:1: the file is missing", goo)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder of skills that other users could see, were it not for its permissions."""
    if not hasattr(os, "geteuid"):
        pytest.skip("no POSIX permissions")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        add_skill(folder)
        add_skill(folder, "good", skill_text(name="good"))
        yield folder
        for path in (folder, folder / "foo", folder / "foo" / "SKILL.md"):
            path.chmod(0o755)


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Nothing is forbidden to root, so root becomes nobody for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(0)


@pytest.mark.parametrize("locked", ["foo", "foo/SKILL.md"])
def test_what_may_not_be_read_is_skipped(shared: Path, empty: Path, locked: str) -> None:
    library = FolderSkills([shared], empty)
    (shared / locked).chmod(0)
    with bound_by_permissions():
        assert [card.name for card in library.cards()] == ["good"]
        assert library.warnings()[0] == f"{shared / 'foo' / 'SKILL.md'}:1: cannot be opened: Permission denied"
        assert [problem.line for problem in validate_skill(shared / "foo")] == [1]


def test_a_folder_of_skills_that_may_not_be_listed(shared: Path, empty: Path) -> None:
    library = FolderSkills([shared], empty)
    shared.chmod(0)
    with bound_by_permissions():
        assert library.cards() == []
        assert library.warnings()[0] == f"{shared}:1: the folder cannot be listed: Permission denied"
        with pytest.raises(GemsConfigError, match="cannot be listed: Permission denied"):
            FolderSkills([shared])


# Folders


def test_a_folder_that_does_not_exist_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(GemsConfigError, match=r"'.*nowhere' does not exist"):
        FolderSkills([tmp_path / "nowhere"])


def test_a_file_or_a_skill_is_no_folder_of_skills(own: Path) -> None:
    skill = add_skill(own)
    with pytest.raises(GemsConfigError, match=r"'.*foo' is itself a skill; name '.*own' instead"):
        FolderSkills([skill])
    with pytest.raises(GemsConfigError, match=r"SKILL\.md' cannot be listed"):
        FolderSkills([skill / "SKILL.md"])


def test_the_home_folder_is_understood(own: Path, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_skill(own)
    monkeypatch.setenv("HOME", str(own.parent))
    monkeypatch.setenv("USERPROFILE", str(own.parent))
    assert [card.name for card in FolderSkills([Path("~/own")], empty).cards()] == ["foo"]


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(GemsConfigError, match="no skill is named 'spatial'; there are: aesthetic-drawing, creative-d"):
        FolderSkills().read("spatial")


@pytest.mark.parametrize("name", ["", ".", "..", "../skills/spatial-layout", "spatial-layout/../text-rendering"])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(GemsConfigError, match="no skill is named"):
        FolderSkills().read(name)


def test_the_users_own_skill_wins_over_the_built_in_one_with_a_warning(own: Path) -> None:
    mine = add_skill(own, "spatial-layout", skill_text(name="spatial-layout", body="My own way."))
    library = FolderSkills([own])
    assert [card.name for card in library.cards()] == BUILT_IN_NAMES
    assert library.read("spatial-layout").instructions == "My own way."
    assert library.warnings() == [
        f"{mine / 'SKILL.md'}:1: skill 'spatial-layout' is used instead of the one in {BUILT_IN / 'spatial-layout'}"
    ]


def test_the_earlier_of_two_own_folders_wins(own: Path, empty: Path, tmp_path: Path) -> None:
    add_skill(own, text=skill_text(body="First."))
    add_skill(tmp_path / "other", text=skill_text(body="Second."))
    assert FolderSkills([own, tmp_path / "other"], empty).read("foo").instructions == "First."
    assert FolderSkills([tmp_path / "other", own], empty).read("foo").instructions == "Second."
    assert FolderSkills([own, tmp_path / "other", own], empty).read("foo").instructions == "First."


def test_a_folder_given_twice_counts_once(own: Path, empty: Path) -> None:
    add_skill(own)
    assert FolderSkills([own, own / ".." / "own"], empty).warnings() == []
    assert FolderSkills([BUILT_IN]).warnings() == []


def test_a_broken_skill_hides_nothing(own: Path) -> None:
    add_skill(own, "spatial-layout", "")
    library = FolderSkills([own])
    assert [card.name for card in library.cards()] == BUILT_IN_NAMES
    assert library.read("spatial-layout").instructions.startswith("# Spatial layout")
    assert library.warnings() == [f"{own / 'spatial-layout' / 'SKILL.md'}:1: the file is empty"]


# The two forms


def test_the_older_form_is_read(own: Path, empty: Path) -> None:
    text = (
        "# Skill: Foo\n\n## Description\nDraws foos\nof all kinds.\n\n## Instructions\nDraw it. [a](references/a.md)\n"
        "### Colours\nRed.\n## Examples\nA foo.\n"
    )
    skill = add_skill(own, "Foo_drawing", text, a="Apple.")
    library = FolderSkills([own], empty)
    assert library.cards() == [SkillCard("Foo_drawing", "Draws foos of all kinds.")]
    read = library.read("Foo_drawing")
    assert read.instructions.startswith("Draw it.")
    assert "## Examples\nA foo." in read.instructions
    assert read.files == ("SKILL.md", "references/a.md")
    assert validate_skill(skill) == []


def test_the_older_forms_folder_must_be_one_word(own: Path, empty: Path) -> None:
    add_skill(own, "my foo", "## Description\nDraws.\n## Instructions\nDraw.\n")
    assert "may have letters, digits, '-' and '_' only" in FolderSkills([own], empty).warnings()[0]


def test_values_stay_the_text_that_was_written(own: Path, empty: Path) -> None:
    add_skill(own, "2024", skill_text(name="2024", description="on"))
    add_skill(own, "folded", "---\nname: folded\ndescription: >-\n  Draws\n  foos.\n---\nDraw.\n")
    assert FolderSkills([own], empty).cards() == [SkillCard("2024", "on"), SkillCard("folded", "Draws foos.")]


def test_accents_compare_equal_however_they_are_stored(own: Path, empty: Path) -> None:
    add_skill(own, "cafe\u0301", skill_text(name="caf\u00e9"))
    library = FolderSkills([own], empty)
    assert library.warnings() == []
    assert library.read("caf\u00e9").instructions == "Draw it."


# validate_skill and new_skill

JUDGED = {
    "good": skill_text(),
    "all fields": skill_text(extra="license: MIT\ncompatibility: any\nmetadata:\n  a: b\nallowed-tools: Read\n"),
    "quoted": skill_text(description='"Use when: always"'),
    "longest description": skill_text(description="x" * 1024),
    "too long": skill_text(description="x" * 1025),
    "no name": "---\ndescription: x\n---\nDraw.\n",
    "no description": "---\nname: foo\n---\nDraw.\n",
    "empty description": skill_text(description=""),
    "capitals": skill_text(name="Foo"),
    "underscore": skill_text(name="f_oo"),
    "leading hyphen": skill_text(name="-foo"),
    "two hyphens": skill_text(name="f--oo"),
    "other folder": skill_text(name="bar"),
    "unknown field": skill_text(extra="version: 1\n"),
    "long compatibility": skill_text(extra=f"compatibility: {'x' * 501}\n"),
    "no frontmatter": "Draw.\n",
    "not closed": "---\nname: foo\ndescription: x\n",
    "bad yaml": skill_text(description="a: b: c"),
    "field twice": skill_text(extra="name: foo\n"),
    "list": "---\n- a\n---\n",
}


@pytest.mark.parametrize("case", JUDGED)
def test_our_verdict_is_the_reference_validators(own: Path, case: str) -> None:
    skill = add_skill(own, text=JUDGED[case])
    try:
        theirs = skills_ref.validate(skill) == []
    except ValueError:
        theirs = False
    assert (validate_skill(skill) == []) is theirs


def test_what_only_the_specification_forbids_does_not_stop_a_skill(own: Path, empty: Path) -> None:
    skill = add_skill(own, text=skill_text(extra="version: 1\n"))
    assert [card.name for card in FolderSkills([own], empty).cards()] == ["foo"]
    assert FolderSkills([own], empty).warnings() == []
    (problem,) = validate_skill(skill)
    assert problem[:2] == (skill / "SKILL.md", 4)
    assert problem.message.startswith("field 'version' is not one of name, description")


def test_validate_names_every_fault(own: Path) -> None:
    skill = add_skill(own, text=skill_text("Bar", "", "version: 1\n", "[a](references/a.md) [n](notes.md)"), b="x")
    assert [
        str(problem).removeprefix(f"{skill}{os.sep}").replace(os.sep, "/") for problem in validate_skill(skill)
    ] == [
        "SKILL.md:2: name 'Bar' may have lower-case letters, digits and hyphens only",
        "SKILL.md:3: description is empty",
        "SKILL.md:6: references/a.md: the file is missing",
        "SKILL.md:6: notes.md is not read: only references/*.md are",
        "SKILL.md:4: field 'version' is not one of name, description, license, compatibility, metadata, allowed-tools",
        "references/b.md:1: never read: SKILL.md does not link to it",
    ]


def test_validate_takes_the_file_or_a_relative_path_and_a_missing_folder(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skill = add_skill(own)
    assert validate_skill(skill / "SKILL.md") == []
    monkeypatch.chdir(skill)
    assert validate_skill(Path()) == []
    (skill / "references").mkdir()
    monkeypatch.chdir(skill / "references")
    assert validate_skill(Path("..")) == []
    assert validate_skill(own / "nowhere") == [Problem(own / "nowhere" / "SKILL.md", 1, "the file is missing")]


@pytest.mark.parametrize(
    "description",
    ["Draws foos. Use when asked.", 'Use when: a "foo" # is {asked} for', "Zeichnet \u00dcbergr\u00f6\u00dfen " * 30],
)
def test_a_new_skill_satisfies_both_validators_and_is_listed(tmp_path: Path, empty: Path, description: str) -> None:
    file = new_skill(tmp_path / "new" / "folder", "my-foo", description)
    assert file == tmp_path / "new" / "folder" / "my-foo" / "SKILL.md"
    assert validate_skill(file.parent) == []
    assert skills_ref.validate(file.parent) == []
    library = FolderSkills([tmp_path / "new" / "folder"], empty)
    assert library.cards() == [SkillCard("my-foo", description.strip())]
    assert library.read("my-foo").instructions.startswith("# My foo\n")


def test_a_new_skill_overwrites_nothing(own: Path) -> None:
    skill = add_skill(own)
    with pytest.raises(GemsConfigError, match=r"foo' exists"):
        new_skill(own, "foo", "Draws foos.")
    assert (skill / "SKILL.md").read_text() == GOOD
    write(own / "file", "x")
    with pytest.raises(GemsConfigError, match="exists"):
        new_skill(own / "file", "foo", "Draws foos.")
    with pytest.raises(GemsConfigError, match="cannot be written"):
        new_skill(own / "file" / "deeper", "foo", "Draws foos.")


@pytest.mark.parametrize(
    ("name", "description", "message"),
    [
        ("../foo", "x", "lower-case letters"),
        ("Foo", "x", "lower-case letters"),
        ("", "x", "name is empty"),
        ("foo", " \n ", "description is empty"),
        ("foo", "x" * 1025, "at most 1024"),
    ],
)
def test_a_new_skill_is_refused_before_anything_is_written(
    own: Path, name: str, description: str, message: str
) -> None:
    with pytest.raises(GemsConfigError, match=message):
        new_skill(own, name, description)
    assert list(own.iterdir()) == []
