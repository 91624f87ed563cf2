"""Bare Starlette with uvicorn's fastest loop and parser: python bare.py PORT."""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def _predict(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


app = Starlette(routes=[Route("/predict", _predict, methods=["POST"])])
uvicorn.run(
    app, port=int(sys.argv[1]), log_level="warning", access_log=False, loop="uvloop",
    http="httptools",
)  # fmt: skip
