"""aioquic (PyPI) as an HTTP/3 client: sends requests over one QUIC connection, and prints what came back.

Usage: http3.py HOST PORT CA REQUESTS [CERTIFICATE KEY]

HOST is on this machine, whatever DNS says, and CA vouches for it. REQUESTS is a file with a JSON list of groups of
requests; those of a group are sent at once, each on a stream of its own. A request is a GET, or else says its method, and
has no body, or one in hexadecimal digits. The answers are printed as JSON, in that order. CERTIFICATE and KEY are files
with what the client shows.
"""

import asyncio
import json
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

PATIENCE = 20


class Client(QuicConnectionProtocol):
    """A connection, and the answers that are still to come over it."""

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.http = H3Connection(self._quic)
        self.answers = {}

    def send(self, host, request):
        """Send a request, and return its answer to come."""
        method, body = request.get("method", "GET"), bytes.fromhex(request.get("body", ""))
        pseudo = {"method": method, "scheme": "https", "authority": host, "path": request["path"]}
        headers = [(f":{name}", value) for name, value in pseudo.items()] + request["headers"]
        stream = self._quic.get_next_available_stream_id()
        ended = asyncio.get_running_loop().create_future()
        self.answers[stream] = ({"headers": [], "body": ""}, ended)
        headers = [(name.encode(), value.encode()) for name, value in headers]
        self.http.send_headers(stream, headers, end_stream=not body)
        if body:
            self.http.send_data(stream, body, end_stream=True)
        self.transmit()
        return ended

    def quic_event_received(self, event):
        """Take what came."""
        if isinstance(event, ConnectionTerminated):
            for _, ended in self.answers.values():
                self.fail(ended, f"the connection ended: {event.error_code} {event.reason_phrase}")
        elif isinstance(event, StreamReset) and event.stream_id in self.answers:
            self.fail(self.answers[event.stream_id][1], f"the stream was reset: {event.error_code}")
        for http_event in self.http.handle_event(event):
            if not isinstance(http_event, (HeadersReceived, DataReceived)):
                continue
            answer, ended = self.answers[http_event.stream_id]
            if isinstance(http_event, HeadersReceived):
                answer["headers"] += [(name.decode(), value.decode()) for name, value in http_event.headers]
            else:
                answer["body"] += http_event.data.decode()
            if http_event.stream_ended and not ended.done():
                ended.set_result(answer)

    @staticmethod
    def fail(ended, why):
        """Say why there is no answer."""
        if not ended.done():
            ended.set_exception(ConnectionError(why))


async def main(host, port, authority, requests, *shown):
    """Send all requests and print all answers."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=host)
    configuration.load_verify_locations(cafile=authority)
    if shown:
        configuration.load_cert_chain(*shown)
    with open(requests, encoding="utf-8") as file:
        groups = json.load(file)
    answers = []
    async with connect("127.0.0.1", int(port), configuration=configuration, create_protocol=Client) as client:
        for group in groups:
            sent = [client.send(host, request) for request in group]
            answers.append(await asyncio.wait_for(asyncio.gather(*sent), PATIENCE))
    json.dump(answers, sys.stdout)


asyncio.run(main(*sys.argv[1:]))
