"""From a capture to the distributions it runs on, as they are installed here. Nothing is resolved anew."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from thinkube.bundles.environments import this_platform
from thinkube.bundles.installed import Site, module_location
from thinkube.bundles.needs import Need, clients, needs
from thinkube.bundles.progress import Progress, silent
from thinkube.bundles.wheels import carry
from thinkube.model.capture import Capture
from thinkube.model.errors import DistributionMissing
from thinkube.model.lock import Lock, Pin, Wheel
from thinkube.model.settings import THREADS_URL, cache
from thinkube.services.table import CLIENTS

SDK = "thinkube-sdk"
_FORMAT = 3

# Where the name to install differs from the name to import.
_KNOWN = {
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "fitz": "pymupdf",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}

Roots = dict[str, set[str]]


def lock(capture: Capture, *, runtime: str = "serving", progress: Progress = silent) -> Lock:
    """Pin what the capture needs to what this interpreter has installed.

    Args:
        capture: its imports, requirements and services say where to begin; Requires-Dist of the
            installed metadata, with markers and extras evaluated here, says what follows.
        runtime: the extra of the SDK that runs the code: `serving` or `job`.
        progress: told when something slow happens (a wheel is built).

    Raises:
        DistributionMissing: an import, a client or the serving runtime needs what is not installed.
        BundleError: a distribution that no index has can't be turned into a wheel.
    """
    site = Site()
    asked = needs(capture)
    key = _key(capture, asked, site, runtime)
    if kept := _recall(key, site, progress):
        return kept
    roots, notes = _roots(capture, asked, site, runtime)
    names, left_out = _closure(roots, site)
    if "langgraph" in names:
        roots[SDK].add("threads")
        if THREADS_URL.variable in capture.secrets:
            _require(f"{SDK}[postgres]", f"for threads in Postgres ({THREADS_URL.variable})", site)
            roots[SDK].add("postgres")
        names, left_out = _closure(roots, site)
    pins = []
    for name in sorted(names):
        distribution = site.get(name)
        assert distribution is not None
        carried = name == SDK or distribution.unindexed
        wheel = carry(distribution, progress) if carried else None
        pins.append(_pin(name, distribution.version, wheel))
    result = Lock(
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        platform=this_platform(),
        pins=tuple(pins),
        notes=(*notes, *left_out.values()),
        roots=tuple(
            f"{name}[{','.join(sorted(extras))}]" if extras else name
            for name, extras in sorted(roots.items())
        ),
        absent=tuple(sorted({*left_out, *_packaging(site)} - names)),
    )
    _remember(key, result)
    return result


def _roots(capture: Capture, asked: list[Need], site: Site, runtime: str) -> tuple[Roots, list[str]]:
    """Where the closure begins: distribution to extras asked for."""
    roots: Roots = {SDK: {runtime}}
    notes: list[str] = []
    if site.get(SDK) is None:
        raise DistributionMissing(
            "thinkube-sdk is imported and not installed", "Install it: pip install thinkube-sdk"
        )
    _require(f"{SDK}[{runtime}]", "where the captured code runs", site)
    for name in clients(capture):
        for distribution in CLIENTS[name].distributions:
            if site.get(distribution) is None:
                raise DistributionMissing(
                    f"tk.{name}() needs {distribution}, which is not installed",
                    "Install it: pip install 'thinkube-sdk[agents]'",
                )
            roots.setdefault(canonicalize_name(distribution), set())
    wanted = [need for need in asked if need.top not in sys.stdlib_module_names and need.top != "thinkube"]
    owners = site.owners(need.module for need in wanted)
    for need in wanted:
        for name in owners[need.module]:
            roots.setdefault(name, set())
        if owners[need.module]:
            continue
        if not need.optional:
            raise _missing(need, capture)
        if need.statement:
            notes.append(
                f"{need.top} is imported where its absence is handled, and is not installed: left out"
            )
    notes += _add_requested(capture.requirements, roots, site)
    return roots, notes


def _add_requested(lines: Iterable[str], roots: Roots, site: Site) -> list[str]:
    """What the notebook asked pip for, at the version that is installed."""
    notes = []
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            notes.append(
                f"the notebook installs {line!r}, which names no distribution: what it imports is locked"
            )
            continue
        if requirement.marker and not requirement.marker.evaluate():
            continue
        distribution = site.get(requirement.name)
        if distribution is None:
            notes.append(f"the notebook installs {requirement.name}, which is not installed here: left out")
            continue
        roots.setdefault(distribution.name, set()).update(requirement.extras)
        if not requirement.specifier.contains(distribution.version, prereleases=True):
            notes.append(
                f"the notebook asks for {requirement.name}{requirement.specifier}; "
                f"{distribution.version} is what it runs, and what is locked"
            )
    return notes


def _closure(roots: Roots, site: Site) -> tuple[set[str], dict[str, str]]:
    """Follow Requires-Dist. A dependency that is not installed was not needed here and stays out."""
    environment = {key: str(value) for key, value in default_environment().items()}
    done: Roots = {}
    left_out: dict[str, str] = {}
    waiting = [(name, extra) for name, extras in roots.items() for extra in ("", *sorted(extras))]
    while waiting:
        name, extra = waiting.pop()
        distribution = site.get(name)
        if distribution is None or extra in done.get(name, ()):
            continue
        done.setdefault(name, set()).add(extra)
        if name == SDK and not extra:
            continue  # those are what packaging needs; a deployed agent gets the runtime's alone
        for line in distribution.requires:
            _, _, marker = line.partition(";")
            # Most lines belong to extras nobody asked for; parsing them is half of the whole cost.
            if ("extra" in marker) != bool(extra):
                continue
            requirement = Requirement(line)
            if requirement.marker and not requirement.marker.evaluate({**environment, "extra": extra}):
                continue
            needed = canonicalize_name(requirement.name)
            if site.get(needed) is None:
                left_out[needed] = f"{name} asks for {needed}, which is not installed here: left out"
            waiting += [(needed, extra) for extra in ("", *requirement.extras)]
    return set(done), dict(sorted(left_out.items()))


def _packaging(site: Site) -> set[str]:
    """What the SDK requires for packaging alone."""
    sdk = site.get(SDK)
    lines = sdk.requires if sdk else ()
    return {
        canonicalize_name(Requirement(line).name) for line in lines if "extra" not in line.partition(";")[2]
    }


def _require(requirement: str, purpose: str, site: Site) -> None:
    """Refuse when something an extra of the SDK asks for is not installed."""
    wanted = Requirement(requirement)
    distribution = site.get(wanted.name)
    assert distribution is not None
    for extra in wanted.extras:
        for line in distribution.requires:
            needed = Requirement(line)
            if (
                "extra" in str(needed.marker)
                and needed.marker
                and needed.marker.evaluate({"extra": extra})
                and site.get(needed.name) is None
            ):
                raise DistributionMissing(
                    f"{needed.name} is needed {purpose} and is not installed",
                    f"Install it: pip install '{requirement}'",
                )


def _missing(need: Need, capture: Capture) -> DistributionMissing:
    place = f" ({need.where})" if need.where else ""
    if need.line and need.line <= len(capture.origins) and (origin := capture.origins[need.line - 1]):
        place = f" ({origin})"
    if location := module_location(need.top):
        return DistributionMissing(
            f"{need.because}{place}: {need.top} is at {location}, which no installed distribution owns",
            "Give it a pyproject.toml and install it (pip install -e .), or put it beside the notebook: "
            "what lies there ships.",
        )
    guess = need.top.replace("_", "-")
    active = os.environ.get("VIRTUAL_ENV")
    elsewhere = (
        f"\nThis is Python of {sys.prefix}; the active environment {active} is another: "
        f"install thinkube-sdk there and run `python -m thinkube`."
        if active and Path(active).resolve() != Path(sys.prefix).resolve()
        else ""
    )
    return DistributionMissing(
        f"{need.because}{place}: no installed distribution provides {need.top}",
        f"Install it where the notebook runs: %pip install {_KNOWN.get(need.top, guess)}{elsewhere}",
    )


def _pin(name: str, version: str, wheel: Wheel | None) -> Pin:
    """A pin, whose wheel may be newer than the metadata of the editable install it was built from."""
    return Pin(name, str(parse_wheel_filename(wheel.filename)[1]) if wheel else version, wheel)


def _key(capture: Capture, asked: list[Need], site: Site, runtime: str) -> str:
    parts = [
        _FORMAT,
        sys.version,
        sorted(f"{need.module} {need.optional}" for need in asked),
        capture.requirements,
        clients(capture),
        runtime,
        THREADS_URL.variable in capture.secrets,
        site.fingerprint(),
    ]
    return sha256(json.dumps(parts).encode()).hexdigest()


def _remember(key: str, result: Lock) -> None:
    """Keep the lock, without the bytes of the wheels: those are kept under their own fingerprints."""
    document = {
        "python": result.python,
        "platform": result.platform,
        "notes": result.notes,
        "roots": result.roots,
        "absent": result.absent,
        "pins": [(pin.name, pin.version) for pin in result.pins],
        "carried": [pin.name for pin in result.pins if pin.wheel],
    }
    path = cache() / "locks" / f"{key}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump(document, file)
    Path(file.name).replace(path)


def _recall(key: str, site: Site, progress: Progress) -> Lock | None:
    try:
        document = json.loads((cache() / "locks" / f"{key}.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    wheels: dict[str, Wheel] = {}
    for name in document["carried"]:
        distribution = site.get(name)
        # An edited source changes its dependencies only with its metadata, which `key` covers.
        if distribution is None:
            return None
        wheels[name] = carry(distribution, progress)
    pins = tuple(_pin(name, version, wheels.get(name)) for name, version in document["pins"])
    notes, roots, absent = (tuple(document[key]) for key in ("notes", "roots", "absent"))
    return Lock(document["python"], document["platform"], pins, notes, roots, absent)
