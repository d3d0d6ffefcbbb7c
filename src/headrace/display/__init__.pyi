"""The names that the other packages may use."""

from ._cards import catalog_card as catalog_card
from ._cards import example_card as example_card
from ._cards import stats_card as stats_card
from ._cards import windows_card as windows_card
from ._page import Preview as Preview
from ._preview import preview as preview
