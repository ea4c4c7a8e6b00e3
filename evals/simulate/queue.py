"""One component under load: a queue before slots, admission by deadline, replicas that come and go. Discrete events.

Requests are served in the order of arrival by whichever slot is free first, which is what the dispatcher does when it
hands each task to the instance that is expected to finish first.

Source: the recursion on the slots' free times is Kiefer and Wolfowitz, 1955.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_SMOOTHING = 0.5


@dataclass(frozen=True)
class Scaling:
    """How replicas are counted again. With `most` equal to `least` they stay.

    Attributes:
        every_s: how often. busy: part of the slots that should be in use.
        start_s: until a new replica serves.
    """

    least: int
    most: int
    every_s: float
    busy: float
    start_s: float


@dataclass(frozen=True)
class Served:
    """What came of the requests.

    Attributes:
        latency_s: [n], wait and service; NaN for those that were turned away.
        busy_s: slot-seconds in use; capacity_s: slot-seconds there were. replica_s: replica-seconds paid for.
        most_replicas: at the highest.
    """

    latency_s: Floats
    busy_s: float
    capacity_s: float
    replica_s: float
    most_replicas: int


def serve(
    arrivals: Floats, services: Floats, slots: int, queue: int, deadline_s: float, begin: int, scaling: Scaling
) -> Served:
    """Serve requests.

    Args:
        arrivals: [n], seconds, ascending. services: [n], seconds each would take.
        slots: per replica. queue: most that wait, per replica.
        deadline_s: a request whose answer is expected later is refused; expected is the mean service time.
        begin: replicas at the start.
    """
    expected = float(services.mean()) if len(services) else 0.0
    free = [0.0] * (begin * slots)  # when each slot is free; a heap
    replicas, retiring, peak = begin, 0, begin
    starts: deque[float] = deque()  # when accepted requests begin: those later than now are waiting
    latencies: list[float] = []
    busy_s = capacity_s = replica_s = work = 0.0
    before, load = 0.0, begin * slots * scaling.busy
    next_count = scaling.every_s
    for now, service in zip(arrivals.tolist(), services.tolist(), strict=True):
        while scaling.most > scaling.least and next_count <= now:
            capacity_s += replicas * slots * (next_count - before)
            replica_s += replicas * (next_count - before)
            before = next_count
            load += _SMOOTHING * (work / scaling.every_s - load)
            work = 0.0
            wanted = int(np.clip(np.ceil(load / (slots * scaling.busy)), scaling.least, scaling.most))
            for _ in range((wanted - replicas) * slots):
                if retiring:
                    retiring -= 1
                else:
                    heapq.heappush(free, next_count + scaling.start_s)
            retiring += max(0, (replicas - wanted) * slots)
            replicas, peak = wanted, max(peak, wanted)
            next_count += scaling.every_s
        while retiring and free[0] <= now and len(free) > 1:
            heapq.heappop(free)
            retiring -= 1
        while starts and starts[0] <= now:
            starts.popleft()
        work += service
        start = max(now, free[0])
        if start - now + expected > deadline_s or (start > now and len(starts) >= queue * replicas):
            latencies.append(math.nan)
            continue
        heapq.heapreplace(free, start + service)
        if start > now:
            starts.append(start)
        latencies.append(start + service - now)
        busy_s += service
    end = float(arrivals[-1]) if len(arrivals) else 0.0
    capacity_s += replicas * slots * (end - before)
    replica_s += replicas * (end - before)
    return Served(np.array(latencies), busy_s, capacity_s, replica_s, peak)
