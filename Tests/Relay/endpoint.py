"""An endpoint for webhooks. It checks each request's signature with `standardwebhooks`, reads the events with `cloudevents`, and
misbehaves as it is told.

As a program, `python endpoint.py PORT FILE SECRET TROUBLE`, it writes what it takes into a file, a line for each event, before it
answers, so that it may be killed; TROUBLE is the share of requests that it resets or answers 503.
"""

from __future__ import annotations

import json
import random
import socket
import ssl
import struct
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cloudevents.core.bindings.http import HTTPMessage, from_http
from cloudevents.core.formats.json import JSONFormat
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

HANG, RESET = "hang", "reset"
"""Instead of a status: there is no answer, or the connection is reset."""


@dataclass(frozen=True)
class Taken:
    """An event of a request."""

    id: int
    key: str | None
    data: object
    attributes: dict
    webhook: str


def events_of(headers: dict[str, str], body: bytes) -> list[Taken]:
    """The events of a request, in any format."""
    headers = {name.lower(): value for name, value in headers.items()}
    if headers["content-type"].startswith("application/cloudevents-batch+json"):
        parsed = [JSONFormat().read(None, json.dumps(each)) for each in json.loads(body)]
    else:
        parsed = [from_http(HTTPMessage({name: value for name, value in headers.items()
                                         if name.startswith("ce-") or name == "content-type"}, body), JSONFormat())]
    return [Taken(int(event.get_id()), event.get_extension("partitionkey"), event.get_data(), dict(event.get_attributes()),
                  headers["webhook-id"]) for event in parsed]


class Endpoint(ThreadingHTTPServer):
    """Takes events; `behave` says what is answered to events instead: a status, with headers and a body, HANG or RESET; nothing for
    200. `taken` is what was taken, and `asked` every request: its events, and the time."""

    daemon_threads = True
    request_queue_size = 100

    def __init__(self, *secrets: str, port: int = 0, behave=None, certificate: tuple | None = None):
        self.behave = behave or (lambda events: None)
        self.taken: list[Taken] = []
        self.asked: list[list[Taken]] = []
        self.wrong: list[str] = []
        self.under_way: list[Taken] = []
        self.lock = threading.Lock()
        self.released = threading.Event()
        self._webhooks = [Webhook(secret) for secret in secrets]
        super().__init__(("127.0.0.1", port), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def port(self) -> int:
        return self.server_address[1]

    def ids(self) -> list[int]:
        return [event.id for event in self.taken]

    def check(self, headers: dict[str, str], body: bytes) -> None:
        for webhook in self._webhooks:
            webhook.verify(body, headers, json_parse=False)

    def take(self, events: list[Taken]) -> None:
        self.taken += events

    def handle_error(self, request, client_address) -> None:
        """A client that goes away is no error."""

    def close(self) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Endpoint

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:
            # Who sends it has been killed.
            self.close_connection = True
            return
        headers = dict(self.headers.items())
        server = self.server
        try:
            server.check(headers, body)
            events = events_of(headers, body)
        except (WebhookVerificationError, ValueError, KeyError) as error:
            server.wrong.append(repr(error))
            return self.answer(200)
        with server.lock:
            server.asked.append(events)
            busy = {event.key for event in server.under_way} & {event.key for event in events}
            if busy:
                server.wrong.append(f"two requests at a time for {busy}")
            server.under_way += events
        try:
            answer = server.behave(events)
            if answer == RESET:
                # A reset rather than an end.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                return self.connection.close()
            elif answer is None:
                with server.lock:
                    server.take(events)
        finally:
            with server.lock:
                for event in events:
                    server.under_way.remove(event)
        # The client gives up; for it the request is over.
        if answer == HANG:
            server.released.wait(60)
        else:
            self.answer(*(answer if isinstance(answer, tuple) else (answer or 200,)))

    def answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments) -> None:
        pass


class Recorder(Endpoint):
    """Writes what it takes into a file, and takes no event whose data says that it is poison."""

    def __init__(self, port: int, file: str, secret: str, trouble: float):
        self._file = open(file, "a", buffering=1)
        self._trouble = trouble
        super().__init__(secret, port=port, behave=self._any)

    def _any(self, events: list[Taken]):
        if any(event.data.get("poison") for event in events):
            return 422
        if random.random() < self._trouble:
            # The events may have been taken before.
            if random.random() < 0.5:
                with self.lock:
                    self.take(events)
            return random.choice((503, RESET))
        return None

    def take(self, events: list[Taken]) -> None:
        self._file.write("".join(json.dumps([event.id, event.key, event.data["n"]]) + "\n" for event in events))


if __name__ == "__main__":
    recorder = Recorder(int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4]))
    print("listening", flush=True)
    while True:
        threading.Event().wait(0.1)
        if recorder.wrong:
            sys.exit(f"wrong: {recorder.wrong}")
