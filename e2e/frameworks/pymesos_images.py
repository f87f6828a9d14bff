#!/usr/bin/env python3
"""A Mesos framework on unmodified pymesos whose tasks run in containers of images.

Launches the tasks of a JSON file, each once: a list of objects with the `name` of the task, its `command`, `container` and `executor` as
in a TaskInfo, `mem`, `ports`, and `kill` if it is to be killed once it runs. Those with the same `group` are launched as a task group in a
default executor of that name. An executor `"pymesos"` is `pymesos_executor.py` in the
task's container. One JSON object a line on standard output; exit code 0 when every task has ended, however, 2 when the deadline has
passed. It ends with TEARDOWN at once when it gets SIGTERM.
"""

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time

from pymesos import MesosSchedulerDriver, Scheduler

ENDED = {"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_LOST", "TASK_DROPPED", "TASK_GONE"}
EXECUTOR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pymesos_executor.py")


def say(event, **parts):
    print(json.dumps({"event": event, **parts}), flush=True)


def scalar(name, value):
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}}


def of_machine():
    """What Python needs in an image without it."""
    paths = {"/lib", "/lib64", "/usr/lib", sys.prefix, sys.base_prefix, os.path.dirname(EXECUTOR)}
    return [{"host_path": path, "container_path": path, "mode": "RO"} for path in sorted(paths)]


class Images(Scheduler):
    def __init__(self, tasks):
        self.tasks = {task["name"]: task for task in tasks}
        self.waiting = list(tasks)
        self.open = set(self.tasks)
        self.agents = {}
        self.done = threading.Event()
        self.lock = threading.RLock()

    def registered(self, driver, framework_id, master_info):
        say("subscribed", framework_id=framework_id["value"])

    def reregistered(self, driver, master_info):
        say("subscribed", framework_id=driver.framework_id)

    def resourceOffers(self, driver, offers):
        with self.lock:
            for offer in offers:
                waiting, self.waiting = self.waiting, []
                if waiting:
                    driver.acceptOffers(offer["id"], self.launches(waiting, offer["agent_id"]), {"refuse_seconds": 0.5})
                else:
                    driver.declineOffer(offer["id"], {"refuse_seconds": 60})

    def launches(self, tasks, agent_id):
        """One LAUNCH, and a LAUNCH_GROUP for each group."""
        groups = {}
        for task in tasks:
            groups.setdefault(task.get("group"), []).append(self.info(task, agent_id))
        alone = groups.pop(None, [])
        operations = [{"type": "LAUNCH", "launch": {"task_infos": alone}}] if alone else []
        for name, infos in groups.items():
            executor = {
                "type": "DEFAULT",
                "executor_id": {"value": name},
                "framework_id": {"value": self.driver.framework_id},
                "resources": [scalar("cpus", 0.1), scalar("mem", 64), scalar("disk", 8)],
            }
            group = {"executor": executor, "task_group": {"tasks": infos}}
            operations.append({"type": "LAUNCH_GROUP", "launch_group": group})
        return operations

    def info(self, task, agent_id):
        name = task["name"]
        self.agents[name] = agent_id
        resources = [scalar("cpus", 0.1), scalar("mem", task.get("mem", 48))]
        if "ports" in task:
            ranges = {"range": [{"begin": port, "end": port} for port in task["ports"]]}
            resources.append({"name": "ports", "type": "RANGES", "ranges": ranges})
        info = {"name": name, "task_id": {"value": name}, "agent_id": agent_id, "resources": resources}
        if task.get("executor") != "pymesos":
            info.update({part: task[part] for part in ("command", "container", "health_check") if part in task})
            return info
        container = dict(task["container"], volumes=task["container"].get("volumes", []) + of_machine())
        info["executor"] = {
            "type": "CUSTOM",
            "executor_id": {"value": "of-%s" % name},
            "framework_id": {"value": self.driver.framework_id},
            "command": {"shell": False, "value": sys.executable, "arguments": task["arguments"]},
            "container": container,
            "resources": [scalar("cpus", 0.1), scalar("mem", 96)],
        }
        return info

    def statusUpdate(self, driver, status):
        name, state = status["task_id"]["value"], status["state"]
        container = status.get("container_status", {})
        addresses = [each["ip_address"] for network in container.get("network_infos", [])
                     for each in network.get("ip_addresses", [])]
        say("update", task=name, state=state, message=status.get("message"), reason=status.get("reason"),
            source=status.get("source"), healthy=status.get("healthy"), addresses=addresses)
        if "uuid" in status:
            driver.acknowledgeStatusUpdate(status)
        with self.lock:
            if state == "TASK_RUNNING" and self.tasks[name].get("kill"):
                driver.killTask({"value": name})
            if state in ENDED:
                self.open.discard(name)
                if not self.open:
                    self.done.set()

    def disconnected(self, driver):
        say("disconnected")

    def error(self, driver, message):
        say("error", message=message)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("master", help="host:port")
    parser.add_argument("tasks", metavar="FILE", help="the tasks")
    parser.add_argument("--credentials", metavar="FILE", required=True, help="principal and secret in Mesos' form")
    parser.add_argument("--deadline", type=float, default=180, metavar="SECONDS")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    with open(options.credentials) as file:
        first = json.load(file)["credentials"][0]
    with open(options.tasks) as file:
        images = Images(json.load(file))
    info = {
        "user": "root", "name": "images", "roles": ["images"], "checkpoint": True, "failover_timeout": 60,
        "principal": first["principal"],
        "capabilities": [{"type": kind} for kind in ("MULTI_ROLE", "PARTITION_AWARE", "TASK_KILLING_STATE")],
    }
    driver = MesosSchedulerDriver(images, info, options.master, implicit_acknowledgements=False,
                                  principal=first["principal"], secret=first["secret"])
    images.driver = driver
    signal.signal(signal.SIGTERM, lambda *_: images.done.set())
    driver.start()
    in_time = images.done.wait(options.deadline)
    time.sleep(0.2)  # the last acknowledgement is sent
    driver.stop()
    driver.join()
    sys.exit(0 if in_time else 2)


if __name__ == "__main__":
    main()
