"""The names that the other packages may use."""

from ._declared_length import declared_frames as declared_frames
from ._ffmpeg import CONTAINERS as CONTAINERS
from ._native import libsndfile_functions as libsndfile_functions
from ._native import path_of as path_of
from ._native import source_format as source_format
from ._probe import EXTENSIONS as EXTENSIONS
from ._probe import MOST_FRAMES as MOST_FRAMES
from ._probe import MOST_HZ as MOST_HZ
from ._probe import carries_on as carries_on
from ._probe import decoder_bytes as decoder_bytes
from ._probe import names_of_kinds as names_of_kinds
from ._probe import probe as probe
from ._probe import sample_type as sample_type
from ._probe import seeks as seeks
from ._recording import Recording as Recording
