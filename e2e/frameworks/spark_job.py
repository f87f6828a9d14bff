#!/usr/bin/env python3
"""A PySpark job that tells its progress: rounds with a shuffle, then an SQL query; wrong results end it with an error.

One word a line on standard output: "round N" after each round, "done" after the query. Started by spark-submit.
"""

import sys
import time

from pyspark.sql import SparkSession

NUMBERS = 20
GROUPS = 5


def slow(number):
    time.sleep(0.1)
    return number % GROUPS, number


def main():
    name, rounds = sys.argv[1], int(sys.argv[2])
    spark = SparkSession.builder.appName(name).getOrCreate()
    numbers = range(NUMBERS)
    wanted = [(group, sum(n for n in numbers if n % GROUPS == group)) for group in range(GROUPS)]
    for done in range(rounds):
        pairs = spark.sparkContext.parallelize(numbers, 4).map(slow)
        sums = sorted(pairs.reduceByKey(lambda one, other: one + other, 2).collect())
        assert sums == wanted, sums
        print("round", done + 1, flush=True)
    spark.range(0, 1000).createOrReplaceTempView("numbers")
    query = "SELECT id % 3 AS k, count(*) AS n, sum(id) AS s FROM numbers GROUP BY id % 3 ORDER BY k"
    rows = [tuple(row) for row in spark.sql(query).collect()]
    assert rows == [(0, 334, 166833), (1, 333, 166167), (2, 333, 166500)], rows
    spark.stop()
    print("done", flush=True)


if __name__ == "__main__":
    main()
