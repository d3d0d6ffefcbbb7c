// An MP3 file with seek points: decoded from a few frames before any position, exact to the bit. Not on
// Windows.
//
// Verified with libsndfile 1.2.2 and libmpg123 1.32.3, as shipped in the wheel of soundfile 0.14.0 for
// Linux on x86-64. tests/test_mp3_canary.py checks what is said here against the decoder in use, and fails if
// it behaves differently.
//
// A recording is what libsndfile decodes from the start of the file, bit for bit. libsndfile decodes with
// libmpg123, which keeps three things of earlier frames:
// 1. up to 511 bytes of audio data (the bit reservoir);
// 2. the second half of the last transform, which overlaps the next one;
// 3. the last 15 vectors that went into each channel's synthesis filter. They stand in a ring of 16, and the
//    ring's position decides in which order the filter adds them, and so how sums are rounded. A frame of
//    1,152 samples advances it by 36, one of 576 samples by 18. So it is where it was after 4 or 8 frames.
// So libsndfile is given a virtual file:
// - frames of silence, as many as leave the ring where decoding from the start has it, the last of which
//   carries the bytes of the reservoir (1, 3);
// - then the file's own frames from WARM_UP frames before the wanted one on. The first of these has its own
//   audio data complete, and two transforms later the overlap and the ring are right as well (2, 3).
//
// This holds for frames that libmpg123 decodes. It drops a frame with invalid side information; a file with
// such a frame is not indexed (mp3_index.h). It may give up a frame with damaged audio data, and put zeros in
// its place without advancing the ring. Only decoding shows that; `verify="decode"` compares
// (mp3_seek_check.h).
//
// Two more facts hold at the start of a file:
// 4. If an encoder's tag declares the number of frames, libmpg123 drops the encoder's delay and 529 samples
//    more. Without a tag it drops none.
// 5. Where no frame begins, libmpg123 searches for the next one. So before the opening of a file is decoded
//    from its first byte, its frames are compared with the index.
#pragma once
#include <memory>

#include "sources/libsndfile.h"
#include "sources/mp3_index.h"
#include "sources/source.h"

namespace headrace {

// Open a file from spec.seek_points. Return null if they are not valid, or are of a file of another size:
// then libsndfile can decode the file from its start. Throws DecodeError if it cannot be opened. `library`
// has to outlive the Source.
std::unique_ptr<Source> open_mp3(const SourceSpec& spec, const LibsndfileFunctions& library);

// The same with the seek points unpacked.
std::unique_ptr<Source> open_mp3(const SourceSpec& spec, const LibsndfileFunctions& library,
                                 Mp3Index index);

}  // namespace headrace
