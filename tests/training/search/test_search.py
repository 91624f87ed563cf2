"""The search: defaults first, deterministic, resumable from its journal."""

import shutil
import time

import numpy as np
import pytest

from mlops_cli.errors import BadParams, MlopsError
from mlops_cli.models.families import FAMILIES, Setting
from mlops_cli.params.tune import Dimension
from mlops_cli.reporting import Silent
from mlops_cli.training.search.journal import Journal
from mlops_cli.training.search.search import Search, search
from mlops_cli.training.search.search_space import Candidate, first_choices, narrow
from mlops_cli.training.search.trials import EarlyStop, Limits, Result, Trial, best, time_share

SPACES = {
    "flat": {"x": Setting(Dimension(low=0.0, high=1.0), 0.5)},
    "deep": {
        "n": Setting(Dimension(low=1, high=50, log=True), 10),
        "kind": Setting(Dimension(choices=("a", "b")), "a"),
    },
}


FIRSTS = first_choices(SPACES, {name: [{}] for name in SPACES}, max_candidates=2)


def objective(candidate, report, seconds=None):
    if candidate.family == "flat":
        score = 1 - abs(candidate.settings["x"] - 0.3)
    else:
        score = candidate.settings["n"] / 60 + (candidate.settings["kind"] == "b") / 10
    for step in range(1, 11):
        report(step, score * step / 10)
    return Result(score, iterations=7)


class Notes(Silent):
    """Keeps what is said."""

    def __init__(self):
        self.notes, self.updates, self.boards = [], [], []

    def note(self, text):
        """Keep it."""
        self.notes.append(text)

    def update(self, text, done=None, total=None):
        """Keep it."""
        self.updates.append((text, done, total))

    def show_leaderboard(self, leaderboard):
        """Keep it."""
        self.boards.append(leaderboard)


def run(path, *, trials=14, goal=objective, progress=None, seconds=None, seed=3, **limits):
    progress = progress or Silent()
    what = Search(SPACES, goal, Limits(trials, seconds, **limits), True, seed, True, progress)
    return search(what, FIRSTS, Journal.open(path, "maximize", progress))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("search") / "a.journal"
    return path, run(path)


def test_each_family_s_defaults_come_first(undisturbed):
    _, trials = undisturbed
    assert (trials[0].family, trials[0].settings) == ("flat", {"x": 0.5})
    assert (trials[1].family, trials[1].settings) == ("deep", {"n": 10, "kind": "a"})
    assert [t.number for t in trials] == list(range(14))


def test_the_best_is_the_first_of_the_complete_with_the_best_score(undisturbed):
    _, trials = undisturbed
    found = best(trials, maximise=True)
    assert found.score == max(t.score for t in trials if t.state == "complete")
    assert found.iterations == 7
    assert best(trials, maximise=False).score == min(
        t.score for t in trials if t.state == "complete"
    )


def test_poor_trials_are_pruned(undisturbed):
    _, trials = undisturbed
    pruned = [t for t in trials if t.state == "pruned"]
    assert pruned
    assert all(t.score is None and len(t.steps) < 10 for t in pruned)


def test_the_same_seed_gives_the_same_trials_and_another_one_others(undisturbed, tmp_path):
    _, trials = undisturbed
    assert run(tmp_path / "b.journal") == trials
    assert run(tmp_path / "c.journal", seed=4) != trials


def test_cut_anywhere_it_goes_on_to_the_same_trials(undisturbed, tmp_path):
    path, trials = undisturbed
    content = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    cuts = [0, 1, ends[0] - 1, ends[0], ends[4] - 1, ends[4], ends[4] + 1, ends[9] + 40]
    cuts += [len(content) - 1, len(content)]
    for cut in cuts:
        finished = sum(end <= cut for end in ends[1:])
        copy = tmp_path / f"{cut}.journal"
        copy.write_bytes(content[:cut])
        tried = []

        def counting(candidate, report, seconds, tried=tried):
            tried.append(candidate)
            return objective(candidate, report)

        assert run(copy, goal=counting) == trials, f"cut at byte {cut}"
        assert len(tried) == len(trials) - finished


