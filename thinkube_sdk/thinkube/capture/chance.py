"""Random numbers: which calls draw them, which seed them, and which give another value each time."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from typing import Literal

from thinkube.capture import signatures as known
from thinkube.capture.arguments import Arguments
from thinkube.capture.machine import Machine
from thinkube.capture.values import Value

Judged = Literal["pure", "first", "external", "ambient", "unknown"]

# Never the same twice, whatever is seeded.
_UNSEEDABLE = re.compile(
    r"^(uuid\.uuid[14]|secrets\.(?!compare_digest)\w+|os\.urandom|random\.SystemRandom)$"
)
# Generators that start from their argument, or anywhere without one.
_GENERATORS = re.compile(r"^(random\.Random|numpy\.random\.(default_rng|RandomState))$")
# Without `random_state`, these draw from NumPy's own generator: the functions when called, the estimators
# when fitted.
_FUNCTIONS = re.compile(
    r"^sklearn\.(model_selection\.train_test_split|utils\.(shuffle|resample)|datasets\.make_\w+)$"
)
_ESTIMATORS = re.compile(
    r"^sklearn\.(ensemble\.(RandomForest|ExtraTrees|Bagging|IsolationForest|RandomTrees)\w*|"
    r"cluster\.(KMeans|MiniBatchKMeans|BisectingKMeans|SpectralClustering)|neural_network\.\w+|"
    r"linear_model\.(SGD\w+|Perceptron|PassiveAggressive\w+)|mixture\.\w+|"
    r"decomposition\.(LatentDirichletAllocation|TruncatedSVD|FastICA)|manifold\.(TSNE|MDS))$"
)
_DRAWS = " draws"


class Chance(Machine):
    """What draws random numbers."""

    def draw(self, state: str, loose: bool = True) -> None:
        """Note that the statement takes numbers from a generator."""
        self.change((self.random_state(state),))
        self.record.draws.add(state)
        if loose:
            self.record.loose.add(state)

    def draw_by_name(self, name: str, effect: Judged, arguments: Arguments) -> Judged:
        """Note what a library call draws or seeds; gives the call's effect on what it is given."""
        for state, pattern in known.RANDOM.items():
            if pattern.match(name):
                self.draw(state, loose=not known.SEEDS.search(name))
                effect = effect if effect == "first" else "pure"
        if known.SEEDS.search(name) or known.SEEDS_ALL.search(name):
            self.seeded.update(known.RANDOM if known.SEEDS_ALL.search(name) else self.record.draws)
        if _UNSEEDABLE.match(name):
            self.record.loose.add(name)
        if _GENERATORS.match(name) and not arguments.given:
            self.record.loose.add(f"{name}()")
        if _FUNCTIONS.match(name) and "random_state" not in arguments.named:
            self.draw("numpy.random")
        return effect

    def mark_estimator(self, made: Value, name: str, arguments: Arguments) -> None:
        """Remember that an estimator will draw when it is fitted."""
        if _ESTIMATORS.match(name) and "random_state" not in arguments.named:
            made.fields[_DRAWS] = frozenset((made,))

    def draw_when_fitted(self, verb: str, reached: Iterable[Value]) -> None:
        """Fitting draws where no `random_state` was given."""
        if verb.startswith(("fit", "partial_fit")) and any(_DRAWS in value.fields for value in reached):
            self.draw("numpy.random")

    def start_task(self, name: str) -> None:
        """Note work that the notebook's own event loop does in the background."""
        if self.frame is None and name in known.BACKGROUND:
            self.record.background = name


def calls_something(node: ast.stmt) -> bool:
    """Whether running a statement calls anything."""
    return not isinstance(
        node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    ) and any(isinstance(part, ast.Call) for part in ast.walk(node))
