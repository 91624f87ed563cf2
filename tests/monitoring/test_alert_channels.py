"""Alert channels: an alert arrives or the failure is reported, without secrets."""

import http.server
import json
import socketserver
import threading
from contextlib import contextmanager

import pytest

from mlops_cli.errors import BadParams, MlopsError, SourceUnreadable
from mlops_cli.monitoring import alert_channels
from mlops_cli.params.monitor import Email

SECRET = "T0-SECRET-token"  # noqa: S105 - opens nothing
VARIABLE = "MLOPS_ALERT_WEBHOOK"


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    """Servers here are near."""
    monkeypatch.setattr(alert_channels, "_TIMEOUT", 0.5)


@contextmanager
def answering(*parts, hold=False):
    """A server on loopback that answers each connection with these bytes, whatever it is sent."""
    asked, done = [], threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            asked.append(self.request.recv(65_536))
            for part in parts:
                try:
                    self.request.sendall(part)
                except OSError:
                    return
                if hold and done.wait(0.05):
                    return

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/services/{SECRET}", asked
        done.set()
        server.shutdown()


def trouble(url):
    """What is said of a webhook that can't be told."""
    with pytest.raises(MlopsError) as raised:
        alert_channels.post(url, {"text": "x"}, VARIABLE)
    error = raised.value
    said = f"{error.message} {error.hint} {error.__cause__!r} {error.__context__!r}"
    assert VARIABLE in said
    assert SECRET not in said
    assert "services" not in said
    return error


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/services/T0/SECRET token",
        f"http://127.0.0.1:9/services/{SECRET}\r\nX-Evil: 1",
        f"http://127.0.0.1:9/services/{SECRET}\x00",
        f"http://127.0.0.1:9/services/{SECRET}/é",
        f"http://bücher.example/services/{SECRET}",
        f"http://{SECRET}:services@127.0.0.1:9/",
        f"http://127.0.0.1:{SECRET}/services",
        f"http://127.0.0.1:99999/services/{SECRET}",
        f"http://[::1/services/{SECRET}",
        f"http:///services/{SECRET}",
        f"file:///services/{SECRET}",
        f"services/{SECRET}",
    ],
)
def test_what_is_no_url_is_refused_without_showing_it(url):
    error = trouble(url)
    assert isinstance(error, BadParams)
    assert "SECRET" not in error.message


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"\x00\xff garbage\r\n\r\n", "BadStatusLine"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 200 + b"\r\n", "HTTPException"),
        (b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * 70_000 + b"\r\n\r\n", "LineTooLong"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "IncompleteRead"),
        (b"", "RemoteDisconnected"),
        (b"HTTP/1.1 404 services " + SECRET.encode() + b"\r\n\r\n", "it answered 404"),
        (b"HTTP/1.1 500 \x1b[31m\r\nContent-Length: 0\r\n\r\n", "it answered 500"),
        (b"HTTP/1.1 302 Found\r\nLocation: /services\r\nContent-Length: 0\r\n\r\n", "a redirect"),
        (b"HTTP/1.1 307 Go\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n", "a redirect"),
    ],
    ids=["garbage", "headers", "line", "chunks", "nothing", "404", "500", "302", "307"],
)
def test_an_odd_answer_is_a_failure_in_one_sentence(answer, said):
    with answering(answer) as (url, asked):
        error = trouble(url)
        assert isinstance(error, SourceUnreadable)
        assert said in error.message
        assert "\x1b" not in error.message
        assert f"({url.partition('/services')[0]}/***)" in error.message
        assert len(asked) == 1, "a redirect isn't followed"


def test_an_endless_answer_is_cut(monkeypatch):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n"
    with answering(head, b"x" * 200_000) as (url, _):
        alert_channels.post(url, {}, VARIABLE)  # its status says that it took it
    monkeypatch.setattr(alert_channels, "_DEADLINE", 0.3)
    with answering(*[b"HTTP/1.1"[i % 8 : i % 8 + 1] for i in range(200)], hold=True) as (url, _):
        assert "it took longer than" in trouble(url).message


def test_a_server_that_is_silent_is_given_up():
    with answering(*[b""] * 40, hold=True) as (url, _):
        assert "it was silent for" in trouble(url).message


def test_a_webhook_that_speaks_tls_elsewhere_is_named():
    with answering(b"HTTP/1.1 200 OK\r\n\r\n") as (url, _):
        assert "no secure connection" in trouble(url.replace("http:", "https:")).message


def test_what_the_content_holds_is_sent_as_ascii():
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        # A line's end after a URL is how a secret often comes from a file.
        alert_channels.post(
            f"http://127.0.0.1:{server.server_port}/x\n", {"a": "é\ud800"}, VARIABLE
        )
        server.shutdown()
    assert json.loads(got[0]) == {"a": "é\ud800"}


# E-mail.


@contextmanager
def mail_server(**answers):
    """A small SMTP server on loopback, and the lines that it was sent."""
    got = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(answers.get("greeting", b"220 here\r\n"))
            data = False
            while line := self.rfile.readline():
                got.append(line.decode())
                word = line.split()[0].decode().upper() if line.split() else ""
                if data:
                    data = line != b".\r\n"
                    if not data:
                        self.wfile.write(b"250 taken\r\n")
                elif word == "DATA":
                    data = True
                    self.wfile.write(b"354 go on\r\n")
                elif word == "RCPT" and answers.get("refuse", b"-") in line:
                    self.wfile.write(b"550 no such " + line)
                else:
                    self.wfile.write(answers.get(word.lower(), b"250 fine\r\n"))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1], got
        server.shutdown()


