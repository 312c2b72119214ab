"""The clients `thinkube` hands over, one line each: the ecosystem's own objects, connected."""

from thinkube.services.files import s3
from thinkube.services.language_models import crew_llm, embeddings, llm, openai
from thinkube.services.messages import nats
from thinkube.services.tracing import langfuse
from thinkube.services.tracking import mlflow
from thinkube.services.vectors import qdrant

__all__ = ["crew_llm", "embeddings", "langfuse", "llm", "mlflow", "nats", "openai", "qdrant", "s3"]
