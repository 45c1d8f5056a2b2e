"""Mutation testing of the pure core: `make mutants`, or `python -m tests.mutation --sample 600`.

Of the rooms: `python -m tests.mutation bridge/rooms --tests tests/unit/rooms --sample 300`.

Each mutant (`mutants.py`) should fail some test. Prints the surviving mutants, in lines that
`--again FILE` reads, and the score. A mutant of a function is run in a fork of a process that has
imported everything: the function's code object is replaced, and only the tests that execute its
lines run, fastest first. Code that runs at import (tables and defaults, included by `--tables`)
needs a new process with all tests, which takes half a minute.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import coverage
import pytest
from _pytest.runner import runtestprotocol

from tests.mutation.mutants import Mutant, mutants

CORE = (Path("bridge/webchat"), Path("bridge/conversation"))
_PURE = ("codes", "conversation*", "numbers", "protocol*", "traps")
TESTS = (
    "tests/unit/webchat",
    "tests/unit/conversation",
    *(str(file) for name in _PURE for file in Path("tests/conformance").glob(f"test_{name}.py")),
)
QUIET = ("-q", "-s", "-x", "-p", "no:cacheprovider")
SHORT = {"WALK_STEPS": "2000", "MISSED_SEEDS": "6"}
"""Length of randomised tests: a mutant that only longer ones would kill counts as a survivor."""
MEMORY = 3 << 30
"""Memory limit in bytes, for mutants with endless loops."""
Place = tuple[str, str, int]
"""File, qualified name and first line of a function."""


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def found_in(paths: Sequence[Path]) -> list[Mutant]:
    files = sorted(file for path in paths for file in ([path], path.rglob("*.py"))[path.is_dir()])
    return [mutant for file in files for mutant in mutants(file)]


def place_of(code: CodeType) -> Place:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def code_of(module: CodeType, place: Place) -> CodeType:
    """Return the code object of a function in that of its module."""
    left = [module]
    while place_of(left[-1]) != place:
        left[-1:] = [one for one in left[-1].co_consts if isinstance(one, CodeType)]
    return left[-1]


def survives(trial: Callable[[], bool], seconds: float) -> bool:
    """Whether `trial` returns True in a fork, within this CPU time.

    By the clock it has five times that, as a mutant may wait for ever.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            signal.setitimer(signal.ITIMER_PROF, seconds)
            signal.setitimer(signal.ITIMER_REAL, 30 + 5 * seconds)
            code = 0 if trial() else 1
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def survives_alone(mutant: Mutant, tests: Sequence[str]) -> bool:
    """Whether all tests pass with a mutant, in a new process."""
    told = ("--alone", str(mutant), str(mutant.path), "--tests", *tests)
    command = [sys.executable, "-m", "tests.mutation", *told]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603


