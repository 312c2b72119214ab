"""How a run ends that was asked to."""


class Stopped(Exception):
    """The run was asked to end before its last step; its checkpoint is made."""
