"""The names that the other packages may use."""

from ._batch import AudioExample as AudioExample
from ._batch import Batch as Batch
from ._batch import MaybeNone as MaybeNone
from ._cutting import crop_recordings as crop_recordings
from ._cutting import cut_at_times as cut_at_times
from ._cutting import cut_recordings as cut_recordings
from ._identity import IdentityPart as IdentityPart
from ._identity import WindowsIdentity as WindowsIdentity
from ._mixtures import concat as concat
from ._mixtures import mix as mix
from ._orders import InOrder as InOrder
from ._spec import Channel as Channel
from ._spec import Coverage as Coverage
from ._spec import Tail as Tail
from ._spec import WindowSpec as WindowSpec
from ._spec import check_sample_rate as check_sample_rate
from ._times import as_utc as as_utc
from ._times import start_times as start_times
from ._transforms import PROGRAMMING_ERRORS as PROGRAMMING_ERRORS
from ._transforms import Function as Function
from ._transforms import Transform as Transform
from ._transforms import generator as generator
from ._transforms import takes_rng as takes_rng
from ._window_sets import WindowRows as WindowRows
from ._windows import Windows as Windows
