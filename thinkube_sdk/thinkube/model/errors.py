"""Every error a user can meet, as one tree. `thinkube.errors` is its public name.

ThinkubeError
├── UsageError                  the call itself is wrong: an argument, a name, a file
├── ConfigurationError          a settings or state file is malformed or of another version
├── SecretNotFound              no secret of that name
├── ServiceError
│   ├── ServiceNotFound         no endpoint known, with every place looked at
│   ├── ServiceUnreachable      an endpoint is known, nothing answers there
│   ├── CredentialRejected      it answers, and refuses the credential
│   └── ClientMissing           the client's library is not installed
├── StackError                  a local service did not start or stop
├── ClusterError                a Kubernetes cluster can't be used
│   ├── ClusterUnreachable      nothing answers where its API is said to be
│   └── AccessDenied            it answers, and refuses who asks, or what is asked for
├── CaptureError                the refusals
│   ├── NotebookInvalid         truncated, or not a Python notebook
│   ├── ObjectNotFound          no statement binds that name
│   ├── ObjectUnsupported       not a thing that can be deployed
│   ├── SourceRefused           a needed statement can't be rebuilt elsewhere
│   └── SecretInSource          a credential stands in what would ship
├── BundleError
│   ├── DistributionMissing     an import no installed distribution provides
│   ├── EnvironmentFailed       the locked environment can't be made
│   └── VerificationFailed      the entry object doesn't import, or is of another kind
├── DeploymentError
│   ├── DeploymentNotFound
│   ├── RolloutFailed           the new release didn't get ready; the old one still serves
│   ├── EvaluationFailed        it answers worse than it has to; the old one has the traffic
│   └── RequestFailed           the deployed agent answered with an error
└── TrainingError
    ├── DataInvalid             rows that can't be trained on, with their numbers
    ├── BaseNotFound            the base model is not there, or can't be read
    ├── AdapterMismatch         an adapter that does not belong to its base
    ├── MachineTooSmall         not the disk, memory or GPU that the run needs
    ├── TrainingDiverged        the loss is no longer a number
    ├── JobNotFound
    └── JobFailed               a job ended without a model
"""

from thinkube.model.notebook_place import notebook_line as _notebook_line


class ThinkubeError(Exception):
    """A cause and the way out of it.

    Args:
        cause: what is wrong, with the names and places involved.
        fix: what the reader can do about it, as an instruction.
    """

    def __init__(self, cause: str, fix: str = "") -> None:
        self.cause = cause
        self.fix = fix
        super().__init__(f"{cause}\n{fix}" if fix else cause)

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows in place of a traceback: the cell's line, the cause, the fix."""
        place = _notebook_line(self.__traceback__)
        lines = [place] if place else []
        lines.append(f"{type(self).__name__}: {self.cause}")
        return [*lines, f"Fix: {self.fix}"] if self.fix else lines


class UsageError(ThinkubeError):
    """The call itself is wrong."""


class ConfigurationError(ThinkubeError):
    """A settings or state file is malformed, or was written by another version."""


class SecretNotFound(ThinkubeError):
    """No secret has that name."""


class ServiceError(ThinkubeError):
    """A service can't be used."""


class ServiceNotFound(ServiceError):
    """No endpoint is known for a service."""


class ServiceUnreachable(ServiceError):
    """An endpoint is known and nothing answers there."""


class CredentialRejected(ServiceError):
    """The service answers and refuses the credential."""


class ClientMissing(ServiceError):
    """The library of a service's client is not installed."""


class StackError(ThinkubeError):
    """A local service did not start or stop."""


class ClusterError(ThinkubeError):
    """A Kubernetes cluster can't be used."""


class ClusterUnreachable(ClusterError):
    """Nothing answers where the cluster's API is said to be."""


class AccessDenied(ClusterError):
    """The cluster refuses who asks, or what is asked for."""


class CaptureError(ThinkubeError):
    """The code an object needs can't be taken out of the notebook."""


class NotebookInvalid(CaptureError):
    """The file is truncated, or not a Python notebook."""


class ObjectNotFound(CaptureError):
    """No statement of the notebook binds the name asked for."""


class ObjectUnsupported(CaptureError):
    """The object is not one that can be deployed."""


class SourceRefused(CaptureError):
    """A statement the object needs can't be rebuilt outside the notebook."""


class SecretInSource(CaptureError):
    """A credential stands in the source that would ship."""


class BundleError(ThinkubeError):
    """A bundle can't be made."""


class DistributionMissing(BundleError):
    """No installed distribution provides a module that the source imports."""


class EnvironmentFailed(BundleError):
    """The locked environment can't be made."""


class VerificationFailed(BundleError):
    """In the clean environment the entry object doesn't import, or is of another kind."""


class DeploymentError(ThinkubeError):
    """A deployment can't be made, found or used."""


class DeploymentNotFound(DeploymentError):
    """No deployment has that name."""


class RolloutFailed(DeploymentError):
    """The new release did not get ready. The release that ran before still does."""


class EvaluationFailed(DeploymentError):
    """The new release answers worse than it has to. The release that ran before still has the traffic."""


class RequestFailed(DeploymentError):
    """The deployed agent answered with an error."""


class TrainingError(ThinkubeError):
    """A model can't be fine-tuned."""


class DataInvalid(TrainingError):
    """Rows can't be trained on."""


class BaseNotFound(TrainingError):
    """The base model is not there, or can't be read."""


class AdapterMismatch(TrainingError):
    """An adapter does not belong to the base it names."""


class MachineTooSmall(TrainingError):
    """The machine lacks the disk, the memory or the GPU that the run needs."""


class TrainingDiverged(TrainingError):
    """The loss is no longer a number."""


class JobNotFound(TrainingError):
    """No job has that name."""


class JobFailed(TrainingError):
    """A job ended without a model."""
