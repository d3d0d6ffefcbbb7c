// An MP3 file with seek points: decoded from a few frames before any position, exact to the bit. Not on
// Windows.
//
// Verified with libsndfile 1.2.2 and libmpg123 1.32.3, as shipped in the wheel of soundfile 0.14.0 for
// Linux on x86-64. tests/kernel/test_mp3_canary.py checks what is said here against the decoder in use, and fails if
// it behaves differently.
//
// A recording is what libsndfile decodes of the frames that the index lists, one after the other, bit for bit.
// Of an undamaged file this is what it decodes from the start of the file. libsndfile decodes with
// libmpg123, which keeps three things of earlier frames:
// 1. up to 511 bytes of audio data (the bit reservoir);
// 2. the second half of the last transform, which overlaps the next one;
// 3. the last 15 vectors that went into each channel's synthesis filter. They stand in a ring of 16, and the
//    ring's position decides in which order the filter adds them, and so how sums are rounded. A frame of
//    1,152 samples advances it by 36, one of 576 by 18, one of 384 by 12. So it is where it was after 4
//    frames, or after 8 of 576 samples.
// Layers I and II have only the third.
// So libsndfile is given a virtual file:
// - frames of silence, as many as leave the ring where decoding from the start has it, the last of which
//   carries the bytes of the reservoir (1, 3);
// - then the file's own frames from WARM_UP frames before the wanted one on. The first of these has its own
//   audio data complete, and two transforms later the overlap and the ring are right as well (2, 3).
//
// At the start of a recording, a whole period of silent frames comes before frame 0.
//
// This holds for frames that libmpg123 decodes. It drops a frame with invalid side information, and puts a
// frame of silence in the place of one whose reservoir is missing. Neither is given to it: such frames are
// turned into silence before (silence_frame() in mp3_index.h), so that every frame gives its samples and
// advances the ring. It may give up a frame with damaged audio data, and put zeros in its place without
// advancing the ring. Only decoding shows that; `verify="decode"` compares (mp3_seek_check.h).
//
// Two more facts:
// 4. If an encoder's tag declares the number of frames, libmpg123 drops the encoder's delay and 529 samples
//    more. Without a tag it drops none. No tag is given to it, and as many samples are dropped here.
// 5. Where no frame begins, libmpg123 searches for the next one. It is given frames only.
#pragma once
#include <memory>

#include "sources/libsndfile.h"
#include "sources/mp3_index.h"
#include "sources/source.h"

namespace headrace {

// Open a file from spec.seek_points. If they are of a file of another size, the file is scanned again. Return
// null if they are not valid, or if that finds another format: then libsndfile is left. Throws DecodeError if it cannot be opened. `library`
// has to outlive the Source.
std::unique_ptr<Source> open_mp3(const SourceSpec& spec, const LibsndfileFunctions& library);

// Unpack spec.seek_points. Return false if they are not valid.
bool unpack_mp3(const SourceSpec& spec, Mp3Index* index);

// Open a file from seek points that unpack_mp3() gave.
std::unique_ptr<Source> open_mp3(const SourceSpec& spec, const LibsndfileFunctions& library,
                                 Mp3Index index);

}  // namespace headrace
