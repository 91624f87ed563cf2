"""Long texts in a new project's YAML."""

import time

from ruamel.yaml import YAML

from mlops_cli.scaffold.yaml_text import scalar

LONG = "CAST(CAST(year AS BIGINT) * 10000 + " * 40 + "1 AS VARCHAR), '%Y%m%d')"


def test_a_long_text_is_written_in_a_moment_and_read_as_it_was():
    begun = time.process_time()
    for text in (LONG, "a" * 5_000 + "#", "mean radius (mm) " * 300 + ":"):
        assert YAML(typ="safe").load(f"x: {scalar(text)}")["x"] == text
    assert time.process_time() - begun < 2
    assert [scalar(t) for t in ("a", "a)", "mean (x)", "a b_", "a-", "1a", "a ", "no")] == [
        "a",
        "a)",
        "mean (x)",
        "a b_",
        "'a-'",
        "'1a'",
        "'a '",
        "'no'",
    ]
