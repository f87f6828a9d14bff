#!/usr/bin/env python3
"""A Mesos framework on unmodified pymesos that keeps data in a persistent volume.

`write`: reserves disk, creates a volume on it and launches a task that writes a file there, all in one ACCEPT. `read`: launches a task
that reads the file from the volume of an earlier run, and copies it to the file that is named. `check`: launches a task with `--image`,
alone or in a group, that uses the volume of an earlier run as `--path` and `--mode` say, and whose `--command` must succeed. `remove`: destroys the volume and
unreserves its disk, in one ACCEPT. Every operation has an id, and its status is acknowledged. One JSON object a line on standard
output; exit code 0 when all is done, 1 when something failed, 2 when the deadline has passed.
"""

import argparse
import json
import logging
import sys
import threading
import time

from pymesos import MesosSchedulerDriver, Scheduler

DISK = 32
VOLUME = "data-of-team"


def say(event, **parts):
    print(json.dumps({"event": event, **parts}), flush=True)


def scalar(name, value, **parts):
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}, **parts}


class Volumes(Scheduler):
    def __init__(self, options, principal):
        self.options, self.principal = options, principal
        self.used = False
        self.open = set()  # what is not done: operations and the task
        self.failed = False
        self.done = threading.Event()

    def reserved(self):
        reservation = {"type": "DYNAMIC", "role": self.options.role, "principal": self.principal}
        return scalar("disk", DISK, reservations=[reservation])

    def volume(self, path="kept", mode="RW"):
        disk = {
            "persistence": {"id": VOLUME, "principal": self.principal},
            "volume": {"container_path": path, "mode": mode},
        }
        return dict(self.reserved(), disk=disk)

    def registered(self, driver, framework_id, master_info):
        say("subscribed", framework_id=framework_id["value"])

    def resourceOffers(self, driver, offers):
        for offer in offers:
            if self.used or not self.suits(offer):
                driver.declineOffer(offer["id"], {"refuse_seconds": 0.5})
                continue
            self.used = True
            operations = self.operations(offer["agent_id"])
            say("accepted", operations=[operation["type"] for operation in operations])
            driver.acceptOffers([offer["id"]], operations, {"refuse_seconds": 0.5})

    def suits(self, offer):
        volumes = [resource for resource in offer["resources"] if "persistence" in resource.get("disk", {})]
        if self.options.phase != "write":
            return any(volume["disk"]["persistence"]["id"] == VOLUME for volume in volumes) and (
                self.options.phase == "remove" or self.amount(offer, "cpus") >= 0.2)
        return self.amount(offer, "disk") >= DISK and self.amount(offer, "cpus") >= 0.1

    def amount(self, offer, name):
        plain = [resource for resource in offer["resources"] if resource["name"] == name and "disk" not in resource]
        return sum(resource["scalar"]["value"] for resource in plain)

    def operations(self, agent_id):
        reserve = self.operation("RESERVE", "resources", self.reserved())
        create = self.operation("CREATE", "volumes", self.volume())
        destroy = self.operation("DESTROY", "volumes", self.volume())
        unreserve = self.operation("UNRESERVE", "resources", self.reserved())
        if self.options.phase == "remove":
            chosen, command = [destroy, unreserve], None
        elif self.options.phase == "write":
            chosen, command = [reserve, create], "echo %s > kept/file" % self.options.text
        elif self.options.phase == "check":
            chosen, command = [], self.options.command
        else:
            chosen, command = [], "cat kept/file > %s" % self.options.copy
        self.open = {operation["id"]["value"] for operation in chosen}
        if command is None:
            return chosen
        task = {
            "name": self.options.phase,
            "task_id": {"value": self.options.phase},
            "agent_id": agent_id,
            "command": {"shell": True, "value": command},
            "resources": [scalar("cpus", 0.1), scalar("mem", 32), self.volume(self.options.path, self.options.mode)],
        }
        if self.options.image:
            image = {"type": "DOCKER", "docker": {"name": self.options.image}}
            task["container"] = {"type": "MESOS", "mesos": {"image": image}}
        self.open.add(self.options.phase)
        if not self.options.group:
            return chosen + [{"type": "LAUNCH", "launch": {"task_infos": [task]}}]
        executor = {
            "type": "DEFAULT",
            "executor_id": {"value": "default"},
            "framework_id": {"value": self.driver.framework_id},
            "resources": [scalar("cpus", 0.1), scalar("mem", 64), scalar("disk", 8)],
        }
        group = {"executor": executor, "task_group": {"tasks": [task]}}
        return chosen + [{"type": "LAUNCH_GROUP", "launch_group": group}]

    def operation(self, kind, field, resource):
        return {"type": kind, "id": {"value": kind.lower()}, kind.lower(): {field: [resource]}}

    def operationStatusUpdate(self, driver, status):
        say("operation", id=status["operation_id"]["value"], state=status["state"], uuid="uuid" in status,
            message=status.get("message"))
        if "uuid" in status:
            # pymesos' own call has an object for the uuid, which is bytes.
            acknowledge = {"agent_id": status["agent_id"], "operation_id": status["operation_id"],
                           "uuid": status["uuid"]["value"]}
            driver._send({"type": "ACKNOWLEDGE_OPERATION_STATUS", "framework_id": {"value": driver.framework_id},
                          "acknowledge_operation_status": acknowledge})
        self.ended(status["operation_id"]["value"], status["state"] == "OPERATION_FINISHED" and "uuid" in status)

    def statusUpdate(self, driver, status):
        say("task", state=status["state"], message=status.get("message"))
        driver.acknowledgeStatusUpdate(status)
        if status["state"] not in ("TASK_STARTING", "TASK_RUNNING"):
            self.ended(status["task_id"]["value"], status["state"] == "TASK_FINISHED")

    def ended(self, name, well):
        self.open.discard(name)
        self.failed |= not well
        if not self.open or self.failed:
            self.done.set()

    def error(self, driver, message):
        say("error", message=message)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("master", help="host:port")
    parser.add_argument("phase", choices=("write", "read", "check", "remove"))
    parser.add_argument("--credentials", metavar="FILE", required=True, help="principal and secret in Mesos' form")
    parser.add_argument("--role", default="team")
    parser.add_argument("--text", default="kept", help="what to write")
    parser.add_argument("--copy", metavar="FILE", help="where to write what was read")
    parser.add_argument("--image", help="of a task's container")
    parser.add_argument("--group", action="store_true", help="launch the task in a default executor")
    parser.add_argument("--path", default="kept", help="of the volume in the task's container")
    parser.add_argument("--mode", default="RW", help="of the volume")
    parser.add_argument("--command", help="what to run")
    parser.add_argument("--deadline", type=float, default=60, metavar="SECONDS")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    with open(options.credentials) as file:
        first = json.load(file)["credentials"][0]
    volumes = Volumes(options, first["principal"])
    kinds = ("MULTI_ROLE", "PARTITION_AWARE", "RESERVATION_REFINEMENT")
    info = {
        "user": "root", "name": "volumes", "roles": [options.role], "checkpoint": True,
        "principal": first["principal"], "capabilities": [{"type": kind} for kind in kinds],
    }
    driver = MesosSchedulerDriver(volumes, info, options.master, implicit_acknowledgements=False,
                                  principal=first["principal"], secret=first["secret"])
    volumes.driver = driver
    driver.start()
    in_time = volumes.done.wait(options.deadline)
    time.sleep(0.2)  # the last acknowledgement is sent
    driver.stop()
    driver.join()
    sys.exit(1 if volumes.failed else 0 if in_time else 2)


if __name__ == "__main__":
    main()
