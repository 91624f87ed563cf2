"""Labels computed from the base source: labels received by id don't count as new."""

from __future__ import annotations

from mlops_cli.events import Label, Prediction, open_events
from mlops_cli.feedback.import_labels import _label_values_by_id
from mlops_cli.layout import Layout

MOMENT = 1_356_998_400.123456


def prediction(number: int, entity: str, role: str = "answered") -> Prediction:
    return Prediction(f"id-{number}", 1e9, MOMENT, "v1", role, entity, "{}", "[]", "{}", 1.0)


def by_id(number: int, value: str) -> Label:
    return Label(f"id-{number}", f"id-{number}", None, None, value, 1e9)


def by_rule(entity: str, value: str) -> Label:
    return Label(f"{entity}|{MOMENT!r}", None, entity, MOMENT, value, 2e9)


def test_labels_by_id_are_found_for_labels_by_entity(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("MLOPS_EVENTS_URL", raising=False)
    layout = Layout(tmp_path)
    events = open_events(None, layout)
    events.write(
        [
            prediction(1, "a"), prediction(2, "a", "shadow"),
            prediction(3, "b"), prediction(4, "b"),
            prediction(5, "c"),
            prediction(6, "d"),
        ],
        [by_id(1, "true"), by_id(3, "true"), by_id(6, "true"), by_rule("d", "false")],
    )  # fmt: skip
    events.close()
    found = _label_values_by_id(layout, [by_rule(entity, "true") for entity in "abcd"])
    assert found == {("a", MOMENT): {"true"}, ("b", MOMENT): {"true", None}, ("c", MOMENT): {None}}
