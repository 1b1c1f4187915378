"""Processes seen from outside, with one ruler for both sides: the clock, and the highest resident size as Linux counts it."""
import json
import os
import pathlib
import select
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent


class Failed(Exception):
    pass


def peak(pid):
    """VmHWM in bytes; 0 for a process that has ended."""
    try:
        with open(f"/proc/{pid}/status") as f:
            return next((int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM:")), 0)
    except OSError:
        return 0


def run(command, watch=False):
    """(standard output, seconds, peak bytes) of a command that must succeed. Memory is looked at only on request."""
    command = [str(c) for c in command]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        highest, fd = 0, os.pidfd_open(p.pid)
        while not select.select([fd], [], [], 0.2 if watch else None)[0]:
            highest = max(highest, peak(p.pid))
        seconds = time.perf_counter() - start
        os.close(fd)
        p.wait()
        for f in (out, err):
            f.seek(0)
        if p.returncode:
            last = (err.read().strip() or "no message").splitlines()[-1]
            raise Failed(f"{' '.join(map(os.path.basename, command[:2]))}: exit {p.returncode}: {last}")
        return out.read(), seconds, highest


class Worker:
    """A side that lives through all rounds of a row (worker.py is its other end)."""

    def __init__(self, program, options, timeout=900):
        self.log = tempfile.TemporaryFile("w+")
        self.timeout = timeout
        threads = str(options["threads"])
        # Huge pages because our runtime asks for them, too: PyTorch is a few percent faster so.
        env = {"THP_MEM_ALLOC_ENABLE": "1", **os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        # A driver that is killed takes its workers along: their standard input ends.
        self.p = subprocess.Popen([sys.executable, str(HERE / program), json.dumps(options)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=self.log, env=env)
        self.answer()

    def answer(self):
        if not select.select([self.p.stdout], [], [], self.timeout)[0]:
            self.close()
            raise Failed(f"no answer in {self.timeout} s")
        line = self.p.stdout.readline()
        answer = json.loads(line) if line else {"ok": False, "error": f"ended with {self.p.wait()}, {self.last_words()}"}
        if not answer["ok"]:
            self.close()
            raise Failed(answer["error"])
        return answer.get("result")

    def last_words(self):
        self.log.seek(0)
        return (self.log.read().strip() or "no message").splitlines()[-1]

    def ask(self, what, **arguments):
        try:
            self.p.stdin.write((json.dumps({"do": what, **arguments}) + "\n").encode())
            self.p.stdin.flush()
        except OSError:
            pass  # it has ended: the missing answer says so, with its last words
        return self.answer()

    def forget_peak(self):
        """Lets the highest resident size start again from what is resident now."""
        try:
            pathlib.Path(f"/proc/{self.p.pid}/clear_refs").write_text("5")
        except OSError:
            pass  # the peak of compiling and warming up then counts, too

    def peak(self):
        return peak(self.p.pid)

    def close(self):
        self.p.kill()
        self.p.wait()
