"""`mlops monitor` on a real event log: windows, versions, labels, files and alerts."""

import datetime as dt
import http.server
import json
import socketserver
import sqlite3
import subprocess
import threading
from contextlib import contextmanager
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from trained_projects import make_params, train_project

from mlops_cli.cli.app import main
from mlops_cli.errors import BadParams, MlopsError, NotFound, SourceUnreadable
from mlops_cli.evaluation import stage as evaluate
from mlops_cli.events import Label, Prediction, open_events
from mlops_cli.layout import ROW, TARGET, TIME
from mlops_cli.models import bundle as bundles
from mlops_cli.monitoring.alerts import send_alerts
from mlops_cli.monitoring.findings import MonitoringFinding
from mlops_cli.monitoring.history import MonitoringHistory
from mlops_cli.monitoring.html_report import html
from mlops_cli.monitoring.monitor import MonitorOptions, monitor
from mlops_cli.monitoring.prometheus import write
from mlops_cli.registry import stage as register
from mlops_cli.reporting import Silent
from mlops_cli.retraining.trigger import retrain_trigger

START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
RULES = {"min_rows": 100, "min_labels": 100, "slices": ["kind"], "window": "30d", "joint": False}


def table(n, seed, *, strength=1.0, **changed):
    """Rows of a simple truth, in the shape that ``trained_projects`` fits."""
    rng = np.random.default_rng(seed)
    columns = {f"x{i}": rng.normal(0, 1, n) for i in range(6)}
    odds = strength * (1.5 * columns["x0"] + columns["x1"]) - 0.3
    yes = rng.random(n) < 1 / (1 + np.exp(-odds))
    frame = pl.DataFrame(columns).with_columns(
        pl.Series(TARGET, np.where(yes, "yes", "no")),
        pl.Series(TIME, [START + dt.timedelta(minutes=10 * i) for i in range(n)]),
        pl.int_range(n, dtype=pl.UInt32).alias(ROW),
        pl.Series("site", np.where(np.arange(n) % 3 == 0, "north", "south")),
        pl.Series("kind", rng.choice(["a", "b"], n)),
    )
    return frame.with_columns(**changed)


