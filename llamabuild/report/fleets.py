"""A fleet's builds, as a page: who is served by what, what it saves, what each machine loses."""

from __future__ import annotations

from collections.abc import Sequence

from llamabuild.fleet import Job
from llamabuild.model import Hardware
from llamabuild.report import words
from llamabuild.report.table import table
from llamabuild.report.words import clean


def page(jobs: Sequence[Job], separate: int) -> str:
    """The builds, one block each, and the saving against one build for each kind of machine."""
    machines = sum(len(job.group.machines) for job in jobs)
    head = f"{words.plural(len(jobs), 'build')} for {words.plural(machines, 'machine')}"
    saved = separate - len(jobs)
    if saved > 0:
        head += f"; a build of its own for each kind would be {separate}: {saved} saved"
    blocks = [_block(number, job) for number, job in enumerate(jobs, start=1)]
    return "\n\n".join((f"{head}.", *blocks))


def _block(number: int, job: Job) -> str:
    group = job.group
    hardware = group.hardware
    where = " ".join(filter(None, (hardware.os, hardware.arch, hardware.libc)))
    rows = [
        ("Serves", ", ".join(group.machines)),
        ("Runs on", where),
        ("Back-ends", ", ".join(group.backends)),
        *(("Devices", named) for named in [_devices(hardware)] if named),
        ("CPU", "every variant, the best is loaded" if group.cpu == "fat" else "one kind, native"),
        *(("", f"{name}: {clean(loss)}") for name, loss in group.losses.items()),
        *(("Note", note) for note in group.notes),
    ]
    if job.plan:
        rows += [("Made for", job.plan.fingerprint)]
        rows += [
            ("Option", f"{flag.name}={words.setting(flag.value)}")
            for flag in job.plan.flags
            if "ARCHITECTURES" in flag.name or "TARGETS" in flag.name
        ]
    else:
        rows += [("Not here", clean(job.why_not))]
    return f"Build {number}\n" + table(rows)


def _devices(hardware: Hardware) -> str:
    """The accelerators, by the words that decide what is compiled for them."""
    named = (
        f"{one.name} ({' '.join(filter(None, (one.backend, one.architecture)))})"
        for one in hardware.devices
        if one.backend != "cpu"
    )
    return ", ".join(dict.fromkeys(map(clean, named)))
