"""The public names of headrace: this is the only list of them."""

from . import adapters as adapters
from .annotations import Annotations as Annotations
from .catalog import Catalog as Catalog
from .catalog import Split as Split
from .catalog import from_table as from_table
from .catalog import load_catalog as load_catalog
from .catalog import scan as scan
from .codecs import Recording as Recording
from .course import audio_chunk_dataloader as audio_chunk_dataloader
from .course import audio_chunk_dataloader_threaded as audio_chunk_dataloader_threaded
from .detections import Detections as Detections
from .display import Preview as Preview
from .display import preview as preview
from .dsp import KernelInfo as KernelInfo
from .dsp import LogMel as LogMel
from .dsp import kernel_info as kernel_info
from .errors import AnnotationError as AnnotationError
from .errors import CatalogError as CatalogError
from .errors import ClosedError as ClosedError
from .errors import DamagedWarning as DamagedWarning
from .errors import HeadraceError as HeadraceError
from .errors import HeadraceWarning as HeadraceWarning
from .errors import InvalidWindowsError as InvalidWindowsError
from .errors import MemoryBudgetError as MemoryBudgetError
from .errors import ModelError as ModelError
from .errors import NoRecordingsError as NoRecordingsError
from .errors import ReadError as ReadError
from .errors import ResultsError as ResultsError
from .errors import StateError as StateError
from .errors import StoreError as StoreError
from .errors import TooManyFailuresError as TooManyFailuresError
from .errors import TransformError as TransformError
from .failures import Code as Code
from .failures import Failure as Failure
from .inference import Run as Run
from .inference import RunProgress as RunProgress
from .inference import load_run as load_run
from .loading import Loader as Loader
from .observe import Stats as Stats
from .windows import AudioExample as AudioExample
from .windows import Batch as Batch
from .windows import Coverage as Coverage
from .windows import Windows as Windows
from .windows import WindowSpec as WindowSpec
from .windows import concat as concat
from .windows import mix as mix

__version__: str
__all__: list[str]
