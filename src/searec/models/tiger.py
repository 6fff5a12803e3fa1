"""tiger: generative retrieval by semantic identifiers (arXiv 2305.05065), by gensar's structure."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from searec.config import settings
from searec.data.schema import Task
from searec.models.gensar.model import GenSAR


class Tiger(GenSAR):
    """gensar with identifiers of meaning alone, for the feed alone: it differs in its identifiers and tasks only."""

    name = "tiger"
    paper_form = "tiger-paper"
    tasks: ClassVar[tuple[Task, ...]] = ("recommend",)
    single_task: ClassVar = {}
    single_task_note = ""

    @settings
    class Config(GenSAR.Config):
        """As of gensar.

        Attributes:
            scheme: of the identifiers: what the texts say.
            tasks: those that it learns.
        """

        scheme: Literal["joint", "semantic", "collaborative", "bi-encoder"] = "semantic"
        tasks: Annotated[tuple[Task, ...], Field(min_length=1)] = ("recommend",)
