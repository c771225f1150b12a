"""Call everything public with hostile arguments; count what comes of it.

    python tests/fuzz/fuzz.py --inputs 10000

Each input has one or two arguments that a caller could pass by mistake. Allowed are an error that the package
raises itself and that names the argument or the row, and a right result: finite, of the right shape, with
known classes. All else is a fault. Seeds are fixed: input i is the same in every run, and ``--only i`` runs
it alone with its traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import dis
import io
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TQDM_DISABLE="1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

import numpy as np  # noqa: E402 - after the threads are set

SECONDS = 60  # what takes longer hangs
GIGABYTES = 4  # of address space: a huge array fails at once, instead of filling the machine
# More of these is more work, which is no mistake: large numbers of them are not tried.
WORK = re.compile(
    r"epochs|n_|max_(steps|iter|fun)|.*size|.*rank|k$|.*hidden|width|ffn_width|head_hidden|.*length|evaluate_every"
    r"|epoch_size|layers?$|time_limit|cv$|.*tokens"
)
ROWS = re.compile(r"\b(rows?|sequences?|pairs?|targets?|variants?|lines?|proteins?|fields?)\b", re.IGNORECASE)
# What errors call some arguments, scikit-learn's among them.
ALIASES = {
    "random_state": "seed",
    "name": "scorer",
    "cv": "n_splits",
    "estimator": "estimators",
    "candidates": "X",
    "exclude": "X",
    "X_val": "X",
    "y_val": "y|[Ll]abels",
    "variants": "X",
    "sequences": "X",
    "queries": "X",
    "targets": "X",
    "scoring": "scorer",
    "expected": "fingerprint",
    "names": "target_modules",
    "y": "[Ll]abels",
    "lora_dropout": "dropout",
    "labels_true": "labels",
    "labels_pred": "labels",
}


class Outcome(NamedTuple):
    """What became of one input: its kind, and for a fault where it came from."""

    kind: str
    place: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--only", type=int, help="one input, with its traceback")
    parser.add_argument("--calls", default="", help="regular expression: only calls of such names")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES << 30,) * 2)
    with tempfile.TemporaryDirectory() as home:
        os.environ["PLMLEARN_CACHE"] = str(Path(home) / "cache")
        os.chdir(home)
        return fuzz(Path(home), arguments)


def fuzz(home: Path, arguments: argparse.Namespace) -> int:
    import torch
    from calls import estimators, functions
    from conftest import write_esm

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    backbone = write_esm(
        home / "esm", hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
    )
    calls = [
        call
        for call in (*functions(home, backbone), *estimators(backbone))
        if re.search(arguments.calls, call.name)
    ]
    chosen = range(arguments.inputs) if arguments.only is None else [arguments.only]
    outcomes, faults = Counter(), defaultdict(list)
    for i in chosen:
        call, given, changed = draw(calls, i)
        outcome = judge(call, given, changed, show=arguments.only is not None)
        outcomes[outcome.kind] += 1
        if outcome.place:
            shown = ", ".join(f"{name}={given[name]!r:.80}" for name in changed)
            faults[outcome.kind, outcome.place].append(f"{i}: {call.name}({shown})")
    return report(outcomes, faults)


def draw(calls: list, i: int) -> tuple[Any, dict, list[str]]:
    """Input i: a call, its arguments, and the names of those that are hostile."""
    from calls import kind_of

    rng = np.random.default_rng((0, i))
    call = calls[rng.integers(len(calls))]
    free = [name for name in call.good if name not in call.fixed]
    changed = sorted(rng.choice(free, min(len(free), 1 + (rng.random() < 0.25)), replace=False).tolist())
    given = dict(call.good)
    for name in changed:
        make = call.kinds.get(name, kind_of(name))
        given[name] = drawn(make, call.good[name], rng)
        while is_work(name, given[name]):
            given[name] = drawn(make, call.good[name], rng)
    return call, given, changed


def drawn(make: Any, good: Any, rng: np.random.Generator) -> Any:
    """A hostile value; not every container takes every row."""
    for _ in range(1000):
        with contextlib.suppress(Exception):
            return make(good, rng)
    return make(good, rng)  # always fails: let it show how


def is_work(name: str, value: Any) -> bool:
    """Whether a value is no mistake, but asks for more work, or for a function of the caller's own."""
    if name == "scoring" and callable(value):
        return True
    if not WORK.match(name.rpartition("__")[2]):
        return False
    with contextlib.suppress(TypeError, ValueError, OverflowError, RuntimeError):
        return 64 < abs(value) < float("inf")
    return False