def settings(**more):
    return make_params("binary", monitor=RULES | more, evaluate={"resamples": 40})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A registered bundle of a model that predicts well."""
    layout = train_project(tmp_path_factory.mktemp("m"), "binary", table=table(4000, 0), rounds=40)
    evaluate.run(settings(), layout, Silent())
    register.run(settings(), layout, Silent())
    subprocess.run(["git", "init", "--quiet"], cwd=layout.root, check=True)
    return layout


@pytest.fixture
def layout(made):
    """With nothing in its log yet."""
    for path in (made.work / "monitor").glob("*"):
        path.unlink()
    for path in made.work.glob("events.sqlite*"):
        path.unlink()
    return made


def log(layout, frame, *, version="workspace", name="p", labels=True, role="answered"):
    """Write what a service would have."""
    bundle = bundles.load(layout.model)
    features = frame.select(list(bundle.encoder.kinds)).rows()
    events = open_events(None, layout)
    predictions, told = [], []
    output = bundle.predict(frame).tolist()
    for i, (row, shares) in enumerate(zip(features, output, strict=True)):
        at = frame[TIME][i].timestamp()
        classes = bundle.labels.classes
        answer = {"prediction": classes[int(np.argmax(shares))]}
        answer["probabilities"] = dict(zip(classes, shares, strict=True))
        predictions.append(
            Prediction(
                f"{name}{i}",
                at,
                at,
                version,
                role,
                None,
                "{}",
                json.dumps(row),
                json.dumps(answer),
                2.0,
            )
        )
        told.append(label(f"{name}{i}", frame[TARGET][i], at + 60))
    events.write(predictions, told if labels else [])
    events.close()


def label(name, value, at):
    return Label(name, name, None, None, json.dumps(value), at)


def run(layout, rules=None, **wanted):
    wanted = MonitorOptions(**({"version": "workspace"} | wanted))
    return monitor(settings(**(rules or {})), layout, wanted, Silent())


def sentences(report, means=None):
    return " ".join(
        f.sentence for f in report.evaluation.findings if means is None or f.severity == means
    )


def test_an_undisturbed_window_has_no_finding_and_is_recorded(layout):
    log(layout, table(2000, 1))
    report = run(layout)
    assert report.status == "ok", sentences(report)
    facts = report.evaluation.results
    assert facts["rows"] == 2000
    assert facts["performance"]["coverage"] == 1.0
    assert facts["latency"]["p50"] == 2.0
    [kept] = MonitoringHistory(layout).verdicts()
    assert kept["status"] == "ok"
    assert kept["figures"].keys() == facts["performance"]["figures"].keys()
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["format"] == 1


def test_what_changed_is_found_and_is_the_reason_to_retrain(layout):
    log(layout, table(2000, 1, strength=0.0, x2=pl.lit(None, dtype=pl.Float64)))
    report = run(layout)
    assert report.status == "drift and degraded"
    assert "x2" in sentences(report, "drift")
    assert "roc_auc" in sentences(report, "degraded")
    now = dt.datetime(2024, 4, 1, tzinfo=dt.UTC)
    need = retrain_trigger(settings(), layout, None, now, "workspace")
    assert need.reason.startswith("monitor found drift and degraded: roc_auc")
    assert retrain_trigger(settings(), layout, None, now, "v9.0.0").reason is None
    only = settings().model_copy(
        update={"retrain": settings().retrain.model_copy(update={"when": ("drift",)})}
    )
    assert "degraded" not in retrain_trigger(only, layout, None, now, "workspace").reason


def test_windows_are_by_request_time_or_event_time(layout):
    log(layout, table(2000, 1))
    since, until = (START + dt.timedelta(minutes=10 * i) for i in (500, 1500))
    for time in ("request", "moment"):
        report = run(layout, {"time": time}, since=since, until=until)
        assert report.evaluation.results["rows"] == 1000
        assert report.evaluation.results["window"]["first"] == since.isoformat()


def test_the_last_label_of_a_prediction_counts_and_others_are_counted(layout):
    frame = table(1000, 1)
    log(layout, frame)
    late = frame[TIME][-1].timestamp() + 1000
    events = open_events(None, layout)
    wrong = [
        label(f"p{i}", "no" if frame[TARGET][i] == "yes" else "yes", late) for i in range(1000)
    ]
    events.write([], [*wrong, label("nobody", "yes", late), label("p3", "blue", late + 1)])
    events.close()
    report = run(layout)
    assert "degraded" in report.problems
    facts = report.evaluation.results
    assert facts["labels"] == {"contradicting": 1001, "unknown": 1}
    assert facts["performance"]["labelled"] == 999
    assert "1 label of none of the model's classes" in sentences(report, "warning")


def test_versions_in_one_window_are_judged_each_by_itself(layout):
    log(layout, table(1000, 1))
    log(layout, table(300, 2, strength=0.0), version="v0.7.0", name="q")
    report = run(layout, version=None, until=None)
    assert (report.version, report.status) == ("workspace", "ok")
    assert [tuple(m) for m in report.version_counts] == [
        ("workspace", "answered", 1000), ("v0.7.0", "answered", 300)]  # fmt: skip
    assert "v0.7.0 made 300 predictions and isn't judged" in (
        report.other_versions["v0.7.0"].findings[0].sentence
    )


def test_future_predictions_are_reported_and_excluded(layout):
    log(layout, table(500, 1))
    ahead = dt.datetime.now(dt.UTC) + dt.timedelta(days=3)
    frame = table(200, 2).with_columns(pl.lit(ahead).cast(pl.Datetime("us", "UTC")).alias(TIME))
    log(layout, frame, name="q")
    report = run(layout)
    assert report.evaluation.results["rows"] == 500
    assert "200 predictions have a time in the future" in sentences(report, "warning")


def test_rows_of_another_signature_are_counted_and_left_out(layout):
    log(layout, table(500, 1))
    at = START.timestamp() + 5
    odd = [
        Prediction("odd1", at, at, "workspace", "answered", None, "{}", "[1]", "{}", 1.0),
        Prediction("odd2", at, at, "workspace", "answered", None, "{}",
                   json.dumps([1.0] * 6 + ["a"]), '{"prediction": 3}', 1.0),
    ]  # fmt: skip
    events = open_events(None, layout)
    events.write(odd, [])
    events.close()
    report = run(layout)
    assert report.evaluation.results["rows"] == 500
    assert "2 predictions don't have the 7 features" in sentences(report, "warning")


@pytest.mark.parametrize("rows", [0, 1])
def test_an_empty_log_or_one_row_is_not_judged(layout, rows):
    log(layout, table(1, 1)[:rows])
    report = run(layout)
    assert (report.status, report.problems) == ("not judged", ())
    assert html(report.to_json(), report.previous_verdicts)


def test_all_values_new_are_drift(layout):
    log(layout, table(1000, 1, kind=pl.lit("zzz")), labels=False)
    report = run(layout)
    assert report.problems == ("drift",)
    assert "kind" in sentences(report, "drift")
    assert "No prediction of the window has a label yet" in sentences(report)


def test_without_a_log_or_version_it_says_so(layout):
    with pytest.raises(NotFound, match="no event log"):
        run(layout)
    log(layout, table(10, 1))
    with pytest.raises(MlopsError):
        run(layout, version="v8.0.0")
    with pytest.raises(BadParams, match=r"monitor\.slices names 'colour'"):
        run(layout, {"slices": ["colour"]})
    assert MonitoringHistory(layout).verdicts() == []


def test_a_database_that_goes_away_leaves_no_verdict(layout, monkeypatch):
    log(layout, table(500, 1))
    from mlops_cli.events.sqlite import SqliteRows

    asked = SqliteRows.query

    def dropped(self, statement, values):
        # As if somebody had removed the table between two pages.
        if "features" in statement:
            with sqlite3.connect(layout.events) as db:
                db.execute("DROP TABLE predictions")
        return asked(self, statement, values)

    monkeypatch.setattr(SqliteRows, "query", dropped)
    with pytest.raises(SourceUnreadable, match="can't be used"):
        run(layout)
    assert MonitoringHistory(layout).verdicts() == []


def test_a_line_that_a_kill_cut_off_hurts_no_other(layout):
    verdicts = MonitoringHistory(layout)
    verdicts.add({"version": "v1"})
    history = layout.work / "monitor" / "history.jsonl"
    with history.open("a") as file:
        file.write('{"format": 1, "versi')
    verdicts.add({"version": "v2"})
    assert [entry["version"] for entry in verdicts.verdicts()] == ["v1", "v2"]
    assert verdicts.latest_verdict("v2")["version"] == "v2"
    assert verdicts.latest_verdict("v1")["version"] == "v1"


# -- files -----------------------------------------------------------------------------------


class Checker(HTMLParser):
    """Every tag is closed, and nothing is fetched or run."""

    VOID = frozenset({"meta", "br"})

    def __init__(self):
        super().__init__()
        self.open, self.texts = [], []

    def handle_starttag(self, tag, attributes):
        """Nothing that fetches or runs."""
        assert tag not in {"script", "link", "img", "iframe", "object"}
        assert not {"src", "href"} & {name for name, _ in attributes}
        assert not any(name.startswith("on") for name, _ in attributes)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        """Closed by itself."""

    def handle_endtag(self, tag):
        """The one that was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """What people read."""
        self.texts.append(data)


