#!/usr/bin/env python3
"""A Mesos framework on unmodified pymesos: runs short shell tasks, perhaps one long one, and tells its progress.

One JSON object a line on standard output: {"event": "subscribed" | "offers" | "launched" | "update" | "lost" | "error" |
"all-finished" | "summary", ...}. Exit code 0 when every task has finished, 1 when a task failed for good, 2 when the deadline
has passed. It outlives its master: when the driver gives up, a new one subscribes with the same framework id, and every task
that is under way is reconciled by name.
"""

import argparse
import json
import logging
import signal
import sys
import threading
import time

from pymesos import MesosSchedulerDriver, Scheduler

TERMINAL_BAD = {"TASK_FAILED", "TASK_ERROR", "TASK_KILLED"}
NEVER_RAN = {"TASK_LOST", "TASK_DROPPED", "TASK_GONE", "TASK_UNKNOWN", "TASK_GONE_BY_OPERATOR"}
# What an agent says that died between taking a task and starting it.
NOT_STARTED = {"REASON_EXECUTOR_TERMINATED", "REASON_AGENT_RESTARTED", "REASON_TASK_KILLED_DURING_LAUNCH"}
STARTED = {"TASK_STARTING", "TASK_RUNNING", "TASK_KILLING"}
# Between reconciliations.
RECONCILE_EVERY = 5.0


# What the executor of a group holds itself.
GROUP_EXECUTOR = {"cpus": 0.01, "mem": 32, "disk": 1}


def amount(kind, value):
    return {"name": kind, "type": "SCALAR", "scalar": {"value": value}}


def say(event, **parts):
    print(json.dumps({"event": event, "time": round(time.time(), 3), **parts}), flush=True)


