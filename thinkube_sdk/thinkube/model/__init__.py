"""The values that pass between stages, the errors, and the settings. The bottom layer."""
