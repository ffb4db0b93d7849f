"""What the roles are asked without pictures, and how the answers are counted."""

from __future__ import annotations

import io

from rich.console import Console

from gems.core.messages import compose, read_task
from gems.core.ports import SkillCard, SkillText
from gems.evals.text_questions import HARD, questions_of, requests_of
from gems.evals.text_roles import Heard, print_heard

CARDS = [SkillCard("layout", "where things stand")]
TASKS = ["choose_skills", "write_prompts", "decompose", "judge", "refine", "compress"]
SKILL = SkillText("layout", "put it left", "digest", ("SKILL.md",))


def test_requests_are_reproducible_and_mix_hard_ones_in() -> None:
    requests = requests_of(50, seed=3)
    assert requests == requests_of(50, seed=3)
    assert len(set(requests)) == 50
    assert set(HARD) < set(requests)
    assert requests_of(3, seed=3)[0] == HARD[0]
    assert requests[1:3] != requests_of(50, seed=4)[1:3]


def test_every_hard_request_reaches_every_role_whole_and_without_pictures() -> None:
    for request in HARD:
        questions = questions_of(request, CARDS, SKILL)
        assert [question.task for question in questions] == TASKS
        for question in questions:
            task = read_task(compose(question.task, question.instructions, question.fields))
            assert (task.task, task.fields, task.images) == (question.task, question.fields, [])
            shown = task.fields["request"]["prompt"] if question.task != "judge" else task.fields["picture"]
            assert shown.endswith("…" if len(request) > 4000 and question.task == "refine" else request)


def test_answers_are_counted_by_how_they_ended() -> None:
    heard = [
        Heard("decompose", "at once", seconds=1.0, calls=1, input_tokens=100, output_tokens=10),
        Heard("decompose", "repaired", seconds=3.0, calls=2, input_tokens=300, output_tokens=20),
        Heard("judge", "cut off", seconds=4.0, calls=1, input_tokens=50, output_tokens=256),
        Heard("judge", "at once", seconds=2.0, calls=1, verdicts=3, believed=2),
        Heard("judge", "no answer", "ModelOutage: it was busy"),
    ]
    page = io.StringIO()
    print_heard(Console(file=page, width=200, markup=False), "a server", heard)
    lines = [line.split() for line in page.getvalue().splitlines() if line.strip()]
    assert ["decompose", "2", "1", "1", "0", "0", "3", "1.3", "400", "30"] in lines
    assert ["judge", "3", "1", "0", "1", "1", "2", "3.0", "50", "256", "cut", "off", "1"] in lines
    assert ["all", "5", "2", "1", "1", "1", "5", "2.0", "450", "286", "cut", "off", "1"] in lines
    assert "verdicts whose probability could be read: 2 of 3" in page.getvalue()
    assert "1 times: ModelOutage: it was busy" in page.getvalue()
