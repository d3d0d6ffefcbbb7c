"""The names that the other packages may use."""

from ._byte_ranges import ByteRange as ByteRange
from ._byte_ranges import byte_ranges as byte_ranges
from ._declared_length import false_claim as false_claim
from ._declared_length import read_declared_length as read_declared_length
from ._ends import SMALL_FILE as SMALL_FILE
from ._ends import Ends as Ends
from ._ends import ends_of as ends_of
from ._ffmpeg import CONTAINERS as CONTAINERS
from ._ffmpeg import decoder_name as decoder_name
from ._formats import EXTENSIONS as EXTENSIONS
from ._formats import decoder_bytes as decoder_bytes
from ._formats import decodes_from_start as decodes_from_start
from ._formats import sample_type as sample_type
from ._formats import seek_point_bytes as seek_point_bytes
from ._formats import seeks_exactly as seeks_exactly
from ._libsndfile import libsndfile_functions as libsndfile_functions
from ._libsndfile import libsndfile_names as libsndfile_names
from ._native import place_of as place_of
from ._native import source_format as source_format
from ._ogg import lacks_index as lacks_index
from ._ogg import make_index as make_index
from ._probe import probe as probe
from ._recording import MAX_FRAMES as MAX_FRAMES
from ._recording import MAX_SAMPLE_RATE as MAX_SAMPLE_RATE
from ._recording import Recording as Recording
