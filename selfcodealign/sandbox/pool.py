"""Sandbox workers that stay, for cases that come at any time and from any thread.

`run_cases` starts workers for one stream of cases and ends them with it. Who asks again and again, with answers that
have just been written or for others over a socket, keeps a pool::

    with Pool(Settings(workers=8)) as pool:
        verdicts = pool.run(cases)
"""

import contextlib
import itertools
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from selfcodealign.errors import UserError
from selfcodealign.sandbox.selftest import choose_layer
from selfcodealign.sandbox.settings import Settings, request
from selfcodealign.sandbox.supervisor import Crew

Verdict = dict[str, Any]

PATIENCE_S = 10.0
"""A timeout runs again once no other case does. Cases that come without end leave no such pause, so that after this
time one is made: new cases wait until the timeouts have run."""


class Pool:
    """Workers under one thread, and the cases that wait for them.

    Args:
        settings: of the sandbox; `workers` programs run at the same time.

    Raises:
        UserError: no isolation works here.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._layer, self._greeting = choose_layer(self.settings)
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._asked: dict[str, tuple[str, Future[Verdict]]] = {}
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._ended: BaseException | None = None
        self._closing = False
        self._heard, self._bell = os.pipe()
        os.set_blocking(self._bell, False)
        self._thread = threading.Thread(target=self._serve, name="sandbox pool", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, case: Mapping[str, Any]) -> Future[Verdict]:
        """Hand over a case and return at once; its verdict has the case's id, and others may have the same.

        A case cannot be taken back: the future's `cancel` does nothing.

        Raises:
            UserError: the case is malformed, or the pool has ended.
        """
        request(case, self.settings)
        future: Future[Verdict] = Future()
        # A cancelled future takes no result, and the error would end the thread that all others wait for.
        future.set_running_or_notify_cancel()
        with self._lock:
            if self._ended is not None:
                raise UserError(f"the sandbox's workers have ended: {self._ended}")
            number = str(next(self._numbers))
            self._asked[number] = (case["id"], future)
            self._waiting.append({**case, "id": number})
            self._ring()
        return future

    def run(self, cases: Iterable[Mapping[str, Any]]) -> list[Verdict]:
        """Run cases and return their verdicts in the same order.

        Raises:
            UserError: a case is malformed, or workers no longer start.
        """
        return [future.result() for future in [self.submit(case) for case in cases]]

    def waits(self) -> int:
        """Count the cases that have no verdict yet."""
        with self._lock:
            return len(self._asked)

    def close(self) -> None:
        """End the workers and what they run; who still waits for a verdict gets a UserError."""
        with self._lock:
            self._closing = True
            if self._ended is None:
                self._ring()
        self._thread.join()

    def _ring(self) -> None:
        """Wake the loop; a pipe that is full wakes it as well."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._bell, b"!")

    def _serve(self) -> None:
        """Feed the workers and hand out verdicts until the pool is closed."""
        reason: BaseException = UserError("the pool was closed")
        try:
            # Made here, because the cache's file belongs to the thread that opens it.
            crew = Crew(self._layer, self.settings, self._greeting)
            crew.wake_by(self._heard)
            crew.patience_s = PATIENCE_S
            try:
                self._loop(crew)
            finally:
                crew.end()
        except BaseException as error:  # Whoever waits has to hear of it.
            reason = error
        with self._lock:
            self._ended = reason
            left, self._asked = self._asked, {}
            os.close(self._heard)
            os.close(self._bell)
        for _, future in left.values():
            future.set_exception(reason)

    def _loop(self, crew: Crew) -> None:
        cases = _Coming(self._waiting)
        while not self._closing:
            crew.exhausted = not self._waiting
            crew.feed(cases)
            if crew.done:
                while crew.done:
                    verdict = crew.done.popleft()
                    with self._lock:
                        name, future = self._asked.pop(verdict["id"])
                    future.set_result({**verdict, "id": name})
            else:
                if crew.finished():
                    crew.cache.commit()
                crew.wait()


class _Coming:
    """An iterator that ends whenever nothing waits, and goes on when something does."""

    def __init__(self, waiting: deque[Mapping[str, Any]]) -> None:
        self.waiting = waiting

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return self

    def __next__(self) -> Mapping[str, Any]:
        if not self.waiting:
            raise StopIteration
        return self.waiting.popleft()
