"""A proxy before an S3 server, which counts requests and loses answers on purpose."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit


class Request(NamedTuple):
    """A request, as far as tests ask for it."""

    method: str
    path: str
    conditional: bool


class Proxy:
    """Passes requests on.

    Attributes:
        seen: the requests so far.
        lose: asked after a request was carried out whether its answer is to be lost; it may do
            whatever else should happen then.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.seen: list[Request] = []
        self.lose: Callable[[Request], bool] = lambda request: False


@contextmanager
def proxy_to(endpoint: str) -> Iterator[Proxy]:
    """A proxy to an endpoint; its own endpoint is in `.endpoint`."""
    behind = urlsplit(endpoint)
    proxy = Proxy("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            onward = http.client.HTTPConnection(behind.hostname or "", behind.port, timeout=60)
            onward.request(self.command, self.path, body, dict(self.headers))
            answer = onward.getresponse()
            data = answer.read()
            onward.close()
            conditional = "If-Match" in self.headers or "If-None-Match" in self.headers
            request = Request(self.command, self.path, conditional)
            proxy.seen.append(request)
            if proxy.lose(request):
                self.close_connection = True
                return
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            size = answer.getheader("Content-Length") if self.command == "HEAD" else len(data)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    proxy.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
