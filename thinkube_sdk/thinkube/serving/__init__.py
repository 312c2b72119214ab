"""The runtime of a deployed agent: runs in the bundle's environment, imports `model` and `services` only."""
