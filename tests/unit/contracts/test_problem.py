"""Every error that a program can answer is an RFC 9457 document with a name, a status and a sentence."""

from __future__ import annotations

import http
import json

import pytest

from contracts.problem import Problem, render


@pytest.mark.parametrize("problem", Problem)
def test_a_problem_is_a_document_with_its_status(problem: Problem) -> None:
    document = json.loads(render(problem))
    assert document == {
        "type": "urn:nearcast:problem:" + problem.name.lower().replace("_", "-"),
        "title": problem.title,
        "status": problem.status,
    }
    assert 400 <= http.HTTPStatus(problem.status) < 600


def test_no_two_problems_say_the_same() -> None:
    """Members of equal value would silently be one and the same."""
    assert len({problem.title for problem in Problem}) == len(Problem)
    assert list(Problem.__members__) == [problem.name for problem in Problem]


def test_detail_and_field_are_said_when_given() -> None:
    document = json.loads(render(Problem.BAD_FIELD, 'is "x"\n', field="count"))
    assert document["detail"] == 'is "x"\n'
    assert document["field"] == "count"
