"""`Manifest`: ``run.json``, which says what is applied to what. Created once, never changed."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from headrace.errors import ResultsError

if TYPE_CHECKING:
    import pyarrow as pa

    from headrace.inference._result_folder import ResultFolder

__all__ = ["LAYOUT", "Manifest", "RunIdentity", "check_layout"]

_NAME: Final = "run.json"

LAYOUT: Final = 1
"""Version of the files of a run."""


def check_layout(layout: object, file: str) -> None:
    """Raise `ResultsError` if a later version of headrace wrote a file."""
    if layout != LAYOUT:
        raise ResultsError(
            f"a later version of headrace wrote {file} (layout {layout}): upgrade it."
        )


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """What a call of `apply` is of: it must be the same in every call for one output.

    Attributes
    ----------
    name : str
        The model's identity.
    cut : dict
        How the recordings are cut: the fields of `WindowsIdentity.cut`.
    columns, float16 : tuple of str
        The catalog's columns that are copied, and the model's that are stored as float16.
    part_size : int or None
        Windows of a range; None for that of the existing run.
    """

    name: str
    cut: dict[str, Any]
    columns: tuple[str, ...]
    float16: tuple[str, ...]
    part_size: int | None


@dataclass(frozen=True, eq=False)
class Manifest:
    """What a run is of.

    Attributes
    ----------
    name : str
        The model's identity.
    cut : dict
        How the recordings are cut: the fields of `WindowsIdentity.cut`.
    fingerprint : str
        That of the windows of the first call.
    columns, float16 : tuple of str
        The catalog's columns that are copied, and the model's that are stored as float16.
    part_size : int
        Windows of a range.
    schema : Arrow schema
        All columns of the results.
    model_columns : int
        How many of them, at the end, are the model's.
    version : str
        headrace's version.
    """

    name: str
    cut: dict[str, Any]
    fingerprint: str
    columns: tuple[str, ...]
    float16: tuple[str, ...]
    part_size: int
    schema: pa.Schema
    model_columns: int
    version: str

    @property
    def outputs(self) -> pa.Schema:
        """The model's columns."""
        import pyarrow as pa

        return pa.schema(list(self.schema)[len(self.schema) - self.model_columns :])

    @property
    def sample_rate(self) -> int | None:
        """Sample rate of the windows in Hz; None where several cuts are concatenated."""
        return self.cut.get("sample_rate")

    def create(self, folder: ResultFolder) -> Manifest:
        """Write the manifest if there is none; return the one that is there."""
        values = {
            "layout": LAYOUT,
            "headrace": self.version,
            "name": self.name,
            "cut": self.cut,
            "fingerprint": self.fingerprint,
            "columns": list(self.columns),
            "float16": list(self.float16),
            "part_size": self.part_size,
            "outputs": {field.name: str(field.type) for field in self.outputs},
            "model_columns": self.model_columns,
            "arrow_schema": base64.b64encode(self.schema.serialize()).decode(),
        }
        if folder.create(_NAME, (json.dumps(values, indent=2) + "\n").encode()):
            return self
        found = Manifest.read(folder)
        assert found is not None
        return found

    @classmethod
    def read(cls, folder: ResultFolder) -> Manifest | None:
        """Return the manifest of a run, or None if there is no run.

        Raises
        ------
        ResultsError
            It cannot be read.
        """
        import pyarrow as pa

        try:
            data = folder.read(_NAME)
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise ResultsError(f"{folder.name!r} is a file, not a folder of results.") from None
        try:
            values = json.loads(data)
            check_layout(values["layout"], f"{folder.name}/{_NAME}")
            schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(values["arrow_schema"])))
            return cls(
                name=values["name"],
                cut=values["cut"],
                fingerprint=values["fingerprint"],
                columns=tuple(values["columns"]),
                float16=tuple(values["float16"]),
                part_size=values["part_size"],
                schema=schema,
                model_columns=values["model_columns"],
                version=values["headrace"],
            )
        except ResultsError:
            raise
        except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise ResultsError(
                f"{folder.name}/{_NAME} cannot be read ({error!r}): it is not from headrace, or is "
                "damaged. Choose another output."
            ) from error

    def check_same(
        self, folder: ResultFolder, identity: RunIdentity, window_columns: pa.Schema
    ) -> None:
        """Check that a call is of the same run.

        Parameters
        ----------
        folder : ResultFolder
            Where the run is, for the message.
        identity : RunIdentity
            What the call is of.
        window_columns : Arrow schema
            The columns that say which window a row is of.

        Raises
        ------
        ResultsError
            Something differs; the message says what.
        """
        advice = "Give another output, or call apply as before."
        pairs: list[tuple[str, object, object]] = [
            ("the model's name", self.name, identity.name),
            ("columns", list(self.columns), list(identity.columns)),
            ("float16", list(self.float16), list(identity.float16)),
            ("part_size", self.part_size, identity.part_size or self.part_size),
        ]
        pairs += [
            (f"the windows' {key}", self.cut.get(key), identity.cut.get(key))
            for key in sorted({*self.cut, *identity.cut})
        ]
        for what, was, now in pairs:
            if was != now:
                raise ResultsError(
                    f"{folder.name!r} holds the results of another run: {what} was {was!r}, and is "
                    f"{now!r} now. {advice}"
                )
        stored = list(self.schema)[: len(self.schema) - self.model_columns]
        were = {field.name: str(field.type) for field in stored}
        are = {field.name: str(field.type) for field in window_columns}
        if were != are:
            raise ResultsError(
                f"{folder.name!r} holds the results of another catalog: its columns were {were}, "
                f"and are {are} now. {advice}"
            )
