"""The page over the loopback interface: who asks for anything else, or by another name, gets an error."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from genctl.page.serve import Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "report.html").write_bytes(b"<!doctype html>one")
    (tmp_path / "config.json").write_bytes(b"secret")
    with Server(tmp_path / "report.html") as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def ask(server: Server, path: str, method: str = "GET", host: str | None = None) -> tuple[int, bytes, dict[str, str]]:
    """Return status, content and headers of an answer."""
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers={"Host": (host or "127.0.0.1:PORT").replace("PORT", str(port))})
    answer = connection.getresponse()
    found = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return found


def test_the_page_is_read_anew_at_each_request(server: Server) -> None:
    status, content, headers = ask(server, server.place)
    assert (status, content) == (200, b"<!doctype html>one")
    assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"
    assert "Python" not in headers["Server"]
    server.file.write_bytes(b"two")
    assert ask(server, server.place)[1] == b"two"
    assert ask(server, server.place, "HEAD")[:2] == (200, b"")
    assert ask(server, server.place, host="localhost:PORT")[0] == 200
    server.file.unlink()
    assert ask(server, server.place)[0] == 404


def test_it_listens_to_this_machine_alone_on_a_port_that_was_free(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1" and server.server_address[1] > 1023
    assert server.address == f"http://127.0.0.1:{server.server_address[1]}{server.place}"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:PORT", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:PORT.x"])
def test_another_host_s_requests_are_refused(server: Server, host: str) -> None:
    assert ask(server, server.place, host=host)[0] == 421


@pytest.mark.parametrize("path", ["/", "/report.html", "/config.json", "{}/../config.json", "{}/", "{}?x", "//x{}"])
def test_nothing_else_is_served(server: Server, path: str) -> None:
    status, content, _ = ask(server, path.format(server.place))
    assert status == 404 and b"secret" not in content


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_it_reads_alone(server: Server, method: str) -> None:
    assert ask(server, server.place, method)[0] == 501
    assert server.file.read_bytes() == b"<!doctype html>one"
