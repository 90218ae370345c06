"""HTTP/1.1 as far as the gateway speaks it, with the time at which every part of a body came."""

import socket
import time


class Answer:
    def __init__(self):
        self.status = 0
        self.headers = {}
        self.body = bytearray()
        self.arrivals = []  # (seconds since the request was sent, bytes of the body so far)
        self.seconds = 0.0

    def first_byte(self):
        return self.arrivals[0][0]

    def share_at(self, share):
        """When this share of the body's bytes had come."""
        return next(t for t, n in self.arrivals if n >= share * len(self.body))


class Connection:
    """One connection that is kept alive; opened at the first request and after `close`."""

    def __init__(self, host, port):
        self.address = (host, port)
        self.socket = None
        self.buffer = b""

    def open(self):
        self.close()
        self.socket = socket.create_connection(self.address, timeout=300)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket, self.buffer = None, b""

    def request(self, method, path, body=None):
        if self.socket is None:
            self.open()
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.address[0]}:{self.address[1]}\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        began = time.monotonic()
        self.socket.sendall(head.encode() + b"\r\n" + (body or b""))
        answer = Answer()
        status, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        answer.status = int(status.split()[1])
        answer.headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}
        if answer.headers.get("transfer-encoding") == "chunked":
            while size := int(self._until(b"\r\n"), 16):
                self._take(size, answer, began)
                self._until(b"\r\n")
            self._until(b"\r\n")
        else:
            self._take(int(answer.headers.get("content-length", 0)), answer, began)
        answer.seconds = time.monotonic() - began
        return answer

    def _more(self):
        block = self.socket.recv(1 << 18)
        if not block:
            raise ConnectionError("the gateway closed the connection in the middle of an answer")
        self.buffer += block

    def _until(self, mark):
        while (at := self.buffer.find(mark)) < 0:
            self._more()
        line, self.buffer = self.buffer[:at], self.buffer[at + len(mark):]
        return line

    def _take(self, size, answer, began):
        while size:
            if not self.buffer:
                self._more()
            part, self.buffer = self.buffer[:size], self.buffer[size:]
            size -= len(part)
            answer.body += part
            answer.arrivals.append((time.monotonic() - began, len(answer.body)))

    def first_byte(self, path):
        """Seconds until the first byte of a body is here; the connection is closed then."""
        self.open()
        began = time.monotonic()
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {self.address[0]}:{self.address[1]}\r\n\r\n".encode())
        head = self._until(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise RuntimeError(f"GET {path}: {head[:300]!r}")
        while not self.buffer:
            self._more()
        seconds = time.monotonic() - began
        self.close()
        return seconds
