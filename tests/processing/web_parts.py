# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A web server on this machine that answers as it is told: rightly, wrongly, slowly, never."""

import socket
import threading


class Server:
    """Answers each request on 127.0.0.1 with what `answers` has for its path, raw; counts connections.

    An answer is bytes, or a list of pieces with a number of seconds between them.
    """

    def __init__(self, answers: dict[str, bytes | list]) -> None:
        self.answers, self.connections, self.requests = answers, 0, []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.closed = threading.Event()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client:
            request = client.recv(65536).decode("latin-1")
            self.requests.append(request)
            answer = self.answers.get(request.split()[1], b"HTTP/1.1 404 Not Found\r\n\r\n")
            try:
                for piece in answer if isinstance(answer, list) else [answer]:
                    if isinstance(piece, bytes):
                        client.sendall(piece)
                    elif self.closed.wait(piece):
                        return
            except OSError:
                return

    def __enter__(self) -> "Server":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closed.set()
        self.socket.close()


def answer(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    named = {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def moved(to: str) -> bytes:
    return answer(status="302 Found", Location=to)
