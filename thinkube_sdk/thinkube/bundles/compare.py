"""What differs between two bundles: code, lock, configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import unified_diff
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkube.bundles.digest import listed
from thinkube.bundles.environments import read_lock
from thinkube.model import manifest as manifests
from thinkube.model.bundle import Manifest
from thinkube.model.lock import Lock

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult


@dataclass(frozen=True)
class Change:
    """One thing that is not the same; None where a side has none of it.

    Attributes:
        name: the distribution or the manifest's key.
        before: its older value.
        after: its newer value.
    """

    name: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return f"{self.name}: {self.before or '(none)'} → {self.after or '(none)'}"


@dataclass(frozen=True)
class Difference:
    """All of it.

    Attributes:
        code: file to unified diff; for what is no text, one line that says so.
        lock: distributions added, removed, or at another version.
        configuration: keys of `thinkube.yaml`.
        labels: how the two sides are called.
    """

    code: Mapping[str, str] = field(repr=False)
    lock: tuple[Change, ...]
    configuration: tuple[Change, ...]
    labels: tuple[str, str] = ("before", "after")

    def __bool__(self) -> bool:
        return bool(self.code or self.lock or self.configuration)

    def to_dict(self) -> dict[str, Any]:
        """The difference as plain data."""
        return {
            "before": self.labels[0],
            "after": self.labels[1],
            "code": dict(self.code),
            "lock": [_plain(change) for change in self.lock],
            "configuration": [_plain(change) for change in self.configuration],
        }

    def __str__(self) -> str:
        if not self:
            return f"{self.labels[0]} and {self.labels[1]} are the same"
        parts = []
        for title, changes in (("configuration", self.configuration), ("lock", self.lock)):
            if changes:
                parts.append(f"{title}\n" + "".join(f"  {change}\n" for change in changes))
        return "\n".join([*parts, *self.code.values()])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.syntax import Syntax
        from rich.text import Text

        if not self:
            yield Text(str(self))
        for title, changes in (("configuration", self.configuration), ("lock", self.lock)):
            if changes:
                yield Text(title, "bold")
            for change in changes:
                yield Text(f"  {change}")
        for text in self.code.values():
            yield Syntax(text, "diff", theme="ansi_dark", background_color="default")

    def _repr_html_(self) -> str:
        def styled(line: str) -> str:
            color = {"+": "#1a7f37", "-": "#cf222e", "@": "#888"}.get(line[:1], "inherit")
            return f'<span style="color:{color}">{escape(line)}</span>'

        return f"<pre>{'<br>'.join(styled(line) for line in str(self).splitlines())}</pre>"


def compare(before: Path, after: Path, labels: tuple[str, str] = ("before", "after")) -> Difference:
    """Compare two bundles on disk, such as the content store's.

    Args:
        labels: how to call them, such as `version 3` and `version 4`.
    """
    older, newer = manifests.read(before), manifests.read(after)
    # What is compared by meaning is left out of the comparison by text.
    generated = {manifests.FILE, older.requirements, newer.requirements, "README.md"}
    sums = listed(before), listed(after)
    names = sorted(
        name
        for name in sums[0].keys() | sums[1].keys()
        if sums[0].get(name) != sums[1].get(name) and name not in generated and not name.startswith("wheels/")
    )
    return Difference(
        code={name: _diff(name, before / name, after / name, labels) for name in names},
        lock=tuple(_changes(_versions(read_lock(before)), _versions(read_lock(after)))),
        configuration=tuple(_changes(_settings(older), _settings(newer))),
        labels=labels,
    )


def _diff(name: str, before: Path, after: Path, labels: tuple[str, str]) -> str:
    try:
        old, new = (path.read_text(encoding="utf-8") if path.exists() else "" for path in (before, after))
    except UnicodeDecodeError:
        sizes = [path.stat().st_size if path.exists() else 0 for path in (before, after)]
        return f"{name}: {sizes[0]} bytes → {sizes[1]} bytes, not text\n"
    lines = unified_diff(
        old.splitlines(), new.splitlines(), f"{labels[0]}/{name}", f"{labels[1]}/{name}", lineterm=""
    )
    return "".join(f"{line}\n" for line in lines)


def _versions(lock: Lock) -> dict[str, str]:
    return {
        pin.name: f"{pin.version} (carried, {pin.wheel.digest[:8]})" if pin.wheel else pin.version
        for pin in lock.pins
    }


def _settings(manifest: Manifest) -> dict[str, str]:
    settings = {}
    for each in fields(manifest):
        value = getattr(manifest, each.name)
        if isinstance(value, Mapping):
            settings.update({f"{each.name}.{key}": text for key, text in value.items()})
        else:
            settings[each.name] = ", ".join(value) if isinstance(value, tuple) else value
    return settings


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    names = sorted(before.keys() | after.keys())
    return [
        Change(name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _plain(change: Change) -> dict[str, str | None]:
    return {"name": change.name, "before": change.before, "after": change.after}
