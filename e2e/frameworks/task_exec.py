#!/usr/bin/env python3
"""Runs a program in the container of a running task, as `mesos task exec` and `dcos task exec` do: a session with its output in
RecordIO, its input from standard input, and its exit status from WAIT_CONTAINER. The standard library only.

    task_exec.py --master HOST:PORT --credentials FILE [--tty ROWSxCOLUMNS] [--interactive] TASK PROGRAM [ARGUMENT...]

The exit code is that of the program, or 128 and the number of its signal.
"""

import argparse
import base64
import http.client
import json
import os
import sys
import threading
import uuid

HEARTBEAT_EVERY = 30.0


class Api:
    """The operator API of a master or an agent."""

    def __init__(self, address, credentials):
        self.address = address
        secret = base64.b64encode(("%(principal)s:%(secret)s" % credentials).encode()).decode()
        self.headers = {"Authorization": "Basic " + secret}

    def open(self, body, headers, chunked=False):
        connection = http.client.HTTPConnection(self.address, timeout=120)
        connection.request("POST", "/api/v1", body, {**self.headers, **headers}, encode_chunked=chunked)
        answer = connection.getresponse()
        if answer.status != 200:
            sys.exit("%s answers %d: %s" % (self.address, answer.status, answer.read().decode()))
        return connection, answer

    def call(self, kind, **parts):
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        _, answer = self.open(json.dumps({"type": kind, **parts}), headers)
        return json.loads(answer.read())


def record(message):
    encoded = json.dumps(message).encode()
    return b"%d\n" % len(encoded) + encoded


def records(answer):
    """The messages of a response, as they come."""
    rest = b""
    while True:
        chunk = answer.read1(65536)
        if not chunk:
            if rest:
                sys.exit("the output ends within a record")
            return
        rest += chunk
        while b"\n" in rest:
            digits, _, tail = rest.partition(b"\n")
            length = int(digits)
            if len(tail) < length:
                break
            rest = tail[length:]
            yield json.loads(tail[:length])


def find(master, task_id):
    """The container of a running task, and its agent."""
    tasks = master.call("GET_TASKS")["get_tasks"]["tasks"]
    running = [task for task in tasks if task["task_id"]["value"] == task_id and task["state"] == "TASK_RUNNING"]
    if not running:
        sys.exit("no running task " + task_id)
    statuses = [status for status in running[0]["statuses"] if "container_status" in status]
    agents = master.call("GET_AGENTS")["get_agents"]["agents"]
    for agent in agents:
        if agent["agent_info"]["id"] == running[0]["agent_id"]:
            return statuses[-1]["container_status"]["container_id"], agent["pid"].rpartition("@")[2]
    sys.exit("no agent of task " + task_id)


def send_input(agent, container, size):
    """Passes standard input on."""

    def attach(message):
        return record({"type": "ATTACH_CONTAINER_INPUT", "attach_container_input": message})

    def process_io(message):
        return attach({"type": "PROCESS_IO", "process_io": message})

    def messages():
        yield attach({"type": "CONTAINER_ID", "container_id": container})
        interval = {"nanoseconds": int(HEARTBEAT_EVERY * 1e9)}
        yield process_io({"type": "CONTROL", "control": {"type": "HEARTBEAT", "heartbeat": {"interval": interval}}})
        if size:
            window = {"window_size": {"rows": size[0], "columns": size[1]}}
            yield process_io({"type": "CONTROL", "control": {"type": "TTY_INFO", "tty_info": window}})
        while True:
            data = os.read(0, 4096)
            if not data and size:
                data = b"\x04"
            encoded = base64.b64encode(data).decode()
            yield process_io({"type": "DATA", "data": {"type": "STDIN", "data": encoded}})
            if not data or data == b"\x04":
                return

    headers = {
        "Content-Type": "application/recordio",
        "Message-Content-Type": "application/json",
        "Accept": "application/json",
        "Transfer-Encoding": "chunked",
    }
    agent.open(messages(), headers, chunked=True)


def credentials(path):
    with open(path) as file:
        return json.load(file)["credentials"][0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--master", required=True)
    parser.add_argument("--credentials", required=True)
    parser.add_argument("--agent-credentials", metavar="FILE", help="if they are not the master's")
    parser.add_argument("--tty", metavar="ROWSxCOLUMNS")
    parser.add_argument("--interactive", action="store_true")
    parser.add_argument("task")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    parent, address = find(Api(options.master, credentials(options.credentials)), options.task)
    agent = Api(address, credentials(options.agent_credentials or options.credentials))
    container = {"parent": parent, "value": str(uuid.uuid4())}
    size = [int(part) for part in options.tty.split("x")] if options.tty else None
    launch = {
        "container_id": container,
        "command": {"value": options.command[0], "arguments": options.command, "shell": False},
    }
    if size:
        launch["container"] = {"type": "MESOS", "tty_info": {"window_size": {"rows": size[0], "columns": size[1]}}}
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/recordio",
        "Message-Accept": "application/json",
    }
    call = {"type": "LAUNCH_NESTED_CONTAINER_SESSION", "launch_nested_container_session": launch}
    connection, answer = agent.open(json.dumps(call), headers)
    if options.interactive:
        threading.Thread(target=send_input, args=(agent, container, size), daemon=True).start()
    for message in records(answer):
        if message["type"] == "DATA":
            out = sys.stderr if message["data"]["type"] == "STDERR" else sys.stdout
            out.buffer.write(base64.b64decode(message["data"]["data"]))
            out.flush()
    status = agent.call("WAIT_CONTAINER", wait_container={"container_id": container})["wait_container"]["exit_status"]
    connection.close()
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


if __name__ == "__main__":
    sys.exit(main())
