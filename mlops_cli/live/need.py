"""Whether a new model is needed, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_cli.core.moments import as_text
from mlops_cli.live.truth import before

if TYPE_CHECKING:
    import datetime as dt

    from mlops_cli.layout import Layout
    from mlops_cli.params import Params

__all__ = ["found_need"]


def found_need(
    params: Params, layout: Layout, trained: dt.datetime | None, until: dt.datetime
) -> str | None:
    """Why the model in ``retrain.stage`` should be replaced; None: it needn't.

    Parameters
    ----------
    trained
        Up to when its data go.
    until
        Up to when a new one's would.
    """
    _ = layout
    every = params.retrain.every
    if every is not None and trained is not None and trained <= before(until, every):
        return f"the model's data end {as_text(trained)}, over {every} before {as_text(until)}"
    return None