class Tasks(Scheduler):
    """All that is to be done and how far it is. pymesos calls it from its own thread."""

    def __init__(self, options):
        self.options = options
        self.lock = threading.RLock()
        self.driver = None
        self.framework_id = None
        self.sequence = 0
        self.wanted = options.tasks + (1 if options.long else 0)
        self.launched = set()  # names that were launched at least once
        self.waiting = []      # names without a launch under way
        self.under_way = {}    # task id -> {"name", "state", "started", "agent"}
        self.finished = set()  # names
        self.failed = {}       # name -> state
        self.updates = 0
        self.suppressed = False
        for number in range(options.tasks):
            self.waiting.append("short-%d" % number)
        if options.long:
            self.waiting.insert(0, "long")

    # What pymesos calls.

    def registered(self, driver, framework_id, master_info):
        self._subscribed(driver, framework_id["value"], master_info)

    def reregistered(self, driver, master_info):
        self._subscribed(driver, driver.framework_id, master_info)

    def _subscribed(self, driver, framework_id, master_info):
        with self.lock:
            self.framework_id = framework_id
            self.suppressed = False
            say("subscribed", framework_id=framework_id, master=master_info.get("id"))
            self._reconcile(driver)

    def disconnected(self, driver):
        # Also called after each attempt that failed.
        say("disconnected")

    def resourceOffers(self, driver, offers):
        with self.lock:
            for offer in offers:
                self._use(driver, offer)
            if not self.waiting and not self.options.forever:
                self._try(driver.suppressOffers)
                self.suppressed = True

    def _use(self, driver, offer):
        def amounts(name, revocable):
            return sum(r["scalar"]["value"] for r in offer["resources"]
                       if r["name"] == name and r["type"] == "SCALAR" and ("revocable" in r) == revocable)
        if any("revocable" in r for r in offer["resources"]):
            say("offered-revocable", cpus=amounts("cpus", True))
        cpus, mem = amounts("cpus", self.options.revocable), amounts("mem", False)
        launches = []
        if self.options.group:
            # Each task may need an executor of its own.
            groups = len(self.waiting)
            cpus, mem = cpus - groups * GROUP_EXECUTOR["cpus"], mem - groups * GROUP_EXECUTOR["mem"]
        while self.waiting and cpus + 1e-9 >= self.options.cpus and mem + 1e-9 >= self.options.mem:
            name = self.waiting.pop(0)
            self.launched.add(name)
            cpus -= self.options.cpus
            mem -= self.options.mem
            launches.append(self._task(name, offer["agent_id"]))
        filters = {"refuse_seconds": self.options.refuse_seconds}
        if not launches:
            self._try(driver.declineOffer, offer["id"], filters)
            return
        for task in launches:
            entry = {"name": task["name"], "state": None, "started": False, "agent": offer["agent_id"]["value"]}
            self.under_way[task["task_id"]["value"]] = entry
        say("launched", count=len(launches), agent=offer["agent_id"]["value"], host=offer["hostname"])
        if self.options.group:
            groups = [launches[first:first + self.options.group] for first in range(0, len(launches), self.options.group)]
            self._try(driver.acceptOffers, [offer["id"]], [self._launch_group(group) for group in groups], filters)
        else:
            self._try(driver.launchTasks, offer["id"], launches, filters)

    def _launch_group(self, tasks):
        """Tasks that live and die together, in a default executor of their own."""
        executor = {
            "type": "DEFAULT",
            "executor_id": {"value": "group-of-%s" % tasks[0]["task_id"]["value"]},
            "framework_id": {"value": self.framework_id},
            "resources": [amount(*each) for each in GROUP_EXECUTOR.items()],
        }
        return {"type": "LAUNCH_GROUP", "launch_group": {"executor": executor, "task_group": {"tasks": tasks}}}

    def _task(self, name, agent_id):
        self.sequence += 1
        seconds = self.options.long if name == "long" else self.options.seconds
        task_id = "%s.%d" % (name, self.sequence)
        command = "sleep %s" % seconds
        if self.options.mark:
            command = "echo %s >> %s/%s && %s" % (task_id, self.options.mark, name, command)
        return {
            "name": name,
            "task_id": {"value": task_id},
            "agent_id": agent_id,
            "command": {"shell": True, "value": command},
            "resources": [self._cpus(), amount("mem", self.options.mem)],
        }

    def _cpus(self):
        cpus = amount("cpus", self.options.cpus)
        return {**cpus, "revocable": {}} if self.options.revocable else cpus

    def statusUpdate(self, driver, status):
        with self.lock:
            self.updates += 1
            self._note(status)
            if "uuid" in status:
                self._try(driver.acknowledgeStatusUpdate, status)

    def _note(self, status):
        task_id, state = status["task_id"]["value"], status["state"]
        entry = self.under_way.get(task_id)
        if entry is None or entry["state"] == state:
            return
        if status.get("reason") == "REASON_RECONCILIATION" and (state in TERMINAL_BAD or state == "TASK_FINISHED"):
            return  # the update itself, with its own reason, is still to come
        entry["state"] = state
        entry["started"] = entry["started"] or state in STARTED
        name = entry["name"]
        say("update", task=task_id, state=state, agent=status.get("agent_id", {}).get("value"),
            reason=status.get("reason"), message=status.get("message"))
        if state == "TASK_FINISHED":
            del self.under_way[task_id]
            self._ended(name, True)
        elif not entry["started"] and (state in NEVER_RAN or status.get("reason") in NOT_STARTED) or (
                self.options.retry and state in NEVER_RAN):
            del self.under_way[task_id]
            say("lost", task=task_id, state=state)
            self.waiting.append(name)
            self._want_offers()
        elif state in TERMINAL_BAD or state in NEVER_RAN:
            del self.under_way[task_id]
            self.failed[name] = state
            self._ended(name, False)

    def _ended(self, name, well):
        if self.options.forever and name != "long":
            self.waiting.append(name)
            self._want_offers()
        elif well:
            self.finished.add(name)

    def _want_offers(self):
        if self.suppressed and self.driver:
            self.suppressed = False
            self._try(self.driver.reviveOffers)

    def offerRescinded(self, driver, offer_id):
        pass

    def error(self, driver, message):
        say("error", message=message)

    # What the main thread calls.

    def _reconcile(self, driver):
        if self.under_way:
            # pymesos' own call leaves out the agent; then the tasks of one that is unreachable are TASK_UNKNOWN.
            tasks = [{"task_id": {"value": task_id}, "agent_id": {"value": entry["agent"]}}
                     for task_id, entry in self.under_way.items()]
            call = {"type": "RECONCILE", "framework_id": {"value": self.framework_id}, "reconcile": {"tasks": tasks}}
            self._try(driver._send, call)

    def reconcile(self):
        with self.lock:
            if self.driver and self.driver.connected:
                self._reconcile(self.driver)

    def _try(self, call, *arguments):
        """Calls fail while the master is away; what was lost is reconciled later."""
        try:
            call(*arguments)
        except Exception as error:
            say("error", message="%s: %s" % (type(error).__name__, str(error)[:300]))

    def all_finished(self):
        with self.lock:
            return not self.options.forever and len(self.finished) + len(self.failed) >= self.wanted

    def enough(self):
        """Launches nothing new; what was launched is still brought to its end."""
        with self.lock:
            kept = [name for name in self.waiting if name in self.launched]
            self.wanted -= len(self.waiting) - len(kept)
            self.waiting = kept

    def summary(self):
        with self.lock:
            running = sum(1 for entry in self.under_way.values() if entry["state"] in STARTED)
            return {"finished": len(self.finished), "failed": self.failed, "running": running,
                    "waiting": len(self.waiting), "launched": self.sequence, "updates": self.updates}


