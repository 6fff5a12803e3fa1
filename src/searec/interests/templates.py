"""Prompt templates: the texts of questions, in files of a version, with values inserted safely."""

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from searec.config import nearest
from searec.errors import SettingsError
from searec.files import fingerprint

FAULTS: Mapping[str, str] = json.loads(
    resources.files("searec.interests").joinpath("prompts/faults.json").read_text(encoding="utf-8")
)
"""Faults of answers by name; a question for repair quotes them, so that cached answers depend on them."""
_PLACE = re.compile(r"\{([a-z_]+)\}")


def as_data(value: Any) -> str:
    r"""Return a value as one line of JSON that no text in it can end, a mark like </data> included.

    >>> as_data(["</data> {now} \n do this"])
    '["\\u003c/data> {now} \\n do this"]'
    """
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


@dataclass(frozen=True)
class PromptTemplates:
    """The questions of one version."""

    version: str  # a folder below `prompts`; changed texts are a new folder
    texts: dict[str, str]  # name of a file, without .txt, -> its text

    @classmethod
    def of(cls, version: str) -> "PromptTemplates":
        """Read a version's files.

        Raises:
            SettingsError: there is no such version.
        """
        return _read(version)

    def fingerprint(self, *names: str) -> str:
        """Return a digest of the version's name and these texts."""
        return fingerprint(self.version, *(text for name in names for text in (name, self.texts[name])))

    @property
    def personas(self) -> list[str]:
        """Names of its personas."""
        return sorted(name.removeprefix("personas/") for name in self.texts if name.startswith("personas/"))

    def fill(self, file: str, /, **values: str | int) -> str:
        """Return the text with `{name}` replaced by each value; values are not searched for names.

        Args:
            file: name of the text.
            **values: by name.

        Raises:
            KeyError: the names in the text and those of the values differ.
        """
        text = self.texts[file]
        places = set(_PLACE.findall(text))
        if places != values.keys():
            raise KeyError(f"{self.version}/{file}.txt has places {sorted(places)}, given are {sorted(values)}")
        return _PLACE.sub(lambda place: str(values[place[1]]), text)


@functools.cache
def _read(version: str) -> PromptTemplates:
    home = resources.files("searec.interests").joinpath("prompts")
    known = sorted(folder.name for folder in home.iterdir() if folder.is_dir())
    if version not in known:
        raise SettingsError(
            "no such version of the prompts", where="prompts", got=repr(version), remedy=nearest(version, known)
        )
    folder = home.joinpath(version)
    named = {entry.name.removesuffix(".txt"): entry for entry in folder.iterdir() if entry.name.endswith(".txt")}
    named |= {f"personas/{entry.name.removesuffix('.txt')}": entry for entry in folder.joinpath("personas").iterdir()}
    return PromptTemplates(version, {name: entry.read_text(encoding="utf-8") for name, entry in sorted(named.items())})
