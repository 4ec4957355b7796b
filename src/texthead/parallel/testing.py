"""Run a function in several processes of one group, for tests and benchmarks."""

import multiprocessing
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.distributed as dist

from texthead.errors import RunError

RunInAll = Callable[..., list]


@contextmanager
def processes(count: int, *, timeout: float = 60.0) -> Iterator[RunInAll]:
    """A function that runs `f(*args)` in `count` processes of one group and returns their results in rank order.

    They are of this machine, with one thread each, and stay for all calls in the block. `f` must be a function of a
    module, arguments and results picklable.

    Args:
        timeout: seconds that a process waits for the others, and that are waited for a result.

    Raises:
        Exception: what `f` raised in the first process that failed.
        RunError: a process ended, or gave no result in time.
    """
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        crew = [context.Process(target=_serve, args=(i, count, store, timeout, pipes[i][1])) for i in range(count)]
        for process, (_, theirs) in zip(crew, pipes, strict=True):
            process.start()
            theirs.close()  # Else its end would not be noticed here.
        try:
            yield lambda f, *args: _all_run([pipe for pipe, _ in pipes], f, args, timeout)
        finally:
            for process in crew:
                process.kill()
                process.join()


def _all_run(pipes: Sequence[Connection], f: Callable, args: tuple, timeout: float) -> list:
    for pipe in pipes:
        pipe.send_bytes(pickle.dumps((f, args)))
    results = []
    for number, pipe in enumerate(pipes):
        try:
            # They begin with imports, and a process that waits for another one has to say so first.
            if not pipe.poll(2 * timeout + 60):
                raise RunError(f"process {number} of {len(pipes)} gave no result in {2 * timeout + 60:.0f} s")
            results.append(pipe.recv())
        except EOFError:
            raise RunError(f"process {number} of {len(pipes)} has ended; its own message says why") from None
    for done, result in results:
        if not done:
            raise result
    return [result for _, result in results]


def _serve(number: int, count: int, store: Path, timeout: float, pipe: Connection) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=number, world_size=count, timeout=timedelta(seconds=timeout)
    )
    while True:
        f, args = pipe.recv()
        try:
            done = True, f(*args)
        except Exception as error:
            done = False, error
        # As bytes: torch sends tensors as memory that is shared with a process which may end.
        pipe.send_bytes(pickle.dumps(done))
