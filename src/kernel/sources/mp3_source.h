// Mp3Source: an MP3 file of which the catalog has seek points, decoded from a few frames before wherever
// it is asked to go.
//
// Law 1 asks for what libsndfile decodes from the start, bit for bit. What its decoder remembers of the
// frames before one is: up to 511 bytes of audio data (the bit reservoir), the second half of the last
// transform (which the next 18 of a channel's 32-band samples overlap), the last 15 of those samples,
// and the place in the ring of 16 in which it keeps them, which is the order of the synthesis's sums.
// So libsndfile is shown a file that begins with frames of silence, as many as leave the ring where
// decoding from the start has it, the last of which carries the reservoir; then the file's own frames.
// The first of those is right from the first bit on; overlap and ring are, two transforms later.
#pragma once
#include <memory>

#include "sources/mp3_index.h"
#include "sources/source.h"

namespace headrace {

// Null if the file is not the one that the seek points were made of. Throws Fault if it cannot be opened.
std::unique_ptr<Source> open_mp3(const Facts& facts, const Sndfile& library);

// The same, with the seek points unpacked.
std::unique_ptr<Source> open_mp3(const Facts& facts, const Sndfile& library, Mp3Index index);

}  // namespace headrace
