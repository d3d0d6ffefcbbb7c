// How many bytes of samples a file holds, whatever its header says.
//
// A recorder that was stopped leaves the size of the samples at 0, at the size of its header, or at that of
// its last update. A writer to a pipe cannot know it. Past 4 GiB, 32 bits hold the remainder, or the most that they
// can. What the file holds decides.
#pragma once
#include <cstdint>

#include "sources/bytes.h"

namespace headrace {

// What may stand behind the samples. RIFF: chunks with little-endian sizes of 32 bits. IFF: with big-endian ones.
// CAF: with big-endian sizes of 64 bits. NONE: nothing.
enum class Chunks : int { RIFF, IFF, CAF, NONE };

// Return the bytes of the samples that begin at `at`, of which the header says that they are `declared`. That is
// what it says, if chunks follow, or nothing, or what is no audio; else all up to the end of the file, or up to
// chunks that end there.
int64_t held_bytes(const Bytes& bytes, int64_t at, uint64_t declared, Chunks chunks);

// Whether this size is written where the writer does not know it: nearly 2^31, nearly 2^32, or at least 2^63 - 1.
bool is_unknown_size(uint64_t declared);

}  // namespace headrace
