"""A page over the loopback interface: one file, read anew at each request, and nothing else."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ..checkpoint import atomic

HERE = "127.0.0.1"
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # which the page itself cannot say
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Server(ThreadingHTTPServer):
    """Serves a file at an address that cannot be guessed, to who asks this host for it by name.

    A page elsewhere that has its own name point here sends that name as Host, and is refused.
    """

    daemon_threads = True

    def __init__(self, file: Path) -> None:
        super().__init__((HERE, 0), Handler)
        self.file = file
        self.place = f"/{secrets.token_urlsafe(12)}/{file.name}"
        self.hosts = {f"{name}:{self.server_address[1]}" for name in (HERE, "localhost")}

    @property
    def address(self) -> str:
        """Return where a browser finds the page."""
        return f"http://{HERE}:{self.server_address[1]}{self.place}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away."""


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD; every other method is refused by the base class."""

    server: Server
    timeout = 10.0
    server_version, sys_version = "genctl", ""

    def do_GET(self) -> None:
        """Answer with the page."""
        self.answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer with the page's headers."""
        self.answer(with_body=False)

    def answer(self, with_body: bool) -> None:
        """Send the page to who asks for it by this host's name, else an error."""
        if self.headers.get_all("Host") not in [[host] for host in self.server.hosts]:
            return self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        if self.path != self.server.place:
            return self.send_error(HTTPStatus.NOT_FOUND)
        try:
            content = atomic.read(self.server.file)
        except OSError:
            return self.send_error(HTTPStatus.NOT_FOUND)
        self.send_response(HTTPStatus.OK)
        for name, value in {**HEADERS, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)
        return None

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""
