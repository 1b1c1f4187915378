"""The worker's end of the line: requests in, answers out, one JSON object a line.

A side of the comparison is a process of its own, so that its memory is its own and a crash is only its own.
"""
import json
import os
import sys
import time
import traceback


def serve(make):
    """make(options) returns {command: function}. Its options are the program's argument."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print to stdout print into the log

    def say(**answer):
        print(json.dumps(answer), file=out, flush=True)
    try:
        commands = make(json.loads(sys.argv[1]))
        say(ok=True)
        for line in sys.stdin:
            request = json.loads(line)
            say(ok=True, result=commands[request.pop("do")](**request))
    except Exception as e:
        traceback.print_exc()
        say(ok=False, error=f"{type(e).__name__}: {e}".splitlines()[0])


def timed_steps(step):
    """The command `steps`: n timed ones after some that are not."""
    def steps(n, warmup):
        for _ in range(warmup):
            step()
        seconds = []
        for _ in range(n):
            t = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - t)
        return seconds
    return steps
