"""Sides that take turns, so that a machine that slows down slows all of them, and what is said of the times."""
import statistics
import sys
import time


def tell(text):
    print(text, file=sys.stderr, flush=True)


def take_turns(sides, rounds, steps):
    """{name: [seconds of each step] for each round}; who begins changes from round to round."""
    took = {name: [] for name in sides}
    for i in range(rounds):
        for name in list(sides)[:: -1 if i % 2 else 1]:
            time.sleep(0.2)  # the other side's idle threads spin for a moment before they sleep
            took[name].append(sides[name](steps))
        tell(f"  round {i + 1}: " + ", ".join(f"{name} {statistics.median(t[-1]):.4f} s" for name, t in took.items()))
    return took


def summary(took):
    every = [s for t in took for s in t]
    return {"median_s": statistics.median(every), "min_s": min(every), "max_s": max(every), "rounds": took}


def ratios(took, above, below):
    """The median of the rounds' ratios, and those: something else that computes for a while spoils a round for both sides."""
    per_round = [statistics.median(a) / statistics.median(b) for a, b in zip(took[above], took[below])]
    return statistics.median(per_round), per_round
