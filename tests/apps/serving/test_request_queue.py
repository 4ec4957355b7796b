"""The queue of requests on a real server: order, places, too many, browsers that leave or read slowly."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from served_pages import Served, ask, connect, head, post, serving, until
from texthead.apps.serving.request_queue import RequestQueue
from texthead.apps.serving.server import page_app

WAITING = 2


class Steps:
    """Answers of two steps; the second waits until the test lets one answer go on."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.go_on = threading.Semaphore(0)
        self.large = ""

    def __call__(self, name: str) -> Iterator[dict[str, str]]:
        self.begun.append(name)
        yield {"first": name + self.large}
        assert self.go_on.acquire(timeout=30)
        self.ended.append(name)
        if name == "broken":
            raise RuntimeError("a bug")
        yield {"second": name}


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def queue() -> RequestQueue:
    return RequestQueue(WAITING)


@pytest.fixture
def served(steps: Steps, queue: RequestQueue) -> Iterator[Served]:
    async def answer(request: Request) -> Response:
        return queue.response(steps((await request.body()).decode()))

    with serving(page_app([Route("/ask", answer, methods=["POST"])], "127.0.0.1")) as page:
        yield page


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_queue_order_and_positions(served: Served, steps: Steps, queue: RequestQueue) -> None:
    with ThreadPoolExecutor(3) as clients:
        answers = []
        for number, name in enumerate("abc", 1):
            answers.append(clients.submit(post, served, "/ask", name.encode()))
            until(lambda number=number: len(queue._jobs) == number)
        until(lambda: steps.begun == ["a"])
        busy = post(served, "/ask", b"d")
        assert (busy.status, "busy" in json.loads(busy.text)["error"]) == (503, True)
        for number in range(3):
            steps.go_on.release()
            until(lambda number=number: len(steps.ended) == number + 1)
        got = [answer.result() for answer in answers]
    assert steps.ended == ["a", "b", "c"]
    assert got[0].headers["content-type"] == "application/x-ndjson"
    assert [lines(answer.text) for answer in got] == [
        [{"first": "a"}, {"second": "a"}],
        [{"ahead": 1}, {"first": "b"}, {"second": "b"}],
        [{"ahead": 2}, {"ahead": 1}, {"first": "c"}, {"second": "c"}],
    ]


def test_who_leaves_is_not_answered(served: Served, steps: Steps, queue: RequestQueue) -> None:
    connections = [connect(served) for _ in range(3)]
    for number, (name, connection) in enumerate(zip("abc", connections, strict=True), 1):
        connection.sendall(head(served, "POST /ask", "Content-Length: 1") + name.encode())
        until(lambda number=number: len(queue._jobs) == number)
    until(lambda: steps.begun == ["a"])
    # One who waits leaves at once.
    connections[1].close()
    until(lambda: len(queue._jobs) == 2)
    # The step of the one in turn ends first.
    connections[0].close()
    until(lambda: queue._jobs[0].left)
    assert steps.begun == ["a"]
    steps.go_on.release()
    until(lambda: steps.begun == ["a", "c"])
    steps.go_on.release()
    until(lambda: not queue._jobs)
    connections[2].close()
    assert steps.ended == ["a", "c"]
    assert served.log == []


def test_stalled_browser_blocks_nobody(served: Served, steps: Steps) -> None:
    steps.large = "x" * 30_000_000
    with closing(connect(served)) as connection:
        connection.sendall(head(served, "POST /ask", "Content-Length: 1") + b"a")
        until(lambda: steps.begun == ["a"])
        steps.large = ""
        for _ in range(2):
            steps.go_on.release()
        assert lines(post(served, "/ask", b"b").text)[-1] == {"second": "b"}


def test_a_bug_ends_its_answer_alone(served: Served, steps: Steps) -> None:
    for _ in range(2):
        steps.go_on.release()
    with pytest.raises(Exception, match="Incomplete"):
        post(served, "/ask", b"broken")
    assert lines(post(served, "/ask", b"a").text)[-1] == {"second": "a"}
    assert any("a bug" in line for line in served.log)


def test_other_methods_ask_nothing(served: Served, steps: Steps) -> None:
    assert ask(served, "GET /ask").status == 405
    assert steps.begun == []