def framework(options, framework_id):
    info = {
        "user": options.user,
        "name": options.name,
        "failover_timeout": options.failover_timeout,
        "checkpoint": True,
    }
    if options.legacy:
        info["role"] = options.role
    else:
        info["roles"] = [options.role]
        kinds = ["MULTI_ROLE", "PARTITION_AWARE", "TASK_KILLING_STATE"]
        kinds += ["REVOCABLE_RESOURCES"] if options.revocable else []
        info["capabilities"] = [{"type": kind} for kind in kinds]
    if framework_id:
        info["id"] = {"value": framework_id}
    return info


def credential(options):
    """The first principal of a credentials file in Mesos' form, and its secret."""
    if not options.credentials:
        return None, None
    with open(options.credentials) as file:
        first = json.load(file)["credentials"][0]
    return first["principal"], first["secret"]


def new_driver(tasks, options):
    principal, secret = credential(options)
    driver = MesosSchedulerDriver(tasks, framework(options, tasks.framework_id), options.master,
                                  implicit_acknowledgements=False, principal=principal, secret=secret, failover=True)
    tasks.driver = driver
    driver.start()
    return driver


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("master", help="host:port")
    parser.add_argument("--credentials", metavar="FILE", help="principal and secret in Mesos' form")
    parser.add_argument("--tasks", type=int, default=10, help="short tasks to run")
    parser.add_argument("--seconds", type=float, default=0.1, help="how long a short task sleeps")
    parser.add_argument("--long", type=float, default=0, metavar="SECONDS", help="one more task, this long")
    parser.add_argument("--forever", action="store_true", help="start a short task anew when it has finished")
    parser.add_argument("--hold", action="store_true", help="stay subscribed when all have finished, until SIGTERM")
    parser.add_argument("--retry", action="store_true", help="start tasks anew that were lost after they had started")
    parser.add_argument("--group", type=int, default=0, metavar="N", help="launch groups of N in default executors")
    parser.add_argument("--cpus", type=float, default=0.1)
    parser.add_argument("--mem", type=float, default=32)
    parser.add_argument("--revocable", action="store_true", help="use revocable CPUs")
    parser.add_argument("--role", default="batch")
    parser.add_argument("--name", default="pymesos-tasks")
    parser.add_argument("--user", default="root")
    parser.add_argument("--legacy", action="store_true", help="one role, no capabilities")
    parser.add_argument("--mark", metavar="DIR", help="each start appends its task id to the file DIR/NAME")
    parser.add_argument("--refuse-seconds", type=float, default=1.0)
    parser.add_argument("--failover-timeout", type=float, default=3600)
    parser.add_argument("--deadline", type=float, default=0, metavar="SECONDS", help="give up after this time")
    return parser.parse_args()


def watch(tasks, options, stop, enough):
    """Until all is done, the deadline, or a signal; the exit code."""
    driver = new_driver(tasks, options)
    started = last_look = time.time()
    told = False
    while not stop.is_set():
        try:
            time.sleep(0.05)
            if driver.aborted:
                driver.join()
                time.sleep(1)
                say("driver-restarted")
                driver = new_driver(tasks, options)
            if time.time() - last_look > RECONCILE_EVERY:
                last_look = time.time()
                tasks.reconcile()
            if enough.is_set():
                tasks.enough()
            if tasks.all_finished():
                if not told:
                    told = True
                    say("all-finished", **tasks.summary())
                if not options.hold:
                    break
            if options.deadline and time.time() - started > options.deadline:
                return driver, 2
        except (Exception, KeyboardInterrupt) as error:
            # pymesos raises its thread's end in the main thread; the loop replaces the driver.
            say("error", message="%s: %s" % (type(error).__name__, str(error)[:300]))
    return driver, 1 if tasks.failed else 0


def main():
    options = arguments()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    tasks, stop, enough = Tasks(options), threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGUSR1, lambda *_: enough.set())
    driver, code = watch(tasks, options, stop, enough)
    driver.stop()
    driver.join()
    say("summary", code=code, **tasks.summary())
    sys.exit(code)


if __name__ == "__main__":
    main()
