"""The public name of the error tree. The tree itself is drawn in `thinkube.model.errors`."""

from thinkube.model.errors import *  # noqa: F403
