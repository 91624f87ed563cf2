"""Explanations of wide models: limited memory, and cancellation."""

from __future__ import annotations

import tracemalloc

import numpy as np
import polars as pl
import pytest

from mlops_cli.features.program import FeatureProgram
from mlops_cli.models.bundle import Bundle, Member
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo
from mlops_cli.models.labels import LabelCodec
from mlops_cli.params.featurize import Featurize
from mlops_cli.params.ingest import Ingest
from mlops_cli.serving.scorer import RequestScorer, ScoredRows

WIDTH, ROWS = 300, 1_024


@pytest.fixture(scope="module")
def wide() -> tuple[RequestScorer, ScoredRows]:
    """A scorer of a model with 300 features, and what it says of 1,024 rows."""
    rng = np.random.default_rng(1)
    names = [f"f{i}" for i in range(WIDTH)]
    frame = pl.DataFrame(rng.normal(size=(ROWS, WIDTH)), schema=names)
    target = pl.Series("y", rng.random(ROWS) < 1 / (1 + np.exp(-frame["f0"].to_numpy())))
    rules = Featurize.model_validate(
        {"base": "b", "target": "f0 > 0", "features": {f"x{n}": n for n in names}}
    )
    sources = Ingest.model_validate({"sources": {"b": {"uri": "x"}}})
    program = FeatureProgram.compile(rules, sources, {"b": frame.schema})
    features = program.transform(frame, {"b": frame.lazy()})
    labels, encoder = LabelCodec.fit(target, "binary"), Encoder.fit(features, program.kinds)
    family = FAMILIES["lightgbm"]
    matrix = encoder.transform(features)
    fitted = family.fit(FitRequest(
        matrix, labels.encode(target), TaskInfo("binary", 2, encoder.categorical),
        {name: setting.default for name, setting in family.space.items()}, seed=0, rounds=5,
    ))  # fmt: skip
    bundle = Bundle(
        (Member("lightgbm", fitted),), encoder, labels, "binary", 0.5,
        program=program.to_json(), signature={"inputs": {}},
    )  # fmt: skip
    return RequestScorer(bundle, program, None), ScoredRows(
        {}, matrix, bundle.predict_matrix(matrix), {}
    )


def test_an_explanation_of_300_features_takes_little_memory(
    wide: tuple[RequestScorer, ScoredRows],
) -> None:
    scorer, scored = wide
    tracemalloc.start()
    found = scorer.explain(scored)
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    assert found.shape == (ROWS, WIDTH)
    assert peak < 200, "all at once it is 1,000 MB"
    blanked = scored.matrix[:5].copy()
    blanked[:, 0] = np.nan
    lost = scored.output[:5, 1] - scorer.bundle.predict_matrix(blanked)[:, 1]
    np.testing.assert_array_equal(found[:5, 0], lost)
    assert scorer.explain(ScoredRows({}, scored.matrix[:0], scored.output[:0], {})).shape == (
        0,
        WIDTH,
    )


def test_an_explanation_ends_when_nobody_waits(wide: tuple[RequestScorer, ScoredRows]) -> None:
    scorer, scored = wide
    calls: list[int] = []

    def give_up() -> None:
        calls.append(1)
        if len(calls) > 2:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        scorer.explain(scored, give_up)
    assert len(calls) == 3, "as soon as it is told, not when all is done"
