"""What a file is, how long it is, and how its sample n is reached exactly.

- `_probe` asks the decoders what a file is; `_declared_length` reads the length that a file itself
  declares.
- `_libsndfile` and `_ffmpeg` are the two libraries that decode. Nothing else calls them.
  `_ffmpeg_library` finds FFmpeg's functions for the kernel.
- `_anchors` says where decoding with FFmpeg may begin, by codec; `_mp3` what the kernel finds in an
  MP3 file.
- `_formats` says for which formats seeking is exact, what type their samples have, and how much
  memory a decoder takes.
- `_native` translates a recording into what the kernel, which decodes, has to know.
- `_recording` holds the values.

May import `storage`, `dsp`, `concurrency` and the modules beside the packages.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
