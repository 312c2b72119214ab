"""Fine-tuning: what `python -m thinkube.training recipe.yaml` does, on a laptop and in a pod."""
