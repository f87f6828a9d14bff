"""An admission webhook server for a test: labels, denies, or never answers, by the path of the request.

Usage: webhook_server.py CERTIFICATE KEY. Listens on any free port and prints it.
"""

import base64
import http.server
import json
import ssl
import sys
import time

LABEL = [{"op": "add", "path": "/metadata/labels", "value": {"seen": "by-webhook"}}]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"uid": review["request"]["uid"], "allowed": True}
        path = self.path.split("?")[0]
        if path == "/hang":
            time.sleep(60)
        elif path == "/label":
            patch = base64.b64encode(json.dumps(LABEL).encode()).decode()
            answer.update(patchType="JSONPatch", patch=patch, warnings=["labelled by the webhook"])
        elif path == "/deny":
            data = review["request"]["object"].get("data") or {}
            if "forbidden" in data:
                answer.update(allowed=False, status={"message": "the data has a forbidden key", "code": 403})
        body = {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": answer}
        encoded = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server = Server(("0.0.0.0", 0), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
