"""Honest checkouts at a steady rate, and how long each took until its end was on the topic."""

import threading
import time
from contextlib import closing
from typing import Final

from compose.ends import Ends
from tests.system import System

_POLL_S: Final = 0.02


class Honest:
    """Publishes `rate` checkouts a second from now on, until `stop`.

    took_s: checkout id -> seconds until its end was heard; outcomes: all its ends.
    """

    def __init__(self, system: System, rate: float) -> None:
        self._system, self._rate = system, rate
        self._published: dict[str, float] = {}
        self.took_s: dict[str, float] = {}
        self.outcomes: dict[str, list[str]] = {}
        self._stop = threading.Event()
        self._all_out = threading.Event()
        self._listening = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._listen, self._publish)]
        for thread in self._threads:
            thread.start()

    def _publish(self) -> None:
        self._listening.wait()
        due = time.monotonic()
        while not self._stop.is_set():
            request = self._system.request()
            self._published[request.checkout_id] = time.monotonic()
            self._system.shop.publish(request)
            due += 1 / self._rate
            self._stop.wait(max(0.0, due - time.monotonic()))
        self._system.shop.flush()

    def _listen(self) -> None:
        with closing(Ends(self._system.servers)) as ends:
            self._listening.set()
            while not self._all_out.is_set():
                for end in ends.heard(_POLL_S):
                    if end.checkout_id in self._published and end.outcome != "dead letter":
                        self.took_s.setdefault(end.checkout_id, time.monotonic() - self._published[end.checkout_id])
                        self.outcomes.setdefault(end.checkout_id, []).append(end.outcome)

    def stop(self, limit_s: float = 60.0) -> list[str]:
        """Publish no more, wait for the ends; the ids of those without one."""
        self._stop.set()
        until = time.monotonic() + limit_s
        while len(self.took_s) < len(self._published) and time.monotonic() < until:
            time.sleep(_POLL_S)
        self._all_out.set()
        for thread in self._threads:
            thread.join()
        return sorted(set(self._published) - set(self.took_s))

    def p99_s(self) -> float:
        """Of those that ended."""
        took = sorted(self.took_s.values())
        return took[min(len(took) - 1, int(0.99 * len(took)))] if took else 0.0
