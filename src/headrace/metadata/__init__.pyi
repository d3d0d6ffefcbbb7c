"""The names that the other packages may use."""

from ._combining import Metadata as Metadata
from ._combining import combine as combine
from ._facts import Facts as Facts
from ._names import NamePattern as NamePattern
from ._names import facts_in_name as facts_in_name
from ._reading import read_facts as read_facts
from ._zones import parse_zone as parse_zone
from ._zones import utc_offsets as utc_offsets
