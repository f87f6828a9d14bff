"""A metrics API for a test: what metrics-server serves, computed from the summaries of the nodes.

Usage: metrics_api.py CERTIFICATE KEY API TOKEN. Listens on any free port and prints it. Every two seconds it asks each node,
through the API server, for the CPU time of its containers.
"""

import http.server
import json
import ssl
import sys
import threading
import time
import urllib.request
from datetime import datetime

GROUP = "/apis/metrics.k8s.io/v1beta1"
RESOURCES = [
    {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]},
    {"name": "nodes", "singularName": "", "namespaced": False, "kind": "NodeMetrics", "verbs": ["get", "list"]},
]
# The last two samples of each container: (seconds, CPU nanoseconds, bytes of memory).
samples = {}


def ask(path):
    request = urllib.request.Request(sys.argv[3] + path, headers={"Authorization": f"Bearer {sys.argv[4]}"})
    with urllib.request.urlopen(request, context=ssl._create_unverified_context(), timeout=10) as answer:
        return json.load(answer)


def take(key, part):
    if "cpu" not in part or "memory" not in part:
        return
    at = datetime.fromisoformat(part["cpu"]["time"].replace("Z", "+00:00")).timestamp()
    sample = (at, part["cpu"]["usageCoreNanoSeconds"], part["memory"]["workingSetBytes"])
    known = samples.get(key, [])
    if not known or known[-1][0] < at:
        samples[key] = known[-1:] + [sample]


def scrape():
    while True:
        try:
            for node in ask("/api/v1/nodes")["items"]:
                name = node["metadata"]["name"]
                for pod in ask(f"/api/v1/nodes/{name}/proxy/stats/summary")["pods"]:
                    for container in pod["containers"]:
                        take((pod["podRef"]["namespace"], pod["podRef"]["name"], container["name"]), container)
        except (OSError, KeyError) as error:
            print(error, file=sys.stderr, flush=True)
        time.sleep(2)


def pods(namespace, query):
    items = []
    for pod in ask(f"/api/v1/namespaces/{namespace}/pods" + (f"?{query}" if query else ""))["items"]:
        name = pod["metadata"]["name"]
        containers, at, window = [], None, 0
        for container in pod["spec"]["containers"]:
            known = samples.get((namespace, name, container["name"]), [])
            if len(known) < 2:
                continue
            (before, first, _), (at, last, memory) = known
            window = at - before
            usage = {"cpu": f"{int((last - first) / window)}n", "memory": f"{memory // 1024}Ki"}
            containers.append({"name": container["name"], "usage": usage})
        if at is None:
            continue
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
        items.append({
            "metadata": {"name": name, "namespace": namespace, "labels": pod["metadata"].get("labels")},
            "timestamp": stamp, "window": f"{window:.0f}s", "containers": containers,
        })
    return {"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": items}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, query = self.path.partition("?")
        parts = path.removeprefix(GROUP).split("/")
        if path == GROUP:
            answer = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.k8s.io/v1beta1",
                      "resources": RESOURCES}
        elif path.startswith(GROUP) and parts[1:2] == ["namespaces"] and parts[3:] == ["pods"]:
            answer = pods(parts[2], query)
        else:
            answer = None
        encoded = json.dumps(answer).encode()
        self.send_response(200 if answer else 404)
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
threading.Thread(target=scrape, daemon=True).start()
print(server.server_address[1], flush=True)
server.serve_forever()