def test_the_html_page_is_complete_and_needs_no_network(layout):
    evil = "<script>alert(1)</script>"
    log(layout, table(1500, 1, strength=0.0, kind=pl.lit(evil)))
    run(layout)
    report = run(layout)
    text = html(report.to_json(), report.previous_verdicts)
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert "<script>" not in text
    told = " ".join(checker.texts)
    for said in ("Findings", "Performance", "Over time", "Calibration", "Drift", "By slice"):
        assert said in told
    assert "roc_auc from window to window" in told


def test_the_text_file_is_read_by_prometheus_own_parser(layout, tmp_path):
    from prometheus_client.parser import text_string_to_metric_families

    log(layout, table(1500, 1, strength=0.0))
    write(run(layout).to_json(), tmp_path / "mlops.prom")
    families = text_string_to_metric_families((tmp_path / "mlops.prom").read_text())
    samples = {(s.name, *s.labels.values()): s.value for f in families for s in f.samples}
    by_name = {name for name, *_ in samples}
    assert {"mlops_monitor_found", "mlops_monitor_metric", "mlops_monitor_drift"} <= by_name
    found = {key[-1]: value for key, value in samples.items() if key[0] == "mlops_monitor_found"}
    assert found == {"drift": 0.0, "degraded": 1.0}
    assert [path.name for path in tmp_path.iterdir()] == ["mlops.prom"]


