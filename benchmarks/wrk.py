"""Load by wrk: bodies in turn, at full speed or at a given rate, with a log of the responses."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Load", "LoadResult", "require_wrk", "wait_for_result"]

# Requests are made before the load begins, because wrk shares the machine with the service.
LUA = """
local requests, at, pause = {}, 0, %(pause)s
math.randomseed(os.time())
init = function()
  for line in io.lines("%(bodies)s") do
    requests[#requests + 1] = wrk.format("POST", nil, {["content-type"] = "%(type)s"}, line)
  end
end
request = function()
  at = at %% #requests + 1
  return requests[at]
end
"""
# wrk calls `delay` before each request of a connection. A random delay prevents connections from
# sending at the same time. It is shorter if fewer requests were sent than the rate says, and longer
# if more were sent. Lua's own clock counts whole seconds, which would cause a burst each second.
DELAY = """
local ffi = require("ffi")
ffi.cdef("typedef struct { long s; long ns; } moment; int clock_gettime(int, moment *);")
local clock, MONOTONIC = ffi.new("moment"), 1
local function now()
  ffi.C.clock_gettime(MONOTONIC, clock)
  return tonumber(clock.s) + tonumber(clock.ns) / 1e9
end
local began, sent
delay = function()
  began, sent = began or now(), (sent or 0) + 1
  local behind = now() - began - sent / %(rate)s
  return math.random(0, math.floor(2 * pause * math.max(0, math.min(2, 1 - behind))))
end
"""
RESPONSE_LOG = """
local log = io.open("%(response_log)s", "w")
response = function(status, headers, body)
  if status == 200 then
    log:write(body:match('"id":"([^"]+)"') or "no id", "\\n")
  else
    log:write("failed ", status, " ", body:gsub("\\n", " "), "\\n")
  end
end
"""


@dataclass(frozen=True)
class LoadResult:
    """Requests a second, percentiles in milliseconds, and the numbers of socket errors."""

    rate: float
    p50: float
    p99: float
    refused: int
    broken: int


@dataclass(frozen=True)
class Load:
    """A load on one URL.

    Attributes
    ----------
    bodies
        A file with one body on each line.
    rate
        Requests a second; None for the maximum. Each connection waits for its response before it
        sends the next request, so the rate is lower if responses are slow.
    latency
        Approximate milliseconds of a response, which are subtracted from a connection's pause.
    response_log
        File for the id of each prediction, and for each response with another status than 200.
    """

    url: str
    bodies: Path
    connections: int
    seconds: float
    rate: float | None = None
    latency: float = 0.0
    response_log: Path | None = None
    type: str = "application/json"

    def start(self, folder: Path) -> subprocess.Popen[str]:
        """Start wrk; its script is written to ``folder``."""
        pause = 0.0
        if self.rate is not None:
            pause = max(1e3 * self.connections / self.rate - self.latency, 0.0)
        values = {
            "bodies": self.bodies, "pause": pause, "rate": self.rate,
            "response_log": self.response_log, "type": self.type,
        }  # fmt: skip
        lua = (
            LUA % values
            + (DELAY % values if pause else "")
            + (RESPONSE_LOG % values if self.response_log else "")
        )
        script = folder / f"wrk-{abs(hash(self))}.lua"
        script.write_text(lua)
        command = ["wrk", "-t1", f"-c{self.connections}", f"-d{self.seconds:.0f}s", "--latency"]
        command += ["--timeout", "30s", "-s", str(script), self.url]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def run(self, folder: Path) -> LoadResult:
        """Run wrk to its end."""
        return wait_for_result(self.start(folder))


def wait_for_result(process: subprocess.Popen[str]) -> LoadResult:
    """Wait for wrk, and parse its output; exit with an error if a response wasn't a success."""
    text = process.communicate()[0]
    if process.returncode or "Non-2xx" in text:
        sys.exit(f"some requests failed:\n{text}")
    errors = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    connect, *others = map(int, errors.groups()) if errors else (0, 0)
    rate = float(_search(r"Requests/sec:\s+([0-9.]+)", text))
    return LoadResult(rate, _percentile("50", text), _percentile("99", text), connect, sum(others))


def require_wrk() -> None:
    """Exit with an error message if wrk isn't installed."""
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed (Debian: apt-get install wrk)")


def _search(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        sys.exit(f"unexpected output of wrk:\n{text}")
    return match[1]


def _percentile(name: str, text: str) -> float:
    number, unit = re.search(rf"{name}%\s+([0-9.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}[unit]
