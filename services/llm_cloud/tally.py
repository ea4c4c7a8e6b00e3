"""Counts what a job takes, so that an answer cut short is charged for what it took."""

from __future__ import annotations

from services.contracts.events import Delta, Event, Finished, Usage
from services.contracts.messages import ChatRequest
from services.llm_cloud.dialect import chars_of, estimate_input_tokens, estimate_output_tokens
from services.worker.service import Job


class Tally:
    """The count of one job.

    Attributes:
        complete: the answer has ended well; what it took is the vendor's own count.
        charged: whether the vendor will charge for an answer that did not.
    """

    def __init__(self, request: ChatRequest, job: Job) -> None:
        self._request = request
        self._job = job
        self._output_chars = 0
        self.complete = False
        self.charged = True

    def add(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, Delta):
            self._output_chars += chars_of(event)
        elif isinstance(event, Finished):
            self._job.spent = event.usage
            self.complete = True

    def close(self) -> None:
        """No more events come. Of an answer cut short the vendor does not say how much it was: it is estimated."""
        if self.charged and not self.complete:
            self._job.spent = Usage(estimate_input_tokens(self._request), estimate_output_tokens(self._output_chars))