class Laboratory:
    """A pytest plugin that runs all tests once with coverage, then tries the mutants."""

    def __init__(self, tried: Sequence[Mutant], tests: Sequence[str]) -> None:
        self.tried, self._tests = tried, tests
        self.alive = self.done = 0
        self._functions: defaultdict[Place, list[FunctionType]] = defaultdict(list)
        self._caches: list[functools._lru_cache_wrapper[object]] = []
        self._coverage = coverage.Coverage(data_file=None, config_file=False, source=["bridge"])
        self._coverage.start()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        from hypothesis import Phase, settings  # pytest warns if imported earlier

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutants", settings(), database=None, phases=phases)
        settings.load_profile("mutants")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        took = self._run_once(session.items)
        self._learn_functions()
        data = self._coverage.get_data()
        files = {mutant.path for mutant in self.tried}
        came = {path: data.contexts_by_lineno(str(path.resolve())) for path in files}
        items = [item for item in session.items if item.nodeid in took]
        items.sort(key=lambda item: took[item.nodeid])
        for mutant in self.tried:
            tests = {test for line in mutant.lines for test in came[mutant.path].get(line, ())}
            chosen = [item for item in items if item.nodeid in tests]
            seconds = 1.5 + 2 * sum(took[item.nodeid] for item in chosen)
            trial = functools.partial(self._passes, mutant, chosen)
            lives = mutant.function is None or survives(trial, seconds)
            if lives and (not chosen or "" in tests):
                lives = survives_alone(mutant, self._tests)
            self.alive, self.done = self.alive + lives, self.done + 1
            if lives:
                say(f"lives: {mutant}")
            if self.done % 100 == 0:
                say(f"{self.done} tried, {self.alive} live")
        return True

    def _run_once(self, items: Sequence[pytest.Item]) -> dict[str, float]:
        """Return the CPU seconds of each test; report and skip tests that fail without a mutant."""
        took = {}
        for item in items:
            if item.get_closest_marker("asyncio") and "unit" not in item.path.parts:
                continue  # runs servers: slow
            self._coverage.switch_context(item.nodeid)
            started = time.process_time()
            reports = runtestprotocol(item, log=False, nextitem=None)
            took[item.nodeid] = time.process_time() - started
            if failed := [one for one in reports if one.failed]:
                del took[item.nodeid]
                say(f"fails without a mutant: {item.nodeid}\n{failed[0].longreprtext}")
        self._coverage.stop()
        return took

    def _learn_functions(self) -> None:
        gc.unfreeze()  # `tests/conftest.py` froze them: they would not be among the objects
        for one in gc.get_objects():
            if type(one) is FunctionType:  # isinstance raises for a dead proxy
                self._functions[place_of(one.__code__)].append(one)
            elif type(one) is functools._lru_cache_wrapper:
                self._caches.append(one)
        gc.freeze()  # otherwise the first collection in each fork copies most of the memory

    def _passes(self, mutant: Mutant, items: Sequence[pytest.Item]) -> bool:
        """Mutate a function in this process; return whether the tests pass, run until one fails."""
        assert mutant.function is not None
        place = (str(mutant.path.resolve()), *mutant.function)
        code = code_of(mutant.compiled(), place)
        for function in self._functions[place]:
            function.__code__ = code
        for cache in self._caches:
            cache.cache_clear()
        reports = (one for item in items for one in runtestprotocol(item, log=False, nextitem=None))
        return not any(one.failed for one in reports)


class Loader(importlib.machinery.SourceFileLoader):
    mutant: Mutant

    def get_code(self, fullname: str) -> CodeType:
        return self.mutant.compiled()


class Finder(importlib.abc.MetaPathFinder):
    """An import hook that loads the mutated module instead of the original."""

    def __init__(self, mutant: Mutant) -> None:
        name = ".".join(mutant.path.with_suffix("").parts)
        self._loader = Loader(name, str(mutant.path.resolve()))
        self._loader.mutant = mutant

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        known = name == self._loader.name
        return importlib.util.spec_from_loader(name, self._loader) if known else None


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.mutation", description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, default=CORE, help="files or folders")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="those that should notice")
    parser.add_argument("--sample", type=int, default=sys.maxsize, help="how many; else all")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    parser.add_argument("--tables", action="store_true", help="what runs at the import, too")
    parser.add_argument("--again", type=Path, help="output of a former run: only what lived")
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    told = parser.parse_args()
    os.environ.update(SHORT)
    found = found_in(told.paths)
    if told.alone:
        (mutant,) = (one for one in found if str(one) == told.alone)
        sys.meta_path.insert(0, Finder(mutant))
        return int(pytest.main([*QUIET, *told.tests]))
    if told.again:
        lived = set(told.again.read_text().splitlines())
        tried = [one for one in found if f"lives: {one}" in lived]
    else:
        found = [one for one in found if one.function or told.tables]
        tried = random.Random(told.seed).sample(found, min(told.sample, len(found)))  # noqa: S311
    laboratory = Laboratory(tried, told.tests)
    pytest.main([*QUIET, *told.tests], plugins=[laboratory])
    killed, done = laboratory.done - laboratory.alive, max(laboratory.done, 1)
    say(f"seed {told.seed}: {killed} of {laboratory.done} mutants killed, {killed / done:.1%}")
    return int(laboratory.done < len(tried))


if __name__ == "__main__":
    sys.exit(main())
