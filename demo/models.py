"""The two models of the demo, and what sets their versions apart."""

from dataclasses import dataclass
from pathlib import Path

CORPORA = Path(__file__).parent / "corpora"


@dataclass(frozen=True)
class Recipe:
    """How one version is made.

    Attributes:
        number: Its place in the order of registration, from 1; the version's number in a registry
            that was empty before.
        share: Part of the corpus that it learns from, above 0 and up to 1.
        unknown: Labels that it never sees.
    """

    number: int
    share: float
    unknown: frozenset[str] = frozenset()


@dataclass(frozen=True)
class DemoModel:
    """A registered model.

    Attributes:
        name: Its name in the registry.
        corpus: A file of labelled texts, a `label<TAB>text` a line.
        example: A text to try it with, which isn't in the corpus.
        recipes: Its versions, the oldest first.
    """

    name: str
    corpus: Path
    example: str
    recipes: tuple[Recipe, ...]


TOPICS = DemoModel(
    name="topic-classification",
    corpus=CORPORA / "topics.tsv",
    example="Breaking: New AI breakthrough announced at tech conference",
    recipes=(
        Recipe(number=1, share=0.5, unknown=frozenset({"health"})),
        Recipe(number=2, share=1.0),
    ),
)

SENTIMENTS = DemoModel(
    name="sentiment-analysis",
    corpus=CORPORA / "sentiments.tsv",
    example="This is wonderful news for the economy!",
    recipes=(Recipe(number=1, share=0.4), Recipe(number=2, share=1.0)),
)

MODELS = (TOPICS, SENTIMENTS)
