"""A chat endpoint as a process that misbehaves as it is told, and its remote control."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PLAN = {'status': 'next', 'subtask': 'touch the red cube', 'reason': 'it comes first'}


def answer(**content):
    """A good answer of the model, or a bad one in a good envelope."""
    return {'kind': 'answer', 'content': json.dumps(content)}


class VlmServer:
    """Starts the process and tells it what to do with the requests to come."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdout=subprocess.PIPE, text=True
        )
        self.port = int(self._process.stdout.readline())
        self.url = f'http://127.0.0.1:{self.port}/v1'

    def behave(self, *replies, key=''):
        """One reply for each request, the last for all others; a key to be asked for."""
        self._control('PUT', {'replies': replies, 'key': key})

    @property
    def requests(self):
        """What has been posted: path, authorization, body, and when."""
        return self._control('GET')

    def close(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def _control(self, method, content=None):
        data = None if content is None else json.dumps(content).encode()
        address = f'http://127.0.0.1:{self.port}/'
        request = urllib.request.Request(address, data, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=20) as response:
            return json.loads(response.read())


class Handler(BaseHTTPRequestHandler):
    """``PUT /`` sets the replies, ``GET /`` tells the requests, ``POST`` is the endpoint."""

    replies, seen, key = [answer(**PLAN)], [], ''

    def do_PUT(self):
        told = json.loads(self._body())
        Handler.replies, Handler.key = told['replies'] or [answer(**PLAN)], told['key']
        Handler.seen = []
        self._send(200, {})

    def do_GET(self):
        self._send(200, Handler.seen)

    def do_POST(self):
        authorization = self.headers.get('Authorization')
        Handler.seen.append({
            'path': self.path, 'authorization': authorization, 'at': time.monotonic(),
            'body': json.loads(self._body()),
        })  # fmt: skip
        if Handler.key and authorization != f'Bearer {Handler.key}':
            self._send(401, {'error': {'message': f'wrong key: {authorization}'}})
            return
        reply = Handler.replies.pop(0) if len(Handler.replies) > 1 else Handler.replies[0]
        getattr(self, f'_{reply["kind"]}')(reply)

    def _answer(self, reply):
        time.sleep(reply.get('seconds', 0.0))
        finish = reply.get('finish', 'stop')
        message = {'role': 'assistant', 'content': reply['content'], **reply.get('message', {})}
        self._send(200, {'choices': [{'finish_reason': finish, 'message': message}]})

    def _status(self, reply):
        headers = reply.get('headers', {})
        self._send(reply['code'], reply.get('body', {'error': 'no'}), headers)

    def _raw(self, reply):
        """Send any bytes as the body."""
        self._send(200, reply['body'])

    def _drip(self, reply):
        """Send a byte now and then, of the header or of the body, for ever."""
        if reply['part'] == 'body':
            self.send_response(200)
            self.send_header('Content-Length', '1000000')
            self.end_headers()
        try:
            while True:
                self.wfile.write(b'H' if reply['part'] == 'header' else b' ')
                self.wfile.flush()
                time.sleep(0.05)
        except OSError:
            pass
        self.close_connection = True

    def _drop(self, reply):
        """Close without a word."""
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _cut(self, reply):
        """Promise more than comes."""
        self.send_response(200)
        self.send_header('Content-Length', '1000')
        self.end_headers()
        self.wfile.write(b'{"choices": [')
        self.close_connection = True

    def _large(self, reply):
        self._send(200, 'x' * (2 << 20))

    def _body(self):
        return self.rfile.read(int(self.headers.get('Content-Length', 0)))

    def _send(self, code, content, headers=None):
        data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        try:
            self.send_response(code)
            self.send_header('Content-Length', str(len(data)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            self.close_connection = True

    def log_message(self, *args):
        pass


def main():
    sys.path[:] = [each for each in sys.path if each != str(Path(__file__).parent)]
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == '__main__':
    main()
