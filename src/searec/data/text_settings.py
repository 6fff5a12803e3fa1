"""How the texts of a dataset folder are read: its text_settings.json."""

import json
from dataclasses import dataclass
from pathlib import Path

from searec.config import nearest
from searec.errors import DataError, SettingsError
from searec.text.language import LANGUAGES

FILE = "text_settings.json"
AUTO = "auto"
"""The language is detected from titles and descriptions."""


@dataclass(frozen=True)
class TextSettings:
    """The language of the words in Latin letters: a code of `text.language.LANGUAGES` or "auto".

    Raises:
        SettingsError: another one.
    """

    language: str = AUTO

    def __post_init__(self) -> None:
        if self.language not in (AUTO, *LANGUAGES):
            raise SettingsError(
                "unknown language",
                where="language",
                got=repr(self.language),
                expected=", ".join((AUTO, *LANGUAGES)),
                remedy=nearest(self.language, list(LANGUAGES)),
            )

    @classmethod
    def read(cls, folder: Path | str) -> "TextSettings":
        """Return the settings of a dataset folder; the default where it has no text_settings.json.

        Raises:
            DataError: the file is not a JSON object with a language.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            return cls()
        expected = '{"language": "en"}'
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise DataError("text settings cannot be read", where=path, got=str(error), expected=expected) from error
        except SettingsError as error:
            raise DataError(str(error), where=path, expected=expected) from error

    @property
    def digest(self) -> str:
        """The language as text for a fingerprint; empty for the default."""
        return "" if self.language == AUTO else self.language

    def write(self, folder: Path) -> None:
        """Write text_settings.json; nothing for the default."""
        if self.digest:
            (folder / FILE).write_text(json.dumps({"language": self.language}), encoding="utf-8")
