"""Load by wrk: bodies in turn, at full speed or at a rate, with what was acknowledged kept."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Load", "Measured", "needed"]

# Made before the load begins: wrk shares the machine with what it measures.
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
# wrk asks for a delay before each request of a connection. One that is drawn anew each time keeps
# the connections from marching in step. As each waits for its answer, it is shorter the more
# requests are due by now, and longer where there were too many. Lua's own clock counts whole
# seconds: by that, each second would begin with a burst.
PAUSE = """
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
KEPT = """
local kept = io.open("%(kept)s", "w")
response = function(status, headers, body)
  if status == 200 then
    kept:write(body:match('"id":"([^"]+)"') or "no id", "\\n")
  else
    kept:write("failed ", status, " ", body:gsub("\\n", " "), "\\n")
  end
end
"""


@dataclass(frozen=True)
class Measured:
    """What wrk saw: requests a second, milliseconds, and how many requests failed in a socket."""

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
        A file with one body a line.
    rate
        Requests a second, or None for as many as are answered. Each connection waits for its
        answer before it asks again, so the rate sinks where answers are too slow for it.
    latency
        Milliseconds that an answer takes about, which a connection's pause leaves out.
    kept
        Where the id of each answered prediction is written, and each answer that isn't a 200.
    """

    url: str
    bodies: Path
    connections: int
    seconds: float
    rate: float | None = None
    latency: float = 0.0
    kept: Path | None = None
    type: str = "application/json"

    def start(self, folder: Path) -> subprocess.Popen[str]:
        """Begin, with the script for wrk in a folder."""
        pause = 0.0
        if self.rate is not None:
            pause = max(1e3 * self.connections / self.rate - self.latency, 0.0)
        words = {
            "bodies": self.bodies, "pause": pause, "rate": self.rate,
            "kept": self.kept, "type": self.type,
        }  # fmt: skip
        lua = LUA % words + (PAUSE % words if pause else "") + (KEPT % words if self.kept else "")
        script = folder / f"wrk-{abs(hash(self))}.lua"
        script.write_text(lua)
        command = ["wrk", "-t1", f"-c{self.connections}", f"-d{self.seconds:.0f}s", "--latency"]
        command += ["--timeout", "30s", "-s", str(script), self.url]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def run(self, folder: Path) -> Measured:
        """Run it to its end."""
        return result(self.start(folder))


def result(process: subprocess.Popen[str]) -> Measured:
    """What a wrk says at its end; ends the program when an answer wasn't a success."""
    text = process.communicate()[0]
    if process.returncode or "Non-2xx" in text:
        sys.exit(f"some requests failed:\n{text}")
    errors = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    connect, *others = map(int, errors.groups()) if errors else (0, 0)
    rate = float(_found(r"Requests/sec:\s+([0-9.]+)", text))
    return Measured(rate, _percentile("50", text), _percentile("99", text), connect, sum(others))


def needed() -> None:
    """End with a sentence where wrk is missing."""
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed (Debian: apt-get install wrk)")


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        sys.exit(f"not what wrk writes:\n{text}")
    return match[1]


def _percentile(name: str, text: str) -> float:
    number, unit = re.search(rf"{name}%\s+([0-9.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}[unit]
