"""GitHub's workflows, acted out on this machine: expressions, matrices, conditions, outputs and
artifacts, with the real shell. Only what our own workflows use is known; the rest is an error.

Semantics: https://docs.github.com/en/actions/reference/workflows-and-actions
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

_TOKEN = re.compile(r"\s*('(?:[^']|'')*'|&&|\|\||==|!=|[!(),]|[A-Za-z_][\w.-]*|\d+)")
_STATUS = re.compile(r"\b(always|cancelled|failure|success)\(\)")


def load(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


class Expression:
    """One expression over contexts. ``ok`` is what success() says."""

    def __init__(self, text: str, contexts: Mapping[str, Any], *, ok: bool) -> None:
        self._rest = _TOKEN.findall(text)
        assert "".join(self._rest) == re.sub(r"\s+(?=(?:[^']*'[^']*')*[^']*$)", "", text), text
        self._contexts = contexts
        self._ok = ok

    def value(self) -> Any:
        found = self._either()
        assert not self._rest, self._rest
        return found

    def _next(self, *wanted: str) -> str:
        return self._rest.pop(0) if self._rest and self._rest[0] in wanted else ""

    def _either(self) -> Any:
        left = self._both()
        while self._next("||"):
            right = self._both()
            left = left or right
        return left

    def _both(self) -> Any:
        left = self._compared()
        while self._next("&&"):
            right = self._compared()
            left = left and right
        return left

    def _compared(self) -> Any:
        left = self._one()
        while sign := self._next("==", "!="):
            left = (_plain(left) == _plain(self._one())) == (sign == "==")
        return left

    def _one(self) -> Any:
        if self._next("!"):
            return not self._one()
        if self._next("("):
            found = self._either()
            assert self._next(")")
            return found
        token = self._rest.pop(0)
        if token.startswith("'"):
            return token[1:-1].replace("''", "'")
        if token.isdigit():
            return int(token)
        return self._call(token) if self._next("(") else self._looked_up(token)

    def _call(self, name: str) -> Any:
        words: list[Any] = []
        while not self._next(")"):
            words.append(self._either())
            self._next(",")
        return {
            "always": lambda: True,
            "cancelled": lambda: False,
            "success": lambda: self._ok,
            "failure": lambda: not self._ok,
            "fromJSON": json.loads,
            "startsWith": lambda text, begin: _plain(text).startswith(_plain(begin)),
            "format": lambda text, *more: text.format(*more),
        }[name](*words)

    def _looked_up(self, name: str) -> Any:
        if name in ("true", "false"):
            return name == "true"
        found: Any = self._contexts
        first, *more = name.split(".")
        assert first in found, f"there is no context {first}"
        for part in (first, *more):
            found = found.get(part) if isinstance(found, Mapping) else None
        return "" if found is None else found


def _plain(value: Any) -> str:
    """Comparisons ignore case and kind."""
    return _text(value).lower()


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def filled(value: Any, contexts: Mapping[str, Any]) -> Any:
    """A value in whose texts expressions are replaced; one that is nothing else keeps its kind."""
    if isinstance(value, Mapping):
        return {name: filled(part, contexts) for name, part in value.items()}
    if isinstance(value, list):
        return [filled(part, contexts) for part in value]
    if not isinstance(value, str):
        return value
    if (whole := re.fullmatch(r"\s*\$\{\{((?:(?!\}\}).)*)\}\}\s*", value, re.DOTALL)) is not None:
        return Expression(whole[1], contexts, ok=True).value()
    return re.sub(
        r"\$\{\{(.*?)\}\}",
        lambda found: _text(Expression(found[1], contexts, ok=True).value()),
        value,
        flags=re.DOTALL,
    )


def holds(condition: Any, contexts: Mapping[str, Any], *, ok: bool) -> bool:
    """Whether an `if` lets its job or step run."""
    text = str(condition).strip()
    text = text[3:-2] if text.startswith("${{") and text.endswith("}}") else text
    if not _STATUS.search(text) and not ok:
        return False
    return bool(Expression(text, contexts, ok=ok).value())


@dataclass
class Job:
    """How a job (of a matrix: all of them) went."""

    result: str = "skipped"
    outputs: dict[str, str] = field(default_factory=dict)
    said: str = ""


@dataclass
class Acting:
    """A run of a workflow. ``repository`` is what a checkout brings, ``project`` where actions of
    the workflow's own repository are, ``folder`` a place for everything, ``path`` stands before the
    system's programs."""

    project: Path
    repository: Path
    folder: Path
    path: Path
    github: Mapping[str, Any]
    inputs: Mapping[str, Any]
    secrets: Mapping[str, str] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)

    def run(self, workflow: str) -> dict[str, Job]:
        """Act out a reusable workflow; returns its jobs."""
        tree = load(self.project / workflow)
        known = tree["on"]["workflow_call"]
        assert set(self.inputs) <= set(known["inputs"])
        assert set(self.secrets) <= set(known["secrets"])
        given = {name: one.get("default", "") for name, one in known["inputs"].items()}
        self.inputs = {**given, **self.inputs}
        (self.folder / "artifacts").mkdir(parents=True, exist_ok=True)
        for name, job in tree["jobs"].items():
            self.jobs[name] = self._job(name, job)
        return self.jobs

    def _job(self, name: str, job: Mapping[str, Any]) -> Job:
        needed = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
        contexts = {
            "github": self.github,
            "inputs": self.inputs,
            "secrets": self.secrets,
            "needs": {
                one: {"result": self.jobs[one].result, "outputs": self.jobs[one].outputs}
                for one in needed
            },
        }
        ok = all(self.jobs[one].result == "success" for one in needed)
        if not holds(job.get("if", "success()"), contexts, ok=ok):
            return Job()
        matrix = filled(job.get("strategy", {}).get("matrix", {"include": [{}]}), contexts)
        assert 1 <= len(matrix["include"]) <= 256
        made = Job(result="success")

        def act(number: int, entry: Mapping[str, Any]) -> None:
            place = self.folder / f"{name}-{number}"
            self._one(job, {**contexts, "matrix": entry}, place, made)

        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(act, *zip(*enumerate(matrix["include"]), strict=True)))
        return made

    def _one(
        self, job: Mapping[str, Any], contexts: dict[str, Any], place: Path, made: Job
    ) -> None:
        work, temp = place / "work", place / "temp"
        work.mkdir(parents=True)
        temp.mkdir()
        contexts = {**contexts, "runner": {"temp": str(temp)}, "steps": {}}
        assert filled(job["runs-on"], contexts)
        if not self._steps(job["steps"], contexts, work, {}, made):
            made.result = "failure"
        for output, value in job.get("outputs", {}).items():
            made.outputs[output] = filled(value, contexts)

    def _steps(
        self,
        steps: list[dict[str, Any]],
        contexts: dict[str, Any],
        work: Path,
        env: Mapping[str, str],
        made: Job,
    ) -> bool:
        ok = True
        for step in steps:
            record = contexts["steps"].setdefault(step.get("id", id(step)), {})
            record |= {"outcome": "skipped", "outputs": {}}
            if not holds(step.get("if", "success()"), contexts, ok=ok):
                continue
            own = {k: _text(v) for k, v in filled(step.get("env", {}), contexts).items()}
            went = self._step(step, contexts, work, {**env, **own}, made, record["outputs"])
            record["outcome"] = "success" if went else "failure"
            ok = ok and went
        return ok

    def _step(
        self,
        step: Mapping[str, Any],
        contexts: dict[str, Any],
        work: Path,
        env: Mapping[str, str],
        made: Job,
        outputs: dict[str, str],
    ) -> bool:
        if "run" in step:
            return self._shell(filled(step["run"], contexts), contexts, work, env, made, outputs)
        given = filled(step.get("with", {}), contexts)
        action, _, pin = step["uses"].partition("@")
        if action.startswith("$/"):
            tree = load(self.project / action[2:] / "action.yml")
            known = {name: one.get("default", "") for name, one in tree["inputs"].items()}
            assert set(given) <= set(known)
            inner = {**contexts, "inputs": {**known, **given}, "secrets": {}, "steps": {}}
            return self._steps(tree["runs"]["steps"], inner, work, env, made)
        assert re.fullmatch("[0-9a-f]{40}", pin), f"{action} is not pinned"
        return self._known(action, given, work)

    def _known(self, action: str, given: Mapping[str, Any], work: Path) -> bool:
        """The actions of GitHub's own that are used, as far as files show it."""
        kept = self.folder / "artifacts" / str(given.get("name", ""))
        if action == "actions/checkout":
            shutil.copytree(self.repository, work, dirs_exist_ok=True)
        elif action == "actions/upload-artifact":
            found = glob.glob(os.path.join(work, str(given["path"])))
            assert not kept.exists(), f"two artifacts are called {kept.name}"
            for one in map(Path, found):
                shutil.copytree(one, kept) if one.is_dir() else _copy(one, kept / one.name)
            return bool(found) or given.get("if-no-files-found") == "ignore"
        elif action == "actions/download-artifact":
            shutil.copytree(kept, work / str(given["path"]))
        else:
            assert action == "actions/setup-python", action
        return True

    def _shell(
        self,
        script: str,
        contexts: Mapping[str, Any],
        work: Path,
        env: Mapping[str, str],
        made: Job,
        outputs: dict[str, str],
    ) -> bool:
        temp = Path(contexts["runner"]["temp"])
        out = temp / "output"
        out.write_text("")
        ended = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=work,
            env={**self._base(temp), "GITHUB_OUTPUT": str(out), **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        made.said += ended.stdout + ended.stderr
        outputs |= dict(line.split("=", 1) for line in out.read_text().splitlines())
        return ended.returncode == 0

    def _base(self, temp: Path) -> dict[str, str]:
        """Nothing of this machine's own variables."""
        system = "/usr/local/bin:/usr/bin:/bin"
        return {
            "PATH": f"{self.path}:{Path(sys.executable).parent}:{system}",
            "HOME": str(temp),
            "RUNNER_TEMP": str(temp),
            "GITHUB_ACTIONS": "true",
            "CI": "true",
            "LANG": "C.UTF-8",
        }


def _copy(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(file, target)