def email(**more):
    """Rules for e-mail to a server on loopback."""
    rules = {"to": ["ann@example.org"], "sender": "bot <bot@example.org>", "host": "127.0.0.1"}
    return Email(**(rules | more))


def test_a_subject_is_one_line_and_adds_no_header():
    with mail_server() as (port, got):
        subject = "shop v1\r\nBcc: eve@example.org\r\n\r\nbody \x1b[31m \x00 \ud800"
        assert (
            alert_channels.send(email(port=port), None, subject, "text\ud800 \x00\r\n.\r\nQUIT")
            == 0
        )
    lines = "".join(got)
    assert "rcpt TO:<ann@example.org>\r\n" in lines
    assert lines.count("rcpt") == 1
    head = lines.partition("data\r\n")[2].partition("\r\n\r\n")[0]
    assert [line.partition(":")[0] for line in head.splitlines() if not line.startswith(" ")] == [
        "Subject", "From", "To", "Content-Type", "Content-Transfer-Encoding", "MIME-Version",
    ]  # fmt: skip
    assert "\x1b" not in lines


def test_an_address_that_is_refused_is_counted_and_the_others_are_told():
    to = ["ann@example.org", "bo@example.org"]
    with mail_server(refuse=b"bo@") as (port, _):
        assert alert_channels.send(email(port=port, to=to), None, "s", "t") == 1
    with mail_server(refuse=b"@") as (port, _), pytest.raises(SourceUnreadable, match="550"):
        alert_channels.send(email(port=port, to=to), None, "s", "t")


def test_an_accepted_mail_counts_as_sent_however_the_connection_ends():
    with mail_server(quit=b"500 odd\r\n") as (port, got):
        assert alert_channels.send(email(port=port), None, "s", "t") == 0
    assert "quit\r\n" in got


@pytest.mark.parametrize(
    ("more", "answers"),
    [
        ({}, {"greeting": b"\xff\x00 nonsense\r\n"}),
        ({}, {"greeting": b"554 go away hunter2\r\n"}),
        ({"user": "bot"}, {"ehlo": b"250-here\r\n250 AUTH PLAIN\r\n", "auth": b"535 hunter2\r\n"}),
        ({"user": "bot"}, {}),
        ({"security": "starttls"}, {}),
        ({"security": "starttls"}, {"ehlo": b"250-here\r\n250 STARTTLS\r\n"}),
        ({"security": "tls"}, {}),
        ({"port": 1}, {}),
        ({"host": "no-such-host.invalid"}, {}),
        ({"host": "x" * 80}, {}),
    ],
)
@pytest.mark.parametrize("password", ["hunter2", "hünter2\r\nhunter2"])
def test_mail_that_cannot_be_sent_is_a_sentence_without_the_password(more, answers, password):
    with mail_server(**answers) as (port, _), pytest.raises(SourceUnreadable) as raised:
        alert_channels.send(email(**{"port": port, **more}), password, "s", "t")
    error = raised.value
    said = f"{error.message} {error.hint} {error.__cause__!r} {error.__context__!r}"
    assert "no e-mail could be sent by" in said
    assert "hunter2" not in said
    assert "nter2" not in said


@pytest.mark.parametrize(
    "address",
    ["ann@example.org\nBcc: eve@example.org", "Ann\r\nBcc: e@x <ann@example.org>", "a@b, c@d",
     "ann", "@", "ann@", "", "a b@example.org", "ann@example.org\x00", "a@b\u2028",
     "ä@example.org", "\ud800 <a@b>"],
)  # fmt: skip
def test_what_is_no_address_is_refused_when_params_are_read(address):
    for rules in ({"to": [address]}, {"sender": address}):
        with pytest.raises(ValueError, match="is no e-mail address"):
            email(**rules)


def test_addresses_with_and_without_a_name_are_taken():
    rules = email(to=["root@localhost", "Ann B. <ann@example.org>"], sender="Jörg <j@example.org>")
    assert rules.to == ("root@localhost", "Ann B. <ann@example.org>")
    with mail_server() as (port, got):
        assert alert_channels.send(rules.model_copy(update={"port": port}), None, "s", "t") == 0
    assert "From: =?utf-8?q?J=C3=B6rg?= <j@example.org>\r\n" in got


@pytest.mark.parametrize("host", ["mail.example.org", "localhost.example.org", "10.0.0.1", "::2"])
def test_a_password_goes_nowhere_without_encryption(host):
    with pytest.raises(ValueError, match="without encryption"):
        email(host=host, user="bot")
    assert email(host=host, user="bot", security="starttls").user == "bot"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_a_password_may_go_unencrypted_to_this_machine(host):
    assert email(host=host, user="bot").security == "none"


@pytest.mark.parametrize("host", ["a b", "a\r\nb", "", "http://mail", "a/b", "ä"])
def test_what_is_no_host_is_refused(host):
    with pytest.raises(ValueError, match="is no host"):
        email(host=host)
