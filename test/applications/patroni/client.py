"""A user of PostgreSQL, which is at whichever node takes writes.

    client.py write PORT,PORT   one row after another, until SIGTERM
    client.py read PORT,PORT    every row

write prints "MILLISECONDS written N" for each row that was committed and
"MILLISECONDS failed N REASON" for an attempt that was not, which it makes again.
read prints the numbers.
"""

import signal
import sys
import time

import psycopg2

ports = sys.argv[2].split(",")


def connect():
    connection = psycopg2.connect(
        host=",".join("127.0.0.1" for _ in ports), port=",".join(ports),
        user="postgres", dbname="postgres", connect_timeout=2,
        target_session_attrs="read-write")
    connection.autocommit = True
    return connection


def write():
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    cursor = None
    n = 0
    while not ended:
        try:
            if cursor is None:
                cursor = connect().cursor()
                cursor.execute("create table if not exists numbers (n integer primary key)")
            # The row may be there: the answer to the last attempt was lost.
            cursor.execute("insert into numbers values (%s) on conflict do nothing", (n,))
            answer = f"written {n}"
            n += 1
        except psycopg2.Error as e:
            cursor = None
            answer = f"failed {n} {' '.join(str(e).split())}"
            time.sleep(0.1)
        print(int(time.time() * 1000), answer, flush=True)
        time.sleep(0.02)


def read():
    cursor = connect().cursor()
    cursor.execute("select n from numbers order by n")
    for (n,) in cursor:
        print(n)


{"write": write, "read": read}[sys.argv[1]]()
