"""Run a function in all processes of a group, for tests and benchmarks."""

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
    """Yield a function that runs `f(*args)` in `count` processes of a group and returns the results in rank order.

    The processes run on this machine with one thread each, and serve all calls in the block. `f` must be a module-level
    function; arguments and results must be picklable.

    Args:
        timeout: seconds that a process waits for the others; a result may take 2 x timeout + 60 seconds.

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
            theirs.close()  # Otherwise the pipe would not report that the process ended.
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
            # Time for imports, and for a process to report its own timeout first.
            if not pipe.poll(2 * timeout + 60):
                raise RunError(f"process {number} of {len(pipes)} gave no result in {2 * timeout + 60:.0f} s")
            results.append(pipe.recv())
        except EOFError:
            raise RunError(f"process {number} of {len(pipes)} has ended; see its own message") from None
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
        # As bytes: torch would send tensors as shared memory, which is lost if this process ends.
        pipe.send_bytes(pickle.dumps(done))
