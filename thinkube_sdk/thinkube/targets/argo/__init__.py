"""Jobs as Argo Workflows, created through the Kubernetes API; no Argo server is needed."""
