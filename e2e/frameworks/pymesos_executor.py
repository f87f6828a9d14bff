#!/usr/bin/env python3
"""A Mesos executor on unmodified pymesos: each task says what the file is that the executor was started with, and then either ends at
once or, if the executor was told to `wait`, when it is killed."""

import os
import sys
import threading

from pymesos import Executor, MesosExecutorDriver


class Reader(Executor):
    def __init__(self, path, waits):
        self.path, self.waits = path, waits

    def launchTask(self, driver, task):
        self.say(driver, task["task_id"], "TASK_RUNNING", "it runs")
        if self.waits:
            return
        with open(self.path) as file:
            text = file.read().strip()
        print("executor in", os.getcwd(), "and", os.environ["MESOS_SANDBOX"], flush=True)
        self.say(driver, task["task_id"], "TASK_FINISHED", text)
        threading.Timer(1, driver.stop).start()

    def killTask(self, driver, task_id):
        self.say(driver, task_id, "TASK_KILLED", "as asked")
        threading.Timer(1, driver.stop).start()

    def say(self, driver, task_id, state, message):
        driver.sendStatusUpdate({"task_id": task_id, "state": state, "message": message})


def main():
    driver = MesosExecutorDriver(Reader(sys.argv[1], sys.argv[2:] == ["wait"]))
    driver.start()
    driver.join()


if __name__ == "__main__":
    main()
