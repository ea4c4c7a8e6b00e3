"""One component whose requests share its processor: each goes on the slower, the more are in its slots.

A model that decodes its sequences in one batch is like that; so are processes on the same cores. What a request takes
alone is its work; with `k` in the slots work is done at `1 / slowdown(k)` of the pace alone, for all alike.

Source: processor sharing with a rate that depends on the state, as in Cohen, "The multiple phase service network with
generalized processor sharing", 1979; simulated by the virtual time in which work is done.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from evals.simulate.queue import Floats, Served


def serve_shared(
    arrivals: Floats,
    work: Floats,
    slots: int,
    queue: int,
    deadline_s: float,
    replicas: int,
    slowdown: Sequence[float],
) -> Served:
    """Serve requests in the order of arrival. The load is spread evenly over the replicas, which do not change.

    Args:
        arrivals: [n], seconds, ascending. work: [n], seconds each would take alone.
        slots: per replica. queue: most that wait, per replica.
        deadline_s: a request whose answer is expected later is refused; expected is the mean at full load.
        slowdown: times as long as alone with 1, 2, … requests in a replica; the last one for all that are more.
    """
    places = slots * replicas
    factors = [slowdown[min(math.ceil(inside / replicas), len(slowdown)) - 1] for inside in range(1, places + 1)]
    expected_s = float(work.mean()) * factors[-1] if len(work) else 0.0
    latencies = [math.nan] * len(work)
    running: list[tuple[float, int]] = []  # (virtual time at its end, request); a heap
    waiting: deque[int] = deque()
    virtual = now = busy_s = 0.0

    def until(arrival_s: float) -> None:
        """Let what ends before then end."""
        nonlocal virtual, now, busy_s
        while running:
            factor = factors[len(running) - 1]
            ends_s = now + (running[0][0] - virtual) * factor
            if ends_s > arrival_s:
                virtual += (arrival_s - now) / factor
                busy_s += (arrival_s - now) * len(running)
                break
            busy_s += (ends_s - now) * len(running)
            virtual, request = heapq.heappop(running)
            now = ends_s
            latencies[request] = now - arrivals[request]
            if waiting:
                begins = waiting.popleft()
                heapq.heappush(running, (virtual + work[begins], begins))
        now = arrival_s

    for request, arrival_s in enumerate(arrivals.tolist()):
        until(arrival_s)
        if len(running) < places:
            heapq.heappush(running, (virtual + work[request], request))
        elif len(waiting) < queue * replicas and expected_s * ((len(waiting) + 1) / places + 1) <= deadline_s:
            waiting.append(request)
    end = now
    used_s = busy_s  # what is still under way when arrivals end is no longer a part of the load
    until(math.inf)
    return Served(np.array(latencies), used_s, places * end, replicas * end, replicas)
