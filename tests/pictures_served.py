"""A shop's pictures on a loopback address: good ones, and all that goes wrong on the way."""

import io
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image


def png(color, size=(20, 10)):
    """A picture of one colour as PNG."""
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return file.getvalue()


def bomb():
    """A small PNG that states more pixels than PIL takes."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((20_000, 20_000), dtype=bool)).save(file, "PNG")
    return file.getvalue()


class Shop(BaseHTTPRequestHandler):
    """What each path answers; ``server.asked`` counts the requests."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        """Say nothing."""

    def do_GET(self):
        """Answer as the first part of the path says."""
        self.server.asked[self.path] += 1
        kind, _, rest = self.path.strip("/").partition("/")
        answer = getattr(self, f"answer_{kind}", None)
        if answer is None:
            self.send(404, b"no such page")
        else:
            answer(rest)

    def send(self, status, content, headers=()):
        """One answer with its length."""
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def answer_picture(self, rest):
        """A picture of one of 16 million colours."""
        self.send(200, png(f"#{int(rest.partition('.')[0]) * 997 % 2**24:06x}"))

    def answer_redirect(self, rest):
        """To a picture, in so many steps."""
        left, _, number = rest.partition("/")
        place = f"/redirect/{int(left) - 1}/{number}" if int(left) > 1 else f"/picture/{number}"
        self.send(302, b"gone", [("Location", place)])

    def answer_away(self, rest):
        """To an address that is no picture of this shop."""
        self.send(302, b"", [("Location", self.server.away)])

    def answer_broken(self, rest):
        """Half a picture."""
        content = png("red", (300, 300))
        self.send(200, content[: len(content) // 2])

    def answer_cut(self, rest):
        """Fewer bytes than are stated."""
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"half")
        self.close_connection = True

    def answer_page(self, rest):
        """A page in place of a picture."""
        self.send(200, b"<html>sold out</html>", [("Content-Type", "image/png")])

    def answer_bomb(self, rest):
        """Many pixels in few bytes."""
        self.send(200, self.server.bomb)

    def answer_packed(self, rest):
        """What nobody asked for."""
        self.send(200, b"...", [("Content-Encoding", "gzip")])

    def answer_huge(self, rest):
        """States its length."""
        self.send_response(200)
        self.send_header("Content-Length", str(2**40))
        self.end_headers()
        self.close_connection = True

    def answer_endless(self, rest):
        """Sends for ever."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        block = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        while not self.server.over.is_set():
            try:
                self.wfile.write(block)
            except OSError:
                break
        self.close_connection = True

    def answer_slow(self, rest):
        """Says nothing until the test is over."""
        self.server.over.wait()
        self.close_connection = True

    def answer_drops(self, rest):
        """A byte of a header now and then."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not self.server.over.wait(0.02):
            try:
                self.wfile.write(b"x")
            except OSError:
                break
        self.close_connection = True

    def answer_busy(self, rest):
        """An error at first, a picture when it is asked so many times."""
        if self.server.asked[self.path] < int(rest):
            self.send(503, b"", [("Retry-After", "0")])
        else:
            self.send(200, png("green"))

    def answer_closed(self, rest):
        """An error while the shop is closed."""
        self.send(200, png("blue")) if self.server.open.is_set() else self.send(503, b"")


@contextmanager
def shop():
    """The server; `address` is where it is."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    server.daemon_threads = True
    server.asked, server.over, server.open = Counter(), threading.Event(), threading.Event()
    server.away, server.bomb = "http://localhost/", bomb()
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
