"""The floors take every prompt there is: without a word, all unlike each other, of megabytes."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from evals.routing.policies.floors import Knn, TfIdfRidge
from tests.evals.routing.support import world

FLOORS = pytest.mark.parametrize("floor", [TfIdfRidge, Knn])


@FLOORS
@pytest.mark.parametrize("prompt", ["?! " + "." * 3, "模", "{}"])
def test_prompts_without_shared_words_are_predicted_by_what_is_usual(
    floor: type[TfIdfRidge | Knn], prompt: str
) -> None:
    known = world(60)
    prompts = [prompt if prompt != "{}" else chr(0x4E00 + i) for i in range(len(known))]
    policy = floor()

    policy.fit(replace(known, prompts=prompts))
    found = policy.predict([prompt, "a word"])

    assert found.quality.shape == (2, 2)
    assert np.isfinite(found.quality).all()
    assert found.quality.mean(axis=0) == pytest.approx(known.quality.mean(axis=0), abs=0.25)


@FLOORS
def test_the_tail_of_a_huge_prompt_is_not_read(floor: type[TfIdfRidge | Knn]) -> None:
    known = world(60)
    head = " ".join(f"word{i}" for i in range(4000))
    policy = floor()
    policy.fit(known)

    began = time.process_time()
    short, long = (policy.predict([head + tail]).quality for tail in ("", " prove the theorem" * 400_000))

    assert long.tolist() == short.tolist()
    assert time.process_time() - began < 2
