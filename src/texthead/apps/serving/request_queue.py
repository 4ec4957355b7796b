"""A queue of requests that are answered one at a time, each with several lines of JSON."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping

from starlette.concurrency import iterate_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

Step = Mapping[str, object]

# Proxies send each line on at once.
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


class _Job:
    """The steps of an answer, its lines that are not sent yet, and whether its browser has left."""

    def __init__(self, steps: Iterator[Step]):
        self.steps = steps
        self.lines: asyncio.Queue[Step | None] = asyncio.Queue()
        self.moved = asyncio.Event()
        self.left = False
        self.task: asyncio.Task[None] | None = None


class RequestQueue:
    """Answer requests one at a time, in order of arrival.

    Args:
        waiting: largest number of requests that wait for their turn.
    """

    def __init__(self, waiting: int):
        self._waiting = waiting
        self._jobs: list[_Job] = []

    def response(self, steps: Iterator[Step]) -> Response:
        """Return a response that sends a line for each step, and {"ahead": requests} while it waits.

        The steps run in threads. If the browser leaves, the next step is not begun. If too many requests wait, the
        response is an error with status 503.
        """
        if len(self._jobs) > self._waiting:
            line = f"busy: {self._waiting} other requests are waiting; try again in a minute"
            return JSONResponse({"error": line}, status_code=503)
        job = _Job(steps)
        self._jobs.append(job)
        job.task = asyncio.create_task(self._run(job))
        return StreamingResponse(_lines(job), media_type="application/x-ndjson", headers=_HEADERS)

    async def _run(self, job: _Job) -> None:
        try:
            while not job.left and (ahead := self._jobs.index(job)):
                job.lines.put_nowait({"ahead": ahead})
                job.moved.clear()
                await job.moved.wait()
            if job.left:
                return
            # The next request need not wait until a slow browser has read these lines.
            async for step in iterate_in_threadpool(job.steps):
                job.lines.put_nowait(step)
                if job.left:
                    return
        finally:
            self._jobs.remove(job)
            for other in self._jobs:
                other.moved.set()
            job.lines.put_nowait(None)


async def _lines(job: _Job) -> AsyncIterator[str]:
    assert job.task is not None
    try:
        while (step := await job.lines.get()) is not None:
            yield json.dumps(step) + "\n"
        await job.task
    finally:
        job.left = True
        job.moved.set()
