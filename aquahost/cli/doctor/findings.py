"""What is to be said of a report, the worst first. Pure: looks at nothing but the report."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

from aquahost.cli.doctor.report import HOST, Finding, Hardware, Report, Severity
from aquahost.messages.snapshot import LinkView, ModelState, Snapshot
from aquahost.units import format_bytes

_SLOW = 4.0
"""A link this many times slower than the usual one of its sort is worth a word."""
_MOST_LISTED = 8
_NOT_NEEDED_EVERYWHERE = "cuda-bindings"
_VARIABLES = {"runtime": "AQUAHOST_RUNTIME_DIR", "logs": "AQUAHOST_LOG_DIR", "cache": "AQUAHOST_CACHE_DIR"}


def findings(report: Report, snapshot: Snapshot | None) -> list[Finding]:
    """Everything found; `snapshot` is that of the daemon, if one answers."""
    found = [*_setup(report), *_daemon(report), *_driver(report)]
    if snapshot is not None:
        found += _snapshot(snapshot)
    if report.hardware is not None:
        leasing = snapshot.leasing if snapshot is not None else report.config.leasing
        found += _gpus(report, report.hardware)
        if leasing:
            untested = snapshot is not None and snapshot.lending_trouble is not None
            found += _lending(report.hardware, daemon_tells=untested)
        else:
            found.append(_note("GPUs do not lend", "set leasing.enabled to true"))
        found += _links(report.hardware)
    return sorted(found, key=lambda finding: finding.severity is not Severity.PROBLEM)


def link_name(link: LinkView) -> str:
    """The link in words: "GPU 0 → host"."""
    return f"{end_name(link.source)} → {end_name(link.target)}"


def end_name(end: int) -> str:
    """One end of a link in words."""
    return "host" if end == HOST else f"GPU {end}"


def _problem(what: str, advice: str) -> Finding:
    return Finding(Severity.PROBLEM, what, advice)


def _note(what: str, advice: str) -> Finding:
    return Finding(Severity.NOTE, what, advice)


def _setup(report: Report) -> Iterator[Finding]:
    for mistake in report.config.mistakes:
        yield _problem(mistake, "correct it; `aquahost config check` says when all is well")
    for place in report.places:
        if place.trouble:
            yield _problem(
                f"{place.what} folder {place.path}: {place.trouble}",
                f"make it yours, or set {_VARIABLES[place.what]} to a folder of your own",
            )
    for name, version in report.packages.items():
        if version is None and name != _NOT_NEEDED_EVERYWHERE:
            yield _problem(f"the package {name} is not installed", f"install aquahost again, or: pip install {name}")


def _daemon(report: Report) -> Iterator[Finding]:
    daemon = report.daemon
    if daemon.answers and daemon.trouble:
        yield _problem(f"the daemon's answer makes no sense: {daemon.trouble}", "aquahost down; aquahost up -d")
    elif daemon.trouble:
        yield _problem(
            f"the daemon (pid {daemon.pid}) does not answer: {daemon.trouble}",
            "aquahost logs; then: aquahost down --now",
        )
    elif not daemon.answers:
        yield _note("no daemon runs", "aquahost up -d")
    elif daemon.version != report.version:
        yield _problem(
            f"the daemon is version {daemon.version}, this command {report.version}", "aquahost down; aquahost up -d"
        )


def _driver(report: Report) -> Iterator[Finding]:
    hardware = report.hardware
    if hardware is None:
        if report.config.driver == "cuda":
            advice = "install NVIDIA's driver and the `cuda` extra (see the README), or set host.driver to emulated"
        else:
            advice = "aquahost logs, if a daemon runs; else report this with the output of: aquahost doctor -o json"
        yield _problem(f"the GPUs cannot be looked at: {report.hardware_trouble}", advice)
    elif hardware.driver == "emulated":
        because = f" ({hardware.why_not_cuda})" if hardware.why_not_cuda else ""
        yield _note(
            f"models run on the CPU: the GPUs are emulated{because}",
            "good for trying things out; for real GPUs install NVIDIA's driver and the `cuda` extra (see the README), "
            "and set host.driver to cuda",
        )


def _snapshot(snapshot: Snapshot) -> Iterator[Finding]:
    if snapshot.leasing and snapshot.lending_trouble is not None:
        yield _problem(
            f"nothing is lent: {snapshot.lending_trouble}",
            "aquahost doctor --measure, which tests the links as they are now; once they hold: aquahost down; "
            "aquahost up -d",
        )
    for model in snapshot.models:
        if model.state is ModelState.FAILED:
            yield _problem(
                f"the model {model.name} failed: {model.reason}",
                f"aquahost logs {model.name}; then: aquahost load {model.name}",
            )
    late = [lease for lease in snapshot.leases if (lease.deadline_in_s or 0) < 0]
    for lease in late[:_MOST_LISTED]:
        yield _note(
            f"lease {lease.id} of {lease.borrower} is late with {format_bytes(lease.recalled_bytes)} for GPU "
            f"{lease.donor}",
            "nothing: a borrower that stays late is restarted; if it is late often, raise leasing.recall_deadline_s",
        )


def _gpus(report: Report, hardware: Hardware) -> Iterator[Finding]:
    known = {gpu.index for gpu in hardware.gpus}
    if not known:
        yield _problem("there is no GPU", "check CUDA_VISIBLE_DEVICES, and the GPUs of this container (--gpus all)")
    for gpu in hardware.gpus:
        if gpu.lost is not None:
            yield _problem(
                f"GPU {gpu.index} is lost: {gpu.lost}",
                "look for Xid errors in `dmesg`; reset the GPU or the machine, then: aquahost down; aquahost up -d",
            )
    for model, index in report.config.fixed_gpus.items():
        if known and report.hardware_from == "probe" and index not in known:
            yield _problem(f"the model {model} is to live on GPU {index}, which is not there", "set its gpu to auto")


def _lending(hardware: Hardware, *, daemon_tells: bool) -> Iterator[Finding]:
    """What keeps the GPUs, those that are not lost, from lending to each other; the daemon may have told already why
    their links are not tested.
    """
    indices = sorted({gpu.index for gpu in hardware.gpus if gpu.lost is None})
    if len(indices) == 1:
        setting = "host.partition" if hardware.driver == "cuda" else "host.emulated.gpus"
        yield _note("with one GPU there is nobody to lend to", f"{setting} makes several")
    usable = {(link.source, link.target) for link in hardware.links if link.usable}
    tested = [link for link in hardware.links if HOST not in (link.source, link.target)]
    if len(indices) < 2:
        return
    if not tested:
        if not daemon_tells:
            yield _note("the links between the GPUs have not been tested", "aquahost doctor --measure")
        return
    partners = {
        gpu: [other for other in indices if {(gpu, other), (other, gpu)} <= usable and other != gpu] for gpu in indices
    }
    if alone := [f"GPU {gpu}" for gpu in indices if not partners[gpu]]:
        yield _problem(
            f"{_listed(alone)} can neither lend nor borrow: no other GPU is reached both ways",
            "see the reasons and hints above (--measure gives both anew); models run, but page to host memory",
        )
    pairs = len(indices) * (len(indices) - 1) // 2
    lending = sum(map(len, partners.values())) // 2
    if lending < pairs and not all(not partners[gpu] for gpu in indices):
        yield _note(
            f"{pairs - lending} of {pairs} pairs of GPUs do not lend to each other",
            "see the reasons above; put models that should lend to each other on GPUs that can",
        )


def _links(hardware: Hardware) -> Iterator[Finding]:
    lost = {gpu.index for gpu in hardware.gpus if gpu.lost is not None}
    broken = [
        link_name(link)
        for link in hardware.links
        if not link.usable and HOST in (link.source, link.target) and not lost & {link.source, link.target}
    ]
    if broken:
        yield _problem(
            f"host memory is not to be used over {_listed(broken)}",
            "see the reasons above; models that need more KV memory than their GPU has cannot page there",
        )
    yield from _slow(hardware.links, lambda link: HOST not in (link.source, link.target))
    yield from _slow(hardware.links, lambda link: HOST in (link.source, link.target))


def _slow(links: Sequence[LinkView], of_sort: Callable[[LinkView], bool]) -> Iterator[Finding]:
    measured = [link for link in links if link.usable and link.bytes_per_s > 0 and of_sort(link)]
    if not measured:
        return
    usual = statistics.median(link.bytes_per_s for link in measured)
    if slow := [link_name(link) for link in measured if link.bytes_per_s * _SLOW < usual]:
        yield _note(
            f"{_listed(slow)}: more than {_SLOW:.0f} times slower than the usual {format_bytes(usual)}/s",
            "measure again on an idle machine (--measure); if it stays, see the hints, and `nvidia-smi topo -m`",
        )


def _listed(words: list[str]) -> str:
    rest = len(words) - _MOST_LISTED
    return ", ".join(words[:_MOST_LISTED]) + (f" and {rest} more" if rest > 0 else "")
