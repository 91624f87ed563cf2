"""A few generated hostile clones; `benchmarks/hostile_clones.py` runs thousands."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path

import child_process
import pytest
from clone_mutations import inside, link_, state_, write
from fuzzed_projects import make_project

SEEDS = (0, 8)
CODE = f"""
import json, sys
from pathlib import Path
from fuzzed_clones import fuzz_seeds, import_commands, isolated_copy, run_in_fork
template = Path(sys.argv[1])
import_commands()
plain = run_in_fork(isolated_copy(template, template.parent / "plain"))
broken = [fault for faults, _ in fuzz_seeds(template, range(*{SEEDS})) for fault in faults]
print(json.dumps([plain, broken]))
"""


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory) -> tuple[list, list]:
    """What commands end with on the project as it is, and the faults of hostile clones of it."""
    template = make_project(tmp_path_factory.mktemp("fuzzed") / "template")
    # A process of its own, which has started no threads: it forks.
    plain, broken = json.loads(child_process.output(CODE, str(template)))
    return plain, broken


def test_every_command_works_on_the_project_itself(looked_at: tuple[list, list]) -> None:
    assert [(words, code, wrong) for words, code, _, wrong in looked_at[0]] == [
        (words, 0, []) for words, *_ in looked_at[0]
    ]


def test_a_hostile_clone_reaches_nothing_outside_and_is_refused_in_words(
    looked_at: tuple[list, list],
) -> None:
    assert looked_at[1] == []


@pytest.mark.parametrize("name", ["/etc/passwd", "../canary", "a/../../canary", "away/x", "up/x"])
def test_a_mutation_writes_to_its_own_clone_only(tmp_path: Path, name: str) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / "away").symlink_to("/")
    (clone / "up").symlink_to("..")
    with pytest.raises(ValueError, match="leads out of"):
        write(clone, name, "x")
    assert inside(clone, "sub/x") == clone / "sub" / "x"


def test_links_of_earlier_mutations_are_not_followed_by_later_ones(tmp_path: Path) -> None:
    beside = tmp_path / "canary"
    beside.mkdir()
    for seed in range(200):
        clone = tmp_path / str(seed) / "clone"
        random_ = random.Random(seed)  # noqa: S311
        clone.mkdir(parents=True)
        for name in ("data", "reports", "models", ".mlops", ".dvc", "sub", "remote"):
            if random_.random() < 0.3:
                (clone / name).symlink_to(beside)
        for change in (link_, state_, state_, link_, state_):
            with contextlib.suppress(ValueError, OSError):
                change(clone, random_)
    assert list(beside.iterdir()) == []