def test_a_search_that_dies_in_a_trial_goes_on_after_the_finished_ones(undisturbed, tmp_path):
    _, trials = undisturbed
    calls = []

    def dying(candidate, report, seconds):
        calls.append(candidate)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return objective(candidate, report)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "d.journal", goal=dying)
    assert run(tmp_path / "d.journal", goal=dying) == trials
    assert len(calls) == len(trials) + 1


def test_a_damaged_journal_is_set_aside_and_said_so(undisturbed, tmp_path):
    path, trials = undisturbed
    lines = path.read_bytes().splitlines(keepends=True)
    for n, bad in enumerate((b"garbage\n", b"{}\n", b"\x00\xff\n", b"[1]\n")):
        copy, notes = tmp_path / f"{n}.journal", Notes()
        copy.write_bytes(b"".join([*lines[:3], bad, *lines[3:]]))
        assert run(copy, progress=notes) == trials
        assert "damaged" in notes.notes[0]
        assert copy.with_name(f"{n}.journal.damaged").exists()


def test_failed_trials_keep_their_reason_and_are_not_the_best(tmp_path):
    def fussy(candidate, report, seconds):
        if candidate.family == "flat":
            raise ValueError("cannot do this\nmore")
        return objective(candidate, report)

    trials = run(tmp_path / "e.journal", goal=fussy)
    assert trials[0].state == "failed"
    assert trials[0].reason == "ValueError: cannot do this"
    assert best(trials, maximise=True).family == "deep"
    assert run(tmp_path / "e.journal", goal=fussy) == trials


def test_a_score_that_is_not_a_number_is_a_failure(tmp_path):
    with pytest.raises(MlopsError, match=r"all 3 trials .* the score is nan"):
        run(tmp_path / "f.journal", trials=3, goal=lambda c, r, s: Result(float("nan")))


def test_an_error_that_the_user_can_mend_ends_the_search(tmp_path):
    def refuse(candidate, report, seconds):
        raise BadParams("metric")

    with pytest.raises(BadParams):
        run(tmp_path / "g.journal", goal=refuse)


def test_a_time_budget_ends_it_with_at_least_one_result(tmp_path):
    def slow(candidate, report, seconds):
        time.sleep(0.03)
        return Result(1.0)

    trials = run(tmp_path / "h.journal", trials=None, seconds=0.2, goal=slow)
    assert 1 <= len(trials) <= 8
    again = shutil.copy(tmp_path / "h.journal", tmp_path / "i.journal")
    more = run(again, trials=None, seconds=0.2, goal=slow)
    assert len(more) <= len(trials) + 2, "what was spent before the kill counts"
    assert len(run(tmp_path / "j.journal", trials=None, seconds=1e-9, goal=slow)) == 1


def test_progress_says_trial_family_and_best(tmp_path):
    notes = Notes()
    run(tmp_path / "k.journal", trials=2, progress=notes)
    assert notes.updates == [
        ("trial 1: flat", 0, 2),
        ("trial 2: deep  best 0.8000", 1, 2),
    ]


def test_progress_shows_the_leaderboard_and_the_best_score_over_time(tmp_path):
    seen = Notes()
    trials = run(tmp_path / "a", trials=9, progress=seen, seconds=60)
    assert len(seen.boards) == 9
    assert seen.boards[0].best_values == ()
    last = seen.boards[-1]
    assert last.best_values == tuple(sorted(last.best_values)), "the best only gets better"
    before = [t for t in trials[:8] if t.state == "complete"]
    assert last.leaders.rows[0][0] == best(before, maximise=True).number + 1
    assert len(last.leaders.rows) == min(5, len(before))
    assert 0 < last.seconds_left < 60


def test_what_is_proposed_is_used_to_six_digits(tmp_path):
    for trial in run(tmp_path / "a"):
        for value in trial.settings.values():
            if isinstance(value, float):
                assert value == float(f"{value:.6g}")


def test_given_ranges_replace_the_family_s_own_and_move_the_default_into_them():
    space = FAMILIES["lightgbm"].space
    given = {"max_leaves": Dimension(low=4, high=16), "rows": Dimension(choices=(0.7, 0.8))}
    result = narrow(space, given, "lightgbm")
    assert result["max_leaves"].default == 16
    assert result["rows"].default == 0.7
    assert result["l2"] == space["l2"]