# -- alerts ----------------------------------------------------------------------------------


@contextmanager
def webhook(status=200):
    """A real HTTP server on loopback, and what it was sent."""
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/secret-path", got
        server.shutdown()


@contextmanager
def mailbox():
    """A small SMTP server on loopback, and the messages that it took."""
    got = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline():
                word = line.split()[0].upper()
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    lines = []
                    while (part := self.rfile.readline()) != b".\r\n":
                        lines.append(part)
                    got.append(b"".join(lines).decode())
                    self.wfile.write(b"250 taken\r\n")
                elif word == b"QUIT":
                    self.wfile.write(b"221 bye\r\n")
                    return
                else:
                    self.wfile.write(b"250 fine\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], got
        server.shutdown()


def test_each_finding_is_sent_once_to_each_channel_until_it_ends(layout, monkeypatch):
    log(layout, table(1000, 1, strength=0.0))
    with webhook() as (url, plain), webhook() as (slack, formatted), mailbox() as (port, mails):
        monkeypatch.setenv("MLOPS_ALERT_WEBHOOK", url)
        monkeypatch.setenv("MLOPS_ALERT_SLACK", slack)
        email = {"to": ["ann@example.org"], "sender": "bot@example.org", "host": "127.0.0.1"}
        rules = settings(alerts={"email": email | {"port": port}}).monitor.alerts
        report = run(layout)
        count = sum(f.severity == "degraded" for f in report.evaluation.findings)
        told = send_alerts(rules, layout, report)
        assert told == [("webhook", count, None), ("slack", count, None), ("e-mail", count, None)]
        assert send_alerts(rules, layout, run(layout)) == []
        [content] = plain
        assert (content["model"], content["status"]) == ("model", "degraded")
        assert len(content["findings"]) == count
        assert formatted[0]["text"] == "model workspace: degraded"
        assert "roc_auc" in formatted[0]["blocks"][1]["text"]["text"]
        assert "Subject: model workspace: degraded" in mails[0]
        assert "roc_auc" in mails[0]
        # It is over, and comes back.
        good = table(2000, 5).with_columns(pl.col(TIME) + dt.timedelta(days=60))
        log(layout, good, name="good")
        assert send_alerts(rules, layout, run(layout)) == []
        assert send_alerts(rules, layout, run(layout, until=START + dt.timedelta(days=30))) != []


def test_a_lasting_finding_is_sent_again_after_repeat(layout, monkeypatch):
    from dataclasses import replace

    log(layout, table(1000, 1, strength=0.0))
    report = run(layout)
    with webhook() as (url, got):
        monkeypatch.setenv("MLOPS_ALERT_WEBHOOK", url)
        rules = settings(alerts={"repeat": "7d"}).monitor.alerts
        for days, told in ((0, 1), (6, 1), (8, 2), (9, 2)):
            send_alerts(
                rules, layout, replace(report, run_at=report.run_at + dt.timedelta(days=days))
            )
            assert len(got) == told


def test_a_failed_channel_is_named_without_its_secret_and_tried_again(layout, monkeypatch):
    log(layout, table(1000, 1, strength=0.0))
    report = run(layout)
    rules = settings().monitor.alerts
    with webhook(status=500) as (url, _):
        monkeypatch.setenv("MLOPS_ALERT_WEBHOOK", url)
        [(channel, count, trouble)] = send_alerts(rules, layout, report)
    assert (channel, count) == ("webhook", 0)
    assert "MLOPS_ALERT_WEBHOOK" in trouble
    assert "500" in trouble
    assert "secret" not in trouble
    [(_, _, trouble)] = send_alerts(rules, layout, report)
    assert "refused" in trouble
    assert "secret" not in trouble
    with webhook() as (url, got):
        monkeypatch.setenv("MLOPS_ALERT_WEBHOOK", url)
        send_alerts(rules, layout, report)
        assert len(got) == 1


def test_a_finding_is_the_same_whatever_its_figures():
    one = MonitoringFinding("drift", "drift", "KS 0.2", "x", {"of": "inputs"})
    assert one.key == MonitoringFinding("drift", "drift", "KS 0.3", "x").key
    assert MonitoringFinding.from_json(json.loads(json.dumps(one.to_json()))) == one


# -- the command -----------------------------------------------------------------------------


PARAMS = """\
project: {name: p, seed: 7}
task: {type: binary}
ingest: {sources: {t: {uri: t.csv}}}
featurize: {base: t, target: y}
register: {name: model}
monitor: {min_rows: 100, min_labels: 100, joint: false}
"""


@pytest.mark.parametrize(
    ("fail_on", "code"),
    [("drift,degraded", 11), ("drift", 10), ("degraded", 11), ("none", 0), ("drfit", 2)],
)
def test_exit_codes_say_what_was_found(layout, monkeypatch, capsys, tmp_path, fail_on, code):
    log(layout, table(2000, 1, strength=0.0, kind=pl.lit("zzz")))
    layout.params.write_text(PARAMS)
    monkeypatch.chdir(layout.root)
    page, text = tmp_path / "report.html", tmp_path / "mlops.prom"
    words = ["monitor", "-v", "workspace", "--fail-on", fail_on, "--json"]
    assert main([*words, "--html", str(page), "--prometheus", str(text)]) == code
    out, said = capsys.readouterr()
    if code == 2:
        assert "Did you mean 'drift'?" in said
        assert not page.exists()
        return
    told = json.loads(out)
    assert told["status"] == "drift and degraded"
    assert "drift and degraded" in page.read_text()
    assert text.read_text().startswith("# HELP")


def test_the_terminal_shows_findings_as_sentences(layout, monkeypatch, capsys):
    log(layout, table(2000, 1, strength=0.0))
    layout.params.write_text(PARAMS)
    monkeypatch.chdir(layout.root)
    with webhook() as (url, _):
        monkeypatch.setenv("MLOPS_ALERT_WEBHOOK", url)
        assert main(["monitor", "-v", "workspace", "--since", "2024-03-05"]) == 11
    out, said = capsys.readouterr()
    assert out.startswith("degraded model@workspace: ")
    assert "roc_auc is " in out
    assert "expected without labels" in out
    assert "sent 1 finding to webhook" in said


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/services/T0/SECRET token", "garbage", "http://127.0.0.1:1/SECRET"]
)
def test_the_verdict_and_its_code_stand_whatever_a_channel_does(layout, monkeypatch, capsys, url):
    log(layout, table(2000, 1, strength=0.0))
    layout.params.write_text(PARAMS)
    monkeypatch.chdir(layout.root)
    monkeypatch.setenv("MLOPS_ALERT_WEBHOOK", url)
    with webhook(status=302) as (slack, _):
        monkeypatch.setenv("MLOPS_ALERT_SLACK", slack)
        assert main(["monitor", "-v", "workspace", "--json"]) == 11
    out, said = capsys.readouterr()
    assert json.loads(out)["status"] == "degraded"
    assert "! could not notify webhook: " in said
    assert "! could not notify slack: " in said, "the others are told although one failed"
    assert "SECRET" not in said
    assert "secret" not in said


def test_findings_are_sent_again_if_the_history_of_alerts_is_unreadable(layout, monkeypatch):
    log(layout, table(1000, 1, strength=0.0))
    report = run(layout)
    MonitoringHistory(layout).record_sent(
        {"odd": "x", "webhook|model@workspace|" + "z" * 9: "never"}
    )
    with webhook() as (url, got):
        monkeypatch.setenv("MLOPS_ALERT_WEBHOOK", url)
        assert send_alerts(settings().monitor.alerts, layout, report)[0][2] is None
        assert len(got) == 1
