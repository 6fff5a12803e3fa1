"""log.jsonl: one JSON object per event of a training, and the same in TensorBoard on request.

Every row has `event` (start, resume, step, validate, done), `epoch` (from 1; 0 before the first), `step` (batches done
in all), `seconds` (of training so far). A step row holds means over the steps since the row before it.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from searec.errors import DependencyError, StorageError, installation
from searec.files import replacing

FILE = "log.jsonl"
Row = Mapping[str, Any]


def read_rows(path: Path | str) -> list[dict[str, Any]]:
    """Return the rows of a log; a last line that was cut off in the middle is left out, and no file is no rows."""
    return [json.loads(line) for line in _lines(Path(path))]


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1].splitlines()


class Logbook:
    """Writes rows to `folder`/log.jsonl; the first `keep` rows of an older file stay, later ones are cut off.

    Raises:
        DependencyError: TensorBoard is requested and not installed.
        StorageError: the disk refuses a write.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep: int = 0,
        tensorboard: bool = False,
        step: int = 0,
        on_log: Callable[[Row], None] | None = None,
    ) -> None:
        self._board = _board(folder, step) if tensorboard else None
        self._path = folder / FILE
        self._on_log = on_log
        old_rows = _lines(self._path)[:keep]
        with replacing(self._path) as beside:
            beside.write_text("".join(line + "\n" for line in old_rows), encoding="utf-8")
        self.rows = len(old_rows)
        self._file: TextIO = self._path.open("a", encoding="utf-8")

    def write(self, event: str, **values: Any) -> None:
        """Add one row, and give it to `on_log`. A value that is not a finite number is written as null.

        Raises:
            StorageError: the disk refuses the write.
        """
        row = {"event": event, **{name: _plain(value) for name, value in values.items()}}
        try:
            self._file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            remedy = "free some space and go on with --resume"
            raise StorageError("cannot write the log", where=self._path, got=error.strerror, remedy=remedy) from error
        self.rows += 1
        if self._board is not None:
            for name, value in row.items():
                if isinstance(value, (int, float)) and name not in ("step", "epoch"):
                    self._board.add_scalar(f"{event}/{name}", value, row["step"])
        if self._on_log is not None:
            self._on_log(row)

    def close(self) -> None:
        """Close the files."""
        if self._board is not None:
            self._board.close()
        try:
            self._file.close()
        except OSError as error:  # a full disk may refuse the last flush once more
            raise StorageError("cannot write the log", where=self._path, got=error.strerror) from error


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        remedy = f"{installation('tensorboard')}; or train without tensorboard=true"
        raise DependencyError("TensorBoard is not installed", remedy=remedy) from error
    # Rows after the checkpoint that a resumed run starts from are shown no more.
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)