# -- judgement ------------------------------------------------------------------------------------


def judge(call: Any, given: dict, changed: list[str], *, show: bool = False) -> Outcome:
    try:
        with limited(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            result = call.run(**given)
            right = call.is_right(result, given)
    except Exception as error:
        if show:
            traceback.print_exc()
        return judged_error(error, given)
    return Outcome("a right result") if right else Outcome("FAULT: a wrong result", call.name)


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """End what hangs."""

    def give_up(*_: Any) -> None:
        raise TimeoutError(f"took more than {SECONDS} seconds")

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def judged_error(error: Exception, given: dict) -> Outcome:
    kind, place = type(error).__name__, place_of(error)
    if not is_raised_on_purpose(error):
        return Outcome(f"FAULT: a raw {kind}", f"{place}: {str(error)[:100]!r}")
    if not names_the_cause(str(error), given):
        return Outcome("FAULT: an error that names nothing", f"{place}: {kind}: {str(error)[:140]!r}")
    return Outcome("an error that names the argument or the row")


def is_raised_on_purpose(error: Exception) -> bool:
    """Whether a ``raise`` statement of the package raised it, or scikit-learn's check of an argument."""
    from plmlearn.training.engine import TrainingDivergedError

    last = list(traceback.walk_tb(error.__traceback__))[-1][0]
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    by_statement = dis.opname[last.f_code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"
    ours = "/plmlearn/" in last.f_code.co_filename or re.search(
        r"/sklearn/(utils|model_selection)/", last.f_code.co_filename
    )
    return by_statement and bool(ours) and isinstance(
        error, ValueError | TypeError | OSError | ImportError | TrainingDivergedError
    )  # fmt: skip


def names_the_cause(message: str, given: dict) -> bool:
    """Whether a message names an argument, quotes one that is a text or a path, or names a row."""
    quoted = [str(value) for value in given.values() if isinstance(value, str | Path)]
    names = {part for name in given for part in (name, name.rpartition("__")[2])}
    names |= {"X" for name in names if name.startswith("X_")}
    names |= {ALIASES[name] for name in names & ALIASES.keys()}
    words = "|".join(sorted(names))
    return bool(re.search(rf"(?<!\w)({words})(?!\w)", message) or ROWS.search(message)) or any(
        len(text) > 2 and text in message for text in quoted
    )


def place_of(error: Exception) -> str:
    """Where the package called what failed, and where it failed."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/plmlearn/" in frame.filename]
    places = own[-1:] or frames[-1:]
    if frames[-1] is not places[-1]:
        places.append(frames[-1])
    return " -> ".join(f"{Path(f.filename).parent.name}/{Path(f.filename).name}:{f.name}" for f in places)


def report(outcomes: Counter, faults: dict) -> int:
    for (kind, place), inputs in sorted(faults.items(), key=lambda item: -len(item[1])):
        print(f"{len(inputs)} x {kind} at {place}")
        for line in inputs[:3]:
            print(f"      {line}")
    for outcome, n in outcomes.most_common():
        print(f"{n:7d}  {outcome}")
    print(f"{sum(map(len, faults.values()))} faults")
    return bool(faults)


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    sys.exit(code)
