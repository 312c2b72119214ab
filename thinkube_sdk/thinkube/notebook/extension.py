"""`%load_ext thinkube`: every verb of the command as `%thinkube verb …`, with the notebook's live objects."""

from __future__ import annotations

import shlex

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.display import display

from thinkube.cli.app import invoke
from thinkube.cli.output import Notebook
from thinkube.model.errors import UsageError


@magics_class
class ThinkubeMagics(Magics):
    """The `%thinkube` line magic."""

    @line_magic
    def thinkube(self, line: str) -> None:
        """Run a verb of the `thinkube` command; `deploy` and `package` take the name of a live object.

        Examples:
            %thinkube status
            %thinkube deploy agent --name docs-agent
            %thinkube ask docs-agent "What does zip do?"
        """
        notebook = Notebook(self.shell.user_ns if self.shell else {}, display)
        if invoke(shlex.split(line), notebook) == 2:
            # Without an error "Run all" would go on past a deploy that never happened.
            raise UsageError(
                f"%thinkube {line} is not a valid call; the reason is above.", "See: %thinkube --help"
            )


def load(shell: InteractiveShell) -> None:
    """Register the magic with a running shell."""
    shell.register_magics(ThinkubeMagics)
