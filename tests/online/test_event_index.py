"""Searches in an event index, one by one and vectorised, compared with counting."""

from __future__ import annotations

import numpy as np

from mlops_cli.online.event_index import EventIndex


def test_earlier_events_are_found_one_by_one_and_vectorised() -> None:
    rng = np.random.default_rng(3)
    timeline = EventIndex()
    stretches, moments = [[(0, 0)]], [[]]
    for longest in (1, 3, 60, 1, 700):
        given = [
            sorted(rng.integers(0, 50, rng.integers(0, longest + 1)).tolist()) for _ in range(7)
        ]
        stretches.append([timeline.add(times) for times in given])
        moments.append(given)
    rows = 40
    firsts, ends, asked, wanted = [], [], [], []
    for some, given in zip(stretches, moments, strict=True):
        chosen = rng.integers(0, len(some), rows).tolist()
        at = rng.integers(-1, 52, rows).tolist()
        firsts.append([some[c][0] for c in chosen])
        ends.append([some[c][1] for c in chosen])
        asked.append(at)
        times = [given[c] if given else [] for c in chosen]
        counts = [sum(t < moment for t in of) for of, moment in zip(times, at, strict=True)]
        wanted.append([first + n for first, n in zip(firsts[-1], counts, strict=True)])
    together = timeline.ends_before_many(np.array(firsts), np.array(ends), np.array(asked))
    assert together.tolist() == wanted
    assert [timeline.ends_before(*one) for one in zip(firsts, ends, asked, strict=True)] == wanted
    last = stretches[-1][0]
    assert timeline.times_at(np.arange(*last)).tolist() == moments[-1][0]
    assert timeline.time_at(last[0]) == moments[-1][0][0]


def test_a_missing_time_has_no_earlier_events() -> None:
    timeline = EventIndex()
    first, end = timeline.add([1, 2])
    assert timeline.ends_before([first, 0], [end, 0], [None, 5]) == [first, 0]
