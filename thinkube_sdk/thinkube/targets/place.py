"""Where things run: this machine, or the cluster of a context."""

from __future__ import annotations

from thinkube.model.errors import ConfigurationError
from thinkube.services.contexts import Context, contexts, current
from thinkube.targets.process.target import ProcessTarget
from thinkube.targets.target import Progress, Target

CLUSTER = "cluster"


def target_of(on: str | None, progress: Progress = lambda _: None) -> Target:
    """The target that a word means; the current context's if none is given.

    Raises:
        UsageError: there is no context of that name.
        ConfigurationError: its cluster can't be used, or there is none.
    """
    context = place_of(on)
    if context.kubernetes is None:
        return ProcessTarget()
    from thinkube.targets.kubernetes.target import KubernetesTarget

    return KubernetesTarget(context, progress)


def place_of(on: str | None = None) -> Context:
    """The context that a word means.

    Args:
        on: a context's name; `local`; or `cluster` for the cluster of the current context, else for the only
            one that a context has. The current context if not given.

    Raises:
        UsageError: there is no context of that name.
        ConfigurationError: `cluster` means none, or several.
    """
    if on is None:
        return current()
    known = {each.name: each for each in contexts()}
    if on != CLUSTER or on in known:
        return current(on)
    here = current()
    if here.kubernetes is not None:
        return here
    able = [name for name, each in known.items() if each.path.exists() and _described(each)]
    if len(able) == 1:
        return current(able[0])
    raise ConfigurationError(
        f"Which cluster is meant? {'None is described' if not able else ', '.join(able)} in {here.path}.",
        f'Name the context: on="{able[0]}"' if able else "Describe one:\n[contexts.cluster.kubernetes]\n"
        'kubeconfig = "~/.kube/config"\nregistry = "host:port/path"\n'
        'runtime = "host:port/path/agent-runtime:python{python}"',
    )  # fmt: skip


def _described(context: Context) -> bool:
    return context.kubernetes is not None and any(
        value is not None for value in vars(context.kubernetes).values()
    )
