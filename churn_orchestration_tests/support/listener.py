"""A server that keeps what is posted to it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Listener:
    """An HTTP server on this machine that keeps what is posted to it; ``status`` is what it
    answers.
    """

    def __init__(self) -> None:
        self.posts, self.status = list[tuple[str, Any]](), 200
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # noqa: N802
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if listener.status == 200:
                    listener.posts.append((self.path, json.loads(body)))
                self.send_response(listener.status)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                """Say nothing in the terminal."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def titles(self) -> list[str]:
        return [post["title"] for _, post in self.posts]

    def about(self, question: str) -> list[str]:
        """The titles that are about a question, without the name of the business."""
        titles = [title.split("] ", 1)[1] for title in self.titles]
        return [title for title in titles if title.startswith(question)]