@pytest.mark.parametrize(
    ("name", "dimension", "says"),
    [
        ("max_leafs", Dimension(low=1, high=2), "max_leafs"),
        ("max_leaves", Dimension(low=0.5, high=2.0), "whole numbers"),
        ("kind", Dimension(choices=("c",)), "gives 'c'"),
        ("kind", Dimension(low=1, high=2), "not one of its choices"),
        ("features", Dimension(choices=("all",)), "takes numbers"),
    ],
)
def test_a_range_that_a_setting_cannot_take_is_refused(name, dimension, says):
    with pytest.raises(BadParams, match=says):
        narrow(FAMILIES["forest"].space | SPACES["deep"], {name: dimension}, "forest")


def test_a_score_that_is_good_enough_ends_it(tmp_path):
    assert len(run(tmp_path / "l.journal", early_stop=EarlyStop(score=0.7))) == 1


def test_trials_without_gain_end_it(tmp_path):
    trials = run(tmp_path / "m.journal", trials=50, early_stop=EarlyStop(trials=6, gain=0.001))
    assert len(trials) < 50
    scores = [t.score or 0.0 for t in trials]
    assert max(scores) - max(scores[:-6]) <= 0.001


def test_time_for_what_follows_is_kept(tmp_path):
    def slow(candidate, report, seconds):
        time.sleep(0.02)
        return Result(1.0)

    given = {"trials": None, "seconds": 10.0, "goal": slow}
    assert len(run(tmp_path / "n.journal", reserve=lambda _: 9.99, **given)) == 1


def test_families_of_the_better_half_get_the_time_that_is_left_and_others_a_third():
    trials = [
        Trial(0, "deep", {}, "complete", 0.9),
        Trial(1, "flat", {}, "complete", 0.5),
        Trial(2, "odd", {}, "pruned"),
        Trial(3, "low", {}, "complete", 0.1),
    ]
    shares = {"deep": 9.0, "flat": 9.0, "low": 3.0, "odd": 3.0, "new": 3.0}
    assert {f: time_share(f, trials, 9.0, maximise=True) for f in shares} == shares
    assert time_share("low", trials, 9.0, maximise=False) == 9.0
    assert time_share("deep", [], 9.0, maximise=True) == 3.0


def test_a_family_that_is_too_dear_leaves_the_time_to_the_others(tmp_path):
    def uneven(candidate, report, seconds):
        time.sleep(0.5 if candidate.family == "deep" else 0.01)
        return Result(float(candidate.family == "flat"))

    trials = run(tmp_path / "p.journal", trials=None, seconds=1.2, goal=uneven)
    families = [t.family for t in trials]
    assert families[:2] == ["flat", "deep"]
    # A second trial of the dear one would take more than a third of what is left.
    assert set(families[2:]) == {"flat"}
    assert len(families) > 12, "and the search goes on to its end"


def test_predictions_of_trials_are_stored_by_number(tmp_path):
    def predicting(candidate, report, seconds):
        return Result(1.0, None, np.full(3, len(candidate.settings), np.float32))

    run(tmp_path / "o.journal", trials=2, goal=predicting)
    kept = Journal.open(tmp_path / "o.journal", "maximize", Silent()).artifacts
    assert [kept.read_prediction(n).tolist() for n in (0, 1)] == [[1.0] * 3, [2.0] * 3]
    assert kept.read_prediction(2) is None


def test_first_choices_take_turns_and_stay_in_the_ranges():
    portfolios = {"flat": [{}, {"x": 2.0}, {"x": 0.5}], "deep": [{}, {"kind": "b"}]}
    found = first_choices(SPACES, portfolios, max_candidates=9)
    assert [(c.family, c.settings) for c in found] == [
        ("flat", {"x": 0.5}),
        ("deep", {"n": 10, "kind": "a"}),
        ("flat", {"x": 1.0}),
        ("deep", {"n": 10, "kind": "b"}),
    ]
    assert len(first_choices(SPACES, portfolios, max_candidates=1)) == 2
    assert found[0] == Candidate("flat", {"x": 0.5})
